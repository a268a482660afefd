"""Swish with a first and a second derivative in closed form, for many products with Jacobians."""

import tensorflow as tf

from snf_tf._checks import check_number
from snf_tf.ops.custom_gradient import custom_gradient


def swish(x: tf.Tensor, slope: tf.Tensor, scale: float = 1.0) -> tf.Tensor:
    """Computes `scale x sigmoid(slope x)` (Ramachandran et al. 2017), with all derivatives.

    A product with the Jacobian is one multiplication: estimators of log-determinants do many.

    Args:
        x: Of any shape.
        slope: A scalar, in the dtype of x.
        scale: A number.

    Example:
        >>> float(snf_tf.ops.swish(tf.constant(0.0), tf.constant(1.0)))
        0.0
    """

    check_number("scale", scale)

    @custom_gradient
    def apply(x, slope):
        sigmoid = tf.sigmoid(slope * x)
        scaled = scale * sigmoid
        rest = x * scaled * (1.0 - sigmoid)
        first = scaled + slope * rest

        @custom_gradient
        def product(dy, x, slope):
            def grad(other):
                # The second derivative is slope times bend, and x times bend that of x and slope.
                sigmoid = tf.sigmoid(slope * x)
                bend = 2.0 + slope * x * (1.0 - 2.0 * sigmoid)
                bend *= scale * sigmoid * (1.0 - sigmoid)
                bent = dy * other * bend
                return product(other, x, slope), slope * bent, tf.reduce_sum(x * bent)

            return dy * first, grad

        def grad(dy):
            return product(dy, x, slope), tf.reduce_sum(dy * _slope_derivative(x, slope, scale))

        return x * scaled, grad

    return apply(x, tf.convert_to_tensor(slope))


def _slope_derivative(x, slope, scale):
    sigmoid = tf.sigmoid(slope * x)
    return tf.square(x) * (scale * sigmoid) * (1.0 - sigmoid)
