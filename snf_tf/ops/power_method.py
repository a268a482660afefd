"""The power method for norms of linear maps between spaces with p-norms (Johnston 2016)."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import tensorflow as tf

from snf_tf._checks import check_integer, check_number, check_order

# A number, or a tensor where the order is learned.
Order: TypeAlias = Any


class PowerMethod(NamedTuple):
    """What the power method found.

    Attributes:
        value: u^T W v, a scalar: a lower bound of the norm.
        steps: Number of steps, an integer scalar.
        residual: The relative change of value in the last step, a scalar.
        converged: Whether the residual is at most the tolerance, a bool scalar.
        u: Vector of the codomain, of unit length in the dual norm.
        v: Vector of the domain, of unit length.
    """

    value: tf.Tensor
    steps: tf.Tensor
    residual: tf.Tensor
    converged: tf.Tensor
    u: tf.Tensor
    v: tf.Tensor


def power_method(
    product: Callable[[tf.Tensor], tf.Tensor],
    transposed: Callable[[tf.Tensor], tf.Tensor],
    u: tf.Tensor,
    v: tf.Tensor,
    p: Order = 2.0,
    q: Order = 2.0,
    tolerance: float = 0.0,
    max_steps: int = 1,
) -> PowerMethod:
    """Approaches the norm of W from p to q, max |W v|_q over |v|_p = 1, from below.

    A step is `u <- dual_vector(W v, q*)`, `v <- dual_vector(W^T u, p)`, where 1/q + 1/q* = 1. For
    p = q = 2 this is power iteration. Elsewhere it may end in a local maximum.

    Args:
        product: Maps v to W v, flat vectors.
        transposed: Maps u to W^T u.
        u: `(outputs,)`, kept where W v is zero.
        v: `(inputs,)`, where to start.
        p: Order of the norm of the domain, at least 1.
        q: Order of the norm of the codomain, at least 1.
        tolerance: Relative change of u^T W v in a step at which to stop.
        max_steps: Steps at most.

    Returns:
        A `PowerMethod`; nothing has a gradient.

    Example:
        >>> kernel = tf.constant([[3.0, 0.0], [0.0, 1.0]])
        >>> found = snf_tf.ops.power_method(
        ...     lambda v: tf.linalg.matvec(kernel, v), lambda u: tf.linalg.matvec(kernel, u),
        ...     tf.ones(2), tf.ones(2), max_steps=20,
        ... )
        >>> round(float(found.value), 3)
        3.0
    """
    check_number("tolerance", tolerance, at_least=0)
    check_integer("max_steps", max_steps, 1)
    dual = dual_order(q)

    def goes_on(step, value, change, u, v):
        return (step < max_steps) & (change > tolerance)

    def advance(step, value, change, u, v):
        image = product(v)
        before = tf.reduce_sum(u * image)
        u = dual_vector(image, dual, otherwise=u)
        back = transposed(u)
        v = dual_vector(back, p, otherwise=v)
        value = tf.reduce_sum(v * back)
        return step + 1, value, tf.abs(value - before) / tf.maximum(tf.abs(value), _tiny(v)), u, v

    start = (tf.constant(0), tf.zeros((), v.dtype), tf.constant(float("inf"), v.dtype), u, v)
    found = advance(*start) if max_steps == 1 else tf.while_loop(goes_on, advance, start)
    steps, value, change, u, v = (tf.stop_gradient(part) for part in found)
    return PowerMethod(value, steps, change, change <= tolerance, u, v)


def dual_order(r: Order) -> Order:
    """Returns r* of 1/r + 1/r* = 1.

    Example:
        >>> snf_tf.ops.dual_order(1.5), snf_tf.ops.dual_order(float("inf"))
        (3.0, 1.0)
    """
    if isinstance(r, tf.Tensor):
        return r / (r - 1.0)
    if r == 1.0:
        return float("inf")
    return 1.0 if r == float("inf") else r / (r - 1.0)


def dual_vector(y: tf.Tensor, r: Order, otherwise: tf.Tensor | None = None) -> tf.Tensor:
    """Returns the x with |x|_r = 1 of the largest x^T y: `sign(y) |y|^(1 / (r - 1))`, scaled.

    Args:
        y: A flat vector.
        r: Order of the norm, at least 1. For 1 the vector has one entry, at the largest |y|.
        otherwise: What to return if y is zero; by default zeros.

    Raises:
        ValueError: If r is no order of a norm.

    Example:
        >>> snf_tf.ops.dual_vector(tf.constant([3.0, -4.0]), 2.0).numpy()
        array([ 0.6, -0.8], dtype=float32)
    """
    if not isinstance(r, tf.Tensor):
        check_order("r", r)
    largest = tf.reduce_max(tf.abs(y))
    scaled = tf.math.divide_no_nan(y, largest)
    if isinstance(r, tf.Tensor):
        x = tf.sign(scaled) * tf.abs(scaled) ** (1.0 / (r - 1.0))
    elif r == 1.0:
        x = tf.one_hot(tf.argmax(tf.abs(y)), tf.size(y), dtype=y.dtype) * tf.sign(y)
    elif r == 2.0:
        x = scaled
    elif r == float("inf"):
        x = tf.sign(scaled)
    else:
        x = tf.sign(scaled) * tf.abs(scaled) ** (1.0 / (r - 1.0))
    x = tf.math.divide_no_nan(x, vector_norm(x, r))
    return x if otherwise is None else tf.where(largest > 0.0, x, otherwise)


def vector_norm(x: tf.Tensor, r: Order) -> tf.Tensor:
    """Computes the r-norm of a flat vector, a scalar; r may be a tensor with a gradient."""
    if isinstance(r, tf.Tensor):
        # The logarithm of 0 has no gradient.
        size = tf.maximum(tf.abs(x), _tiny(x))
        return tf.reduce_sum(size**r) ** (1.0 / r)
    check_order("r", r)
    return tf.norm(x, ord=float("inf") if r == float("inf") else r)


def _tiny(x):
    return tf.constant(x.dtype.as_numpy_dtype(1e-30), x.dtype)
