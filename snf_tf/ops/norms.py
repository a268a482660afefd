"""Norms of dense kernels from p to q: closed forms, and certified upper bounds elsewhere.

A kernel is `(inputs, outputs)`: it maps x to x @ kernel. Its norm from p to q is the largest
|x @ kernel|_q over all x with |x|_p = 1 (RF App. D; Tropp 2004).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import scipy.linalg
import tensorflow as tf

from snf_tf._checks import check_array_seed, check_number, check_order, check_sizes
from snf_tf.ops.power_method import dual_order, power_method

_INF = float("inf")
# Covers rounding errors of float64: a bound must not be below the norm.
_ROUNDING = 1.0 + 1e-12


def has_closed_form(p: float, q: float) -> bool:
    """Returns whether `operator_norm` knows the norm from p to q: p = 1, q = inf or p = q = 2."""
    return p == 1.0 or q == _INF or p == q == 2.0


def operator_norm(kernel: tf.Tensor, p: float = 2.0, q: float = 2.0) -> tf.Tensor:
    """Computes the norm of a dense kernel from p to q in closed form.

    Args:
        kernel: `(inputs, outputs)`.
        p: Order of the norm of the domain, at least 1; `float("inf")` is allowed.
        q: Order of the norm of the codomain, likewise.

    Returns:
        A scalar in the kernel's dtype. It is the largest q-norm of a row for p = 1, the largest
        p*-norm of a column for q = inf, the largest singular value for p = q = 2. Gradients are
        those of the row, column or singular vectors that attain it.

    Raises:
        ValueError: If an order is below 1, or no closed form is known.

    Example:
        >>> kernel = tf.constant([[1.0, -2.0], [3.0, 4.0]])
        >>> [float(snf_tf.ops.operator_norm(kernel, p, p)) for p in (1.0, float("inf"))]
        [7.0, 6.0]
    """
    check_orders(p, q)
    kernel = tf.convert_to_tensor(kernel)
    if p == 1.0:
        return tf.reduce_max(tf.norm(kernel, ord=_ord(q), axis=1))
    if q == _INF:
        return tf.reduce_max(tf.norm(kernel, ord=_ord(dual_order(p)), axis=0))
    if p == q == 2.0:
        _, left, right = tf.linalg.svd(tf.stop_gradient(kernel))
        return tf.reduce_sum(left[:, 0] * tf.linalg.matvec(kernel, right[:, 0]))
    raise ValueError(
        "operator_norm knows closed forms for p = 1, q = inf and p = q = 2. Take "
        f"operator_norm_lower_bound or operator_norm_bound. Received: p={p}, q={q}"
    )


def operator_norm_lower_bound(
    kernel: tf.Tensor,
    p: float,
    q: float,
    restarts: int = 10,
    max_steps: int = 200,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> tf.Tensor:
    """Computes a lower bound of the norm from p to q: the best of several power methods.

    Args:
        kernel: `(inputs, outputs)`.
        p: Order of the norm of the domain, at least 1.
        q: Order of the norm of the codomain, at least 1.
        restarts: Random starting points.
        max_steps: Steps at most, from each.
        tolerance: As in `power_method`.
        seed: Seed of the starting points.

    Returns:
        A scalar without gradient.

    Example:
        >>> kernel = tf.eye(3)
        >>> round(float(snf_tf.ops.operator_norm_lower_bound(kernel, 3.0, 3.0)), 5)
        1.0
    """
    check_sizes(restarts=restarts, max_steps=max_steps)
    check_number("tolerance", tolerance, at_least=0)
    seed = check_array_seed(seed)
    check_orders(p, q)
    kernel = tf.stop_gradient(tf.convert_to_tensor(kernel))
    values = [
        power_method(
            lambda v: tf.linalg.matvec(kernel, v, transpose_a=True),
            lambda u: tf.linalg.matvec(kernel, u),
            tf.zeros(kernel.shape[1], kernel.dtype),
            tf.random.stateless_normal((kernel.shape[0],), (seed, start), dtype=kernel.dtype),
            p,
            q,
            tolerance,
            max_steps,
        ).value
        for start in range(restarts)
    ]
    return tf.reduce_max(tf.stack(values))


def operator_norm_bound(kernel: np.ndarray | tf.Tensor, p: float = 2.0, q: float = 2.0) -> float:
    """Computes an upper bound of the norm from p to q, the norm itself where a closed form exists.

    Elsewhere log norms are convex in (1/p, 1/q) (Riesz and Thorin): the bound interpolates between
    the spectral norm and the closed form on the ray through (1/p, 1/q). Where the ray meets none,
    the bound compares p-norms with the Euclidean norm.

    Args:
        kernel: `(inputs, outputs)`.
        p: Order of the norm of the domain, at least 1.
        q: Order of the norm of the codomain, at least 1.

    Returns:
        A float, computed in float64, not below the norm.

    Example:
        >>> float(snf_tf.ops.operator_norm_bound(np.eye(2), 2.5, 2.5).round(6))
        1.0
    """
    check_orders(p, q)
    wide = np.array(kernel, np.float64)
    if has_closed_form(p, q):
        return np.float64(_closed_form(wide, p, q) * _ROUNDING)
    spectral = _closed_form(wide, 2.0, 2.0)
    bound = interpolated_bound(spectral, lambda p, q: _closed_form(wide, p, q), wide.shape, p, q)
    return np.float64(bound * _ROUNDING)


def interpolated_bound(
    spectral: float,
    closed_form: Callable[[float, float], float],
    sizes: Sequence[int],
    p: float,
    q: float,
) -> float:
    """Bounds a norm from p to q by the spectral norm, and norms with p = 1 or q = inf.

    Args:
        spectral: The spectral norm, or a bound.
        closed_form: Maps orders of which the first is 1 or the second inf to the norm.
        sizes: Numbers of inputs and of outputs.
        p: Order of the norm of the domain.
        q: Order of the norm of the codomain.
    """
    inputs, outputs = sizes
    bound = spectral * inputs ** max(0.5 - 1.0 / p, 0.0) * outputs ** max(1.0 / q - 0.5, 0.0)
    across, up = 1.0 / p - 0.5, 1.0 / q - 0.5
    # The ray from (1/2, 1/2) through (1/p, 1/q) leaves the unit square at p = 1 or q = inf, or
    # where no norm is known.
    if across > 0.0 and abs(up) <= across:
        share = 2.0 * across
        end = closed_form(1.0, _inverse(0.5 + up / share))
    elif up < 0.0 and abs(across) <= -up:
        share = -2.0 * up
        end = closed_form(_inverse(0.5 + across / share), _INF)
    else:
        return bound
    return min(bound, spectral ** (1.0 - share) * end**share)


def aol_dense_kernel(kernel: tf.Tensor) -> tf.Tensor:
    """Rescales a dense kernel to a spectral norm of at most 1 in closed form (Prach and Lampert
    2022): row i is divided by sqrt(sum_j |kernel @ kernel^T|_ij).

    Args:
        kernel: `(inputs, outputs)`.

    Example:
        >>> kernel = snf_tf.ops.aol_dense_kernel(tf.random.normal((5, 7)))
        >>> bool(snf_tf.ops.operator_norm(kernel) <= 1.0)
        True
    """
    sums = tf.reduce_sum(tf.abs(tf.matmul(kernel, kernel, transpose_b=True)), axis=1)
    return kernel * tf.math.rsqrt(tf.where(sums > 0.0, sums, 1.0))[:, None]


def check_orders(p: float, q: float) -> None:
    """Raises a ValueError unless p and q are orders of norms."""
    check_order("p", p)
    check_order("q", q)


def _closed_form(kernel, p, q):
    if p == 1.0:
        return np.max(np.linalg.norm(kernel, _ord(q), axis=1))
    if q == _INF:
        return np.max(np.linalg.norm(kernel, _ord(dual_order(p)), axis=0))
    gram = kernel @ kernel.T if kernel.shape[0] <= kernel.shape[1] else kernel.T @ kernel
    last = len(gram) - 1
    return np.sqrt(max(scipy.linalg.eigvalsh(gram, subset_by_index=[last, last])[0], 0.0))


def _inverse(number):
    return _INF if number <= 1e-12 else 1.0 / number


def _ord(order):
    return np.inf if math.isinf(order) else order
