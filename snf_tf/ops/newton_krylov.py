"""Roots of f(x) = z by Newton's method, whose linear systems a Krylov space solves."""

import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from snf_tf._checks import check_number
from snf_tf.ops.jacobian_products import forward_product, inner

# Products of a linear system, directions of which are kept.
_PRODUCTS = 30
# Relative residual of the linear systems: Newton's method converges fast with inexact ones, too.
_INEXACT = 1e-3
# Newton steps, and halvings of a step that does not lower the residual.
_STEPS, _HALVINGS = 50, 12


class Root(NamedTuple):
    """What a solver of `f(x) = z` found.

    Attributes:
        value: x, `(batch,) + event_shape`.
        steps: Number of steps, an integer scalar.
        residual: |f(x) - z| of every example, `(batch,)`.
        converged: Whether every residual is within the tolerance, a bool scalar.
    """

    value: tf.Tensor
    steps: tf.Tensor
    residual: tf.Tensor
    converged: tf.Tensor


def newton_krylov(
    function: Callable[[tf.Tensor], tf.Tensor],
    z: tf.Tensor,
    start: tf.Tensor,
    inverse: Callable[[tf.Tensor], tf.Tensor],
    tolerance: tf.Tensor | float,
) -> Root:
    """Solves f(x) = z by a damped Newton's method (Knoll and Keyes 2004).

    A step solves `J d = z - f(x)` to a relative residual of 1e-3, in a Krylov space of up to 30
    products, with the Jacobian of a learned inverse as the preconditioner. A step that does not
    lower |z - f(x)| is halved. An example that no step helps stays where it is.

    Args:
        function: f.
        z: `(batch,) + event_shape`.
        start: The first x, of the shape of z.
        inverse: g, about the inverse of f.
        tolerance: Largest |z - f(x)|, of an example `(batch,)` or of all.

    Returns:
        A `Root`, without a gradient.

    Raises:
        ValueError: If tolerance is a number, and not positive.

    Example:
        >>> z = tf.constant([[2.0, -3.0]])
        >>> root = snf_tf.ops.newton_krylov(lambda x: x**3 + x, z, z, lambda z: z, 1e-6)
        >>> bool(root.converged), round(float(root.value[0, 0]), 6)
        (True, 1.0)
    """
    if not tf.is_tensor(tolerance):
        check_number("tolerance", tolerance, above=0)
    z, start = (tf.stop_gradient(tf.convert_to_tensor(t)) for t in (z, start))
    dtype = z.dtype
    limit = tf.cast(tolerance, dtype)

    def residual(x):
        difference = z - function(x)
        return difference, tf.sqrt(inner(difference, difference, dtype))

    def goes_on(step, *state):
        return (step < _STEPS) & ~tf.reduce_all(state[-1])

    def advance(step, x, left, size, done):
        image = function(x)

        def product(b):
            return forward_product(function, x, forward_product(inverse, image, b))

        b = least_residual(product, left, _INEXACT).value
        d = forward_product(inverse, image, b)

        def is_searched(halving, _, better):
            return (halving < _HALVINGS) & ~tf.reduce_all(better | done)

        def search(halving, length, better):
            length = tf.where(better | (halving == 0), length, 0.5 * length)
            _, new = residual(x + _rows(length, d) * d)
            return halving + 1, length, better | (new < size)

        better = tf.zeros_like(done)
        _, length, better = tf.while_loop(
            is_searched, search, (tf.constant(0), tf.ones_like(size), better)
        )
        # A NaN of a failed direction is no step.
        moved = tf.where(_rows(better & ~done, d), x + _rows(length, d) * d, x)
        left, size = residual(moved)
        return step + 1, moved, left, size, done | ~better | (size <= limit)

    first = residual(start)
    begin = (tf.constant(0), start, *first, first[1] <= limit)
    steps, x, _, size, _ = (tf.stop_gradient(t) for t in tf.while_loop(goes_on, advance, begin))
    return Root(x, steps, size, tf.reduce_all(size <= limit))


def least_residual(
    product: Callable[[tf.Tensor], tf.Tensor],
    y: tf.Tensor,
    tolerance: float,
    products: int = _PRODUCTS,
) -> Root:
    """Solves the linear system `A x = y` of every example by conjugate residuals.

    The residual is least in the Krylov space of y, as in GMRES; directions are kept orthogonal
    (Eisenstat, Elman and Schultz 1983).

    Args:
        product: Maps x to A x.
        y: `(batch,) + event_shape`.
        tolerance: Relative residual at which an example is done.
        products: Number of products at most; so many directions are kept in memory.

    Returns:
        A `Root`, without a gradient.
    """
    y = tf.stop_gradient(y)
    dtype = y.dtype
    count = min(products, math.prod(y.shape[1:]))
    memory = tf.ensure_shape(
        tf.zeros(tf.concat([[count], tf.shape(y)], 0), dtype), (count, *y.shape)
    )
    size = tf.sqrt(inner(y, y, dtype))

    def along(vector, directions):
        axes = list(range(2, directions.shape.rank))
        return tf.reduce_sum(vector[None] * directions, axis=axes, keepdims=True)

    def goes_on(step, x, left, direction, xs, images):
        return (step < count) & tf.reduce_any(inner(left, left, dtype) > (tolerance * size) ** 2)

    def advance(step, x, left, direction, xs, images):
        image = tf.stop_gradient(product(direction))
        # Twice, or the directions of float32 would not stay orthogonal.
        for _ in range(2):
            overlap = along(image, images)
            image -= tf.reduce_sum(overlap * images, axis=0)
            direction -= tf.reduce_sum(overlap * xs, axis=0)
        length = _rows(tf.sqrt(inner(image, image, dtype)), y)
        image = tf.math.divide_no_nan(image, length)
        direction = tf.math.divide_no_nan(direction, length)
        share = inner(left, image, dtype)
        before = inner(left, left, dtype)
        x += _rows(share, y) * direction
        left -= _rows(share, y) * image
        xs, images = (
            tf.concat([new[None], kept[:-1]], 0) for new, kept in ((direction, xs), (image, images))
        )
        # The residual is a new direction, unless this step has not changed it.
        stands = _rows(share**2 <= 1e-4 * before, y)
        return step + 1, x, left, tf.where(stands, image, left), xs, images

    begin = (tf.constant(0), tf.zeros_like(y), y, y, memory, memory)
    steps, x, left, *_ = tf.while_loop(goes_on, advance, begin)
    x, left = tf.stop_gradient(x), tf.stop_gradient(left)
    residual = tf.sqrt(inner(left, left, dtype))
    return Root(x, steps, residual, tf.reduce_all(residual <= tolerance * size))


def _rows(numbers, like):
    """Reshapes `(batch,)` to multiply the examples of a tensor."""
    return tf.reshape(numbers, [-1] + [1] * (like.shape.rank - 1))
