"""Fixed points of functions whose Jacobian is strictly triangular, by Jacobi's sweeps."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from snf_tf.ops.custom_gradient import custom_gradient


class TriangularFixedPoint(NamedTuple):
    """What `triangular_fixed_point` found.

    Attributes:
        value: x, `(batch,) + event_shape`.
        steps: Number of sweeps, an integer scalar.
        residual: The largest |function(x) - x| of every example over 1 + its largest |x|,
            `(batch,)`.
        converged: Whether all residuals are finite and of the size of rounding errors, a bool
            scalar.
    """

    value: tf.Tensor
    steps: tf.Tensor
    residual: tf.Tensor
    converged: tf.Tensor


def triangular_fixed_point(
    function: Callable[[tf.Tensor], tf.Tensor], start: tf.Tensor
) -> TriangularFixedPoint:
    """Solves `x = function(x)` where dimension d of the function depends on dimensions before d.

    The order of the dimensions need not be known. A sweep `x <- function(x)` makes one dimension
    more exact than the last one did: D sweeps at most, often far fewer, lead to the very numbers
    that the solution in order has (Song et al. 2021). It stops when no number changes.

    The gradient is that of the implicit function: `a = dx + J^T a`, another triangular fixed point,
    is the cotangent of function(x), to whatever the function is made of.

    Args:
        function: Maps x to a tensor of the same shape. It may use tensors and variables, which
            receive gradients.
        start: `(batch,) + event_shape`. It receives no gradient.

    Returns:
        A `TriangularFixedPoint`; its value has a gradient of first order.

    Example:
        >>> lower = tf.constant([[0.0, 2.0, 1.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]])
        >>> found = triangular_fixed_point(lambda x: 1.0 + x @ lower, tf.zeros((1, 3)))
        >>> found.value.numpy(), int(found.steps)
        (array([[ 1.,  3., 11.]], dtype=float32), 3)
    """
    found, steps = _sweeps(function, tf.stop_gradient(start))
    # Once more, with a gradient: to what the function is made of, but not through x.
    image = function(found)
    axes = list(range(1, image.shape.rank))
    change = tf.reduce_max(tf.abs(tf.stop_gradient(image) - found), axes)
    residual = change / (1.0 + tf.reduce_max(tf.abs(found), axes))
    # Not 0: a compiler may round the same function otherwise inside of a loop.
    tolerance = np.sqrt(np.finfo(found.dtype.as_numpy_dtype).eps)

    @custom_gradient
    def through_x(image):
        def grad(cotangent):
            def vector_jacobian(a):
                with tf.GradientTape() as tape:
                    tape.watch(found)
                    value = function(found)
                return tape.gradient(value, found, a, unconnected_gradients="zero")

            return _sweeps(lambda a: cotangent + vector_jacobian(a), cotangent)[0]

        return tf.identity(image), grad

    converged = tf.reduce_all(residual <= tolerance)
    return TriangularFixedPoint(through_x(image), steps, residual, converged)


def _sweeps(function, start):
    """Repeats the function until nothing changes, D times at most."""
    size = tf.reduce_prod(tf.shape(start)[1:])

    def goes_on(step, x, changed):
        return changed & (step < size)

    def sweep(step, x, changed):
        image = function(x)
        # What is not finite yet would reach all dimensions: 0 times infinity is NaN.
        image = tf.where(tf.math.is_finite(image), image, tf.zeros_like(image))
        return step + 1, image, tf.reduce_any(tf.not_equal(image, x))

    begin = (tf.constant(0), start, tf.constant(True))
    steps, x, _ = tf.while_loop(goes_on, sweep, begin)
    return tf.stop_gradient(x), steps
