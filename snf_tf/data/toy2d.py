"""Draws vectors `(N, 2)` from densities on the plane, 10000/2000/5000.

Swissroll to cos are the toy densities of FFJORD (Grathwohl et al. 2019) and Residual Flows, at
their published scales. Every example is drawn on its own.
"""

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


def _swissroll(random, n):
    """Draws from a spiral of radius t in [1.5 pi, 4.5 pi], of angle t, with noise 1; over 5."""
    t = random.uniform(1.5 * math.pi, 4.5 * math.pi, n)
    return (t[:, None] * _direction(t) + random.standard_normal((n, 2))) / 5


def _circles(random, n):
    """Draws from circles of radius 1 and 1/2, with noise 0.08; times 3."""
    return 3 * (_on_circles(random, n, (0.5, 1.0)) + 0.08 * random.standard_normal((n, 2)))


def _rings(random, n):
    """Draws from circles of radius 0.75, 1.5, 2.25 and 3, with noise 0.08."""
    return _on_circles(random, n, (0.75, 1.5, 2.25, 3.0)) + 0.08 * random.standard_normal((n, 2))


def _moons(random, n):
    """Draws from the upper half of the unit circle, and from the lower half of that about (1, 0.5),
    with noise 0.1; times 2, less (1, 0.2).
    """
    is_lower = random.integers(0, 2, n)[:, None]
    arc = _direction(random.uniform(0, math.pi, n))
    points = np.where(is_lower, np.array([1.0, 0.5]) - arc, arc)
    return 2 * (points + 0.1 * random.standard_normal((n, 2))) - np.array([1.0, 0.2])


def _8gaussians(random, n):
    """Draws from eight normals of deviation 0.5, 4 from the origin; over sqrt 2."""
    centres = 4 * _direction(random.integers(0, 8, n) * math.pi / 4)
    return (centres + 0.5 * random.standard_normal((n, 2))) / math.sqrt(2)


def _pinwheel(random, n):
    """Draws (r, s) ~ N((1, 0), diag(0.3, 0.1)^2), turns it clockwise by exp(r) / 4 and by one of
    five fifths of a turn; times 2.
    """
    r, s = np.array([[1.0], [0.0]]) + np.array([[0.3], [0.1]]) * random.standard_normal((2, n))
    angle = random.integers(0, 5, n) * 2 * math.pi / 5 + 0.25 * np.exp(r)
    cos, sin = np.cos(angle), np.sin(angle)
    return 2 * np.stack([r * cos + s * sin, s * cos - r * sin], axis=1)


def _2spirals(random, n):
    """Draws t = 3 pi sqrt(u), u uniform, and the point of radius t and angle pi - t, plus uniform
    noise in [0, 0.5]^2; then this or its negative, over 3, with noise 0.1.
    """
    t = 3 * math.pi * np.sqrt(random.random(n))
    arm = t[:, None] * _direction(math.pi - t) + 0.5 * random.random((n, 2))
    sign = 2 * random.integers(0, 2, n)[:, None] - 1
    return sign * arm / 3 + 0.1 * random.standard_normal((n, 2))


def _checkerboard(random, n):
    """Draws uniformly from the 8 dark of 16 squares of [-4, 4]^2, of width 2."""
    row = random.integers(0, 4, n)
    column = 2 * random.integers(0, 2, n) + row % 2
    return 2 * (np.stack([column, row], axis=1) - 2.0 + random.random((n, 2)))


def _line(random, n):
    """Draws x1 uniformly from [-2.5, 2.5], x2 = x1; there is no density."""
    x1 = random.uniform(-2.5, 2.5, n)
    return np.stack([x1, x1], axis=1)


def _cos(random, n):
    """Draws x1 uniformly from [-2.5, 2.5], x2 = 2.5 sin(x1); there is no density."""
    x1 = random.uniform(-2.5, 2.5, n)
    return np.stack([x1, 2.5 * np.sin(x1)], axis=1)


def _direction(angle: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def _on_circles(random, n: int, radii: tuple[float, ...]) -> np.ndarray:
    radius = random.choice(radii, n)
    return radius[:, None] * _direction(random.uniform(0, 2 * math.pi, n))


# How to draw, and the entropy in nats. Those written as numbers are integrals over the plane, which
# the tests compute; that of pinwheel is not known.
DENSITIES: dict[str, tuple[Callable[[np.random.Generator, int], np.ndarray], float | None]] = {
    "gaussian": (_gaussian, 2 * _NORMAL_ENTROPY + 0.5 * math.log(2.0 - 1.2**2)),
    "banana": (_banana, 2 * _NORMAL_ENTROPY + math.log(0.3)),
    # The mean of log exp(x1 / 2) is 0.
    "funnel": (_funnel, 2 * _NORMAL_ENTROPY),
    "swissroll": (_swissroll, 2.669646),
    "circles": (_circles, 3.268136),
    "rings": (_rings, 2.623183),
    "moons": (_moons, 2.393879),
    "8gaussians": (_8gaussians, 2.831578),
    "pinwheel": (_pinwheel, None),
    "2spirals": (_2spirals, 2.645450),
    "checkerboard": (_checkerboard, math.log(32.0)),
    "line": (_line, None),
    "cos": (_cos, None),
}


def _sources(draw: Callable, entropy: float | None) -> Sources:
    def splits() -> Splits:
        random = np.random.default_rng(0)
        train, validation, test = (Split(draw(random, n).astype(np.float32)) for n in _SIZES)
        return train, validation, test

    return Sources(embedded=splits, entropy=entropy)


TOY2D = {f"toy2d/{name}": _sources(*parts) for name, parts in DENSITIES.items()}


def _conditional(random, n: int) -> Split:
    """Draws c uniformly from [-1, 1], and x from the normal about 2 (cos pi c, sin pi c) with axes
    turned by pi c / 2, of deviations exp(c) / 2 and 1/4.
    """
    c = random.uniform(-1.0, 1.0, n)
    axis = _direction(math.pi * c / 2)
    e1, e2 = random.standard_normal((2, n, 1))
    other = np.stack([-axis[:, 1], axis[:, 0]], axis=1)
    x = 2 * _direction(math.pi * c) + 0.5 * np.exp(c)[:, None] * e1 * axis + 0.25 * e2 * other
    return Split(x.astype(np.float32), context=c[:, None].astype(np.float32))


def _conditional_splits() -> Splits:
    random = np.random.default_rng(0)
    train, validation, test = (_conditional(random, n) for n in _SIZES)
    return train, validation, test


# The mean of c is 0, and the entropy that of x given c.
TOY2D["toy2d/conditional"] = Sources(
    embedded=_conditional_splits, entropy=2 * _NORMAL_ENTROPY - math.log(8.0)
)
