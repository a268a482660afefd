"""Checks of values, in eager code and in graphs."""

import tensorflow as tf


def require(valid: tf.Tensor, x: tf.Tensor, message: str) -> tf.Tensor:
    """Returns x if it is valid.

    Args:
        valid: A scalar bool.
        x: What is checked; the message ends in the range of its values.
        message: What x must be.

    Raises:
        ValueError: In eager code, if x is not valid. In a graph a tf.errors.InvalidArgumentError is raised when it runs, with the
            same message; XLA leaves such checks out.
    """
    smallest, largest = tf.reduce_min(x), tf.reduce_max(x)
    if tf.executing_eagerly():
        if not valid:
            raise ValueError(f"{message} Received: values between {smallest} and {largest}, dtype={x.dtype.name}")
        return x
    with tf.control_dependencies([tf.debugging.Assert(valid, [message, "Received: values between", smallest, "and", largest])]):
        return tf.identity(x)
