"""Swish with a gradient that computes its slope once, for many products with Jacobians."""

import tensorflow as tf


def swish(x: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
    """Computes `x sigmoid(slope x)` (Ramachandran et al. 2017), with derivatives of every order.

    A product with the Jacobian is one multiplication: estimators of log-determinants do many.

    Args:
        x: Of any shape.
        slope: A scalar, in the dtype of x.

    Example:
        >>> float(snf_tf.ops.swish(tf.constant(0.0), tf.constant(1.0)))
        0.0
    """

    @tf.custom_gradient
    def apply(x, slope):
        sigmoid = tf.sigmoid(slope * x)
        rest = x * sigmoid * (1.0 - sigmoid)
        derivative = sigmoid + slope * rest

        def grad(dy):
            return dy * derivative, tf.reduce_sum(dy * x * rest)

        return x * sigmoid, grad

    return apply(x, tf.convert_to_tensor(slope))
