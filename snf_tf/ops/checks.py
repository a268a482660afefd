"""Checks of values, in eager code and in graphs."""

import tensorflow as tf

from snf_tf._checks import check_integer
from snf_tf.ops.custom_gradient import custom_gradient


@custom_gradient
def finite_or_stop(loss: tf.Tensor) -> tuple:
    """Returns a loss, and lets no gradient of it through before it has been found to be finite.

    Raises:
        tf.errors.InvalidArgumentError: If the loss is not finite. Nothing that depends on its
            gradients has been computed then, and no weight has changed. XLA leaves the check out.
    """
    checked = tf.debugging.check_numerics(loss, "The loss is not finite")

    def grad(upstream):
        # The sum makes the gradients wait for the check.
        return upstream + 0.0 * checked

    return checked, grad


def require_labels(labels: tf.Tensor, classes: int) -> tf.Tensor:
    """Returns labels if they are integers in 0..classes - 1 of shape `(batch,)`.

    Raises:
        ValueError: If they are not; in a graph values are checked when it runs, see `require`.
    """
    check_integer("classes", classes, 1)
    if not labels.dtype.is_integer or labels.shape.rank != 1:
        raise ValueError(
            "The context of this flow is labels, integers of shape (batch,). "
            f"Received: a context of shape {labels.shape} and dtype {labels.dtype.name}"
        )
    wide = tf.cast(labels, tf.int64)
    valid = tf.reduce_all((wide >= 0) & (wide < classes))
    return require(valid, labels, f"Labels must be in 0..{classes - 1}.")


def require(valid: tf.Tensor, x: tf.Tensor, message: str) -> tf.Tensor:
    """Returns x if it is valid.

    Args:
        valid: A scalar bool.
        x: What is checked; the message ends in the range of its values.
        message: What x must be.

    Raises:
        ValueError: In eager code, if x is not valid. In a graph a tf.errors.InvalidArgumentError is
            raised when it runs, with the same message; XLA leaves such checks out.
    """
    smallest, largest = tf.reduce_min(x), tf.reduce_max(x)
    if tf.executing_eagerly():
        if not valid:
            raise ValueError(
                f"{message} Received: values between {smallest} and {largest}, dtype={x.dtype.name}"
            )
        return x
    data = [message, "Received: values between", smallest, "and", largest]
    # The operation itself: tf.debugging.Assert puts it into a conditional, which takes long to
    # trace.
    with tf.control_dependencies([tf.raw_ops.Assert(condition=valid, data=data)]):
        return tf.identity(x)
