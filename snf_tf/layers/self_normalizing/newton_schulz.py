"""The inverse kernel of a dense layer by sweeps of Newton and Schulz."""

from typing import Any

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import check_number
from snf_tf.layers.self_normalizing import inverse_quality as quality
from snf_tf.layers.self_normalizing.inverse_method import COUNT, ClosedForm, StateWeight, Update

# Negligible damping: these rows carry no noise.
_NO_DAMPING = 1e-6


@keras.saving.register_keras_serializable("snf_tf")
class NewtonSchulz(ClosedForm):
    """Keeps the inverse kernel M of a dense layer by sweeps of Newton and Schulz, when needed.

    Every step projects M on the two worst rows, as in `Projected`, at the cost of a few products
    with a vector. If the angle between the gradients of log|det| by M and by the exact inverse
    exceeds the tolerance, a sweep follows (`snf_tf.ops.newton_schulz_inverse`). If one sweep is not
    enough, or the norm of `I - kernel @ M` is 1 or more, the kernel is inverted exactly. The log
    then says so. Every replica computes the same inverse.

    The layer's `inverse_state`: `inverse_angle` (the estimate before a sweep, in degrees), `sweeps`
    and `exact_inversions` (numbers so far), `inverse_updates`.

    Args:
        tolerance: Largest angle, in degrees.

    Raises:
        ValueError: If the tolerance is not positive.

    Example:
        >>> layer = snf_tf.layers.SelfNormalizingDense(inverse_method="newton_schulz")
        >>> z, log_det = layer(tf.ones((4, 8)), training=True)
        >>> int(layer.inverse_state["exact_inversions"])
        0
    """

    def __init__(self, tolerance: float = 0.5) -> None:
        super().__init__(tolerance=check_number("tolerance", tolerance, above=0))

    def initial_state(self, layer: Any) -> dict[str, StateWeight]:
        return quality.quality_state(layer, sweeps=COUNT)

    def update(self, layer: Any, x: tf.Tensor, z: tf.Tensor) -> Update:
        kernel, inverse = layer.widen(layer.kernel), layer.widen(layer.inverse_kernel)
        norm, rows, images, state = quality.worst_rows(layer, kernel, inverse)
        inverse = ops.project_inverse(inverse, rows, images, _NO_DAMPING)
        tolerance = self.options["tolerance"]
        angle, good = quality.judge(layer, kernel, inverse, norm, tolerance)
        zero, one = (tf.constant(number, tf.int64) for number in (0, 1))

        def exact() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            return quality.invert(layer, kernel, angle), zero, one

        def sweep() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            swept = ops.newton_schulz_inverse(kernel, inverse)
            enough = quality.estimated_angle(layer, kernel, swept) <= tolerance
            return tf.cond(enough, lambda: (swept, one, zero), exact)

        def mend() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            return tf.cond(norm < 1, sweep, exact)

        inverse, sweeps, inversions = tf.cond(good, lambda: (inverse, zero, zero), mend)
        counts = {"sweeps": sweeps, "exact_inversions": inversions, "inverse_updates": one}
        state |= {name: layer.inverse_state[name] + count for name, count in counts.items()}
        return Update(inverse, tf.transpose(inverse), state | {"inverse_angle": angle})
