"""The inverse kernel of a convolution by least squares."""

from typing import Any

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import check_integer, check_number
from snf_tf.layers.self_normalizing.inverse_method import (
    COUNT,
    NUMBER,
    ClosedForm,
    StateWeight,
    Update,
    log_if,
)


@keras.saving.register_keras_serializable("snf_tf")
class LeastSquares(ClosedForm):
    """Solves for the inverse kernel of a convolution by least squares, in every step.

    The cost does not depend on the size of the images; see
    `snf_tf.ops.least_squares_inverse_kernel`. Some invertible kernels have no good inverse of this
    form. Hence the method compares its gradient of log|det| with the exact gradient every
    `check_every` steps. While the angle between both exceeds the tolerance, the method uses the
    exact gradient and logs a message.

    The layer's `inverse_state`: `inverse_angle` (in degrees, at the last comparison),
    `exact_gradients` (number so far), `inverse_updates`.

    Args:
        tolerance: Largest angle, in degrees. The angle of the kernel's whole gradient, in which
            two terms nearly cancel, is larger.
        check_every: Steps between comparisons.

    Raises:
        ValueError: If an argument is not positive.

    Example:
        >>> layer = snf_tf.layers.SelfNormalizingConv2D(3, inverse_method="least_squares")
        >>> z, log_det = layer(tf.ones((2, 6, 5, 3)), training=True)
        >>> bool(layer.inverse_state["inverse_angle"] < 0.2)
        True
    """

    def __init__(self, tolerance: float = 0.2, check_every: int = 100) -> None:
        super().__init__(
            tolerance=check_number("tolerance", tolerance, above=0),
            check_every=check_integer("check_every", check_every, 1),
        )

    def initial_state(self, layer: Any) -> dict[str, StateWeight]:
        sizes = zip(layer.inverse_kernel_size, layer.kernel_size, strict=True)
        if any(inverse_size < size for inverse_size, size in sizes):
            raise ValueError(
                "An inverse kernel by least squares must be as large as the kernel. Received: "
                f"kernel_size={layer.kernel_size}, inverse_kernel_size={layer.inverse_kernel_size}"
            )
        return {"inverse_angle": NUMBER, "exact_gradients": COUNT, "inverse_updates": COUNT}

    def update(self, layer: Any, x: tf.Tensor, z: tf.Tensor) -> Update:
        kernel, state = layer.widen(layer.kernel), layer.inverse_state
        tolerance = self.options["tolerance"]
        inverse = ops.least_squares_inverse_kernel(kernel, layer.inverse_kernel_size)
        image_size = layer.event_shape[:2]
        estimate = ops.conv2d_log_det_gradient(inverse, layer.kernel_size, image_size)
        updates = tf.convert_to_tensor(state["inverse_updates"])
        is_finite = tf.math.is_finite(tf.reduce_sum(inverse))
        due = (updates % self.options["check_every"] == 0) | ~is_finite
        before = tf.convert_to_tensor(state["inverse_angle"])

        def compare() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            exact = ops.conv2d_exact_log_det_gradient(kernel, layer.event_shape)
            angle = tf.cast(ops.angle(estimate, exact), before.dtype)
            bad = ~(angle <= tolerance)
            return angle, tf.where(bad, exact, estimate), tf.cast(bad, tf.int64)

        was_bad = ~(before <= tolerance)
        angle, gradient, exact_gradients = tf.cond(
            due | was_bad, compare, lambda: (before, estimate, tf.constant(0, tf.int64))
        )
        log_if(
            layer,
            (exact_gradients > 0) & ~was_bad,
            "the least-squares inverse is off, in degrees, by",
            angle,
            "- exact gradients are used",
        )
        return Update(
            inverse,
            gradient,
            {
                "inverse_angle": angle,
                "exact_gradients": state["exact_gradients"] + exact_gradients,
                "inverse_updates": updates + 1,
            },
        )
