"""Draws vectors `(N, 2)` from densities with known entropies, 10000/2000/5000."""

import math
from collections.abc import Callable

import numpy as np

from snf_tf.data.sources import Sources
from snf_tf.data.splits import Split, Splits

_SIZES = (10_000, 2_000, 5_000)
_NORMAL_ENTROPY = 0.5 * math.log(2 * math.pi * math.e)


def _gaussian(random, n):
    """Draws from a normal of covariance [[2, 1.2], [1.2, 1]]."""
    return random.standard_normal((n, 2)) @ np.linalg.cholesky([[2.0, 1.2], [1.2, 1.0]]).T


def _banana(random, n):
    """Draws x1 ~ N(0, 1), x2 ~ N(x1^2, 0.3^2)."""
    x1, noise = random.standard_normal((2, n))
    return np.stack([x1, x1**2 + 0.3 * noise], axis=1)


def _funnel(random, n):
    """Draws x1 ~ N(0, 1), x2 ~ N(0, exp(x1)) (Neal 2003, of less extreme widths)."""
    x1, noise = random.standard_normal((2, n))
    return np.stack([x1, np.exp(0.5 * x1) * noise], axis=1)


def _checkerboard(random, n):
    """Draws uniformly from the 8 dark of 16 unit squares of [-2, 2]^2."""
    row = random.integers(0, 4, n)
    column = 2 * random.integers(0, 2, n) + row % 2
    return np.stack([column, row], axis=1) - 2.0 + random.random((n, 2))


_DRAW: dict[str, tuple[Callable, float]] = {
    "gaussian": (_gaussian, 2 * _NORMAL_ENTROPY + 0.5 * math.log(2.0 - 1.2**2)),
    "banana": (_banana, 2 * _NORMAL_ENTROPY + math.log(0.3)),
    # The mean of log exp(x1 / 2) is 0.
    "funnel": (_funnel, 2 * _NORMAL_ENTROPY),
    "checkerboard": (_checkerboard, math.log(8.0)),
}


def _sources(draw: Callable, entropy: float) -> Sources:
    def splits() -> Splits:
        random = np.random.default_rng(0)
        train, validation, test = (Split(draw(random, n).astype(np.float32)) for n in _SIZES)
        return train, validation, test

    return Sources(embedded=splits, entropy=entropy)


TOY2D = {f"toy2d/{name}": _sources(*parts) for name, parts in _DRAW.items()}
