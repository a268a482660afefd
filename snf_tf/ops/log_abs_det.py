"""log|det| of a matrix, whose gradient says in words where there is none."""

import tensorflow as tf

from snf_tf.ops.custom_gradient import custom_gradient


@custom_gradient
def log_abs_det(matrix: tf.Tensor) -> tuple:
    """Computes log|det| of a square matrix by LU: a scalar; -inf, if it is singular.

    Args:
        matrix: `(D, D)`.

    Raises:
        tf.errors.InvalidArgumentError: When the gradient of a singular matrix is computed. XLA
            leaves the check out.

    Example:
        >>> round(float(snf_tf.ops.log_abs_det(tf.constant([[2.0, 0.0], [1.0, -3.0]]))), 4)
        1.7918
    """
    log_det = tf.linalg.slogdet(matrix)[1]

    def grad(upstream):
        message = (
            "The log-determinant of a kernel is not finite: the kernel is singular, or not finite "
            "itself. A lower learning rate or clipped gradients may help"
        )
        checked = tf.debugging.check_numerics(log_det, message)
        # The inverse of a singular matrix would fail first, in TensorFlow's words.
        is_finite = tf.math.is_finite(log_det)
        safe = tf.where(is_finite, matrix, tf.eye(matrix.shape[0], dtype=matrix.dtype))
        return upstream * tf.linalg.inv(safe, adjoint=True) + 0.0 * checked

    return log_det, grad
