"""The inverse of an element-wise increasing function, by safeguarded Newton steps."""

from collections.abc import Callable

import tensorflow as tf

_EPSILON = {tf.float16: 2.0**-10, tf.bfloat16: 2.0**-7, tf.float32: 2.0**-23, tf.float64: 2.0**-52}
# Bisection alone needs one step a bit of the mantissa; Newton's steps from a good start need a
# handful.
_MAX_STEPS = 64


def monotone_inverse(
    function: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    z: tf.Tensor,
    start: tf.Tensor,
    lower: tf.Tensor,
    upper: tf.Tensor,
) -> tf.Tensor:
    """Solves `function(x) = z` element-wise to float tolerance.

    Newton's method inside a shrinking bracket: a step that leaves the bracket, or is more than half
    as long as the step before, is replaced by a bisection. It stops when every residual is of the
    size of its rounding error. The gradient with respect to z is that of the implicit function,
    1 / slope.

    Args:
        function: Maps x to `(value, slope)`; the value strictly increasing, the slope positive.
        z: Values to invert, of any shape.
        start: First guess, of the shape of z.
        lower: `lower <= x`, of the shape of z.
        upper: `upper >= x`, of the shape of z.

    Returns:
        x, of the shape and dtype of z.
    """
    target = tf.stop_gradient(z)
    tolerance = 4 * _EPSILON[z.dtype] * (1 + tf.abs(target))

    def unfinished(x, residual, slope, lower, upper, length):
        return tf.reduce_any(tf.abs(residual) > tolerance)

    def step(x, residual, slope, lower, upper, length):
        lower = tf.where(residual < 0, x, lower)
        upper = tf.where(residual > 0, x, upper)
        newton = x - residual / slope
        # Steps that do not shrink can run in a circle inside the bracket.
        is_good = (newton >= lower) & (newton <= upper) & (tf.abs(newton - x) <= 0.5 * length)
        new = tf.where(is_good, newton, 0.5 * (lower + upper))
        # What is done stays: its next step would be of rounding alone.
        new = tf.where(tf.abs(residual) > tolerance, new, x)
        value, slope = function(new)
        return new, value - target, slope, lower, upper, tf.abs(new - x)

    start, lower, upper = map(tf.stop_gradient, (start, lower, upper))
    value, slope = function(start)
    # The first step may lead from one end of the bracket to the other.
    state = (start, value - target, slope, lower, upper, 2.0 * (upper - lower))
    x, *_ = tf.while_loop(unfinished, step, state, maximum_iterations=_MAX_STEPS)
    # A step of length 0 brings the gradient: d x / d z = 1 / slope. Where the slope is tiny, a real
    # one would be rounding, divided by it.
    x = tf.stop_gradient(x)
    value, slope = function(x)
    residual = value - z
    return x - (residual - tf.stop_gradient(residual)) / tf.stop_gradient(slope)
