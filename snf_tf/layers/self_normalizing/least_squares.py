"""How a convolution keeps its inverse kernel: by least squares."""

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf.layers.self_normalizing.inverse_method import InverseMethod, add_scalars, record, say


@keras.saving.register_keras_serializable("snf_tf")
class LeastSquares(InverseMethod):
    """Solves for the inverse kernel of a convolution in every step, by least squares, from the
    kernel alone.

    See `snf_tf.ops.least_squares_inverse_kernel`; its cost does not depend on the size of the
    images. Some invertible kernels have no inverse like it. Hence every so many steps the gradient
    of log|det| that it gives is compared with the exact one; as long as the angle between them
    exceeds the tolerance, the exact one is used, and the log says so. Replicas compute the same.

    The layer's `inverse_state`: `inverse_angle` (degrees, when last compared), `exact_gradients`
    (how many so far), `inverse_updates`.

    Args:
        tolerance: Largest angle, in degrees. That of the kernel's whole gradient, in which the two
            terms nearly cancel, is larger.
        check_every: Steps between comparisons.

    Raises:
        ValueError: If an argument is not positive.

    Example:
        >>> layer = snf_tf.layers.SelfNormalizingConv2D(3, inverse_method="least_squares")
        >>> z, log_det = layer(tf.ones((2, 6, 5, 3)), training=True)
        >>> bool(layer.inverse_state["inverse_angle"] < 0.2)
        True
    """

    def __init__(self, tolerance: float = 0.2, check_every: int = 100):
        if not tolerance > 0 or not check_every >= 1:
            raise ValueError(
                f"tolerance and check_every must be positive. Received: tolerance={tolerance}, "
                f"check_every={check_every}"
            )
        super().__init__(tolerance=tolerance, check_every=check_every)

    def build(self, layer):
        if any(q < k for q, k in zip(layer.inverse_kernel_size, layer.kernel_size, strict=True)):
            raise ValueError(
                "An inverse kernel by least squares must be as large as the kernel. "
                f"Received: kernel_size={layer.kernel_size}, "
                f"inverse_kernel_size={layer.inverse_kernel_size}"
            )
        add_scalars(layer, inverse_angle="float32", exact_gradients="int32")

    def log_det_gradient(self, layer, x, z):
        kernel, state = layer._widen(layer.kernel), layer.inverse_state
        inverse = ops.least_squares_inverse_kernel(kernel, layer.inverse_kernel_size)
        estimate = ops.conv2d_log_det_gradient(inverse, layer.kernel_size, layer.event_shape[:2])
        due = (state["inverse_updates"] % self.options["check_every"] == 0) | ~tf.math.is_finite(
            tf.reduce_sum(inverse)
        )
        before = tf.convert_to_tensor(state["inverse_angle"])

        def compare():
            exact = ops.conv2d_exact_log_det_gradient(kernel, layer.event_shape)
            angle = tf.cast(ops.angle(estimate, exact), before.dtype)
            bad = ~(angle <= self.options["tolerance"])
            return angle, tf.where(bad, exact, estimate), tf.cast(bad, tf.int32)

        going_on = ~(before <= self.options["tolerance"])
        angle, gradient, exact = tf.cond(due | going_on, compare, lambda: (before, estimate, 0))
        say(
            layer,
            (exact > 0) & ~going_on,
            "the least-squares inverse is off, in degrees, by",
            angle,
            "- exact gradients are used",
        )
        record(layer, inverse_angle=angle, exact_gradients=exact)
        layer.inverse_kernel.assign(inverse)
        return gradient
