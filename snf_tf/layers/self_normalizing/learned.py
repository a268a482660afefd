"""The inverse kernel learned by gradient, as in the paper."""

from typing import Any

import keras
import tensorflow as tf

from snf_tf.layers.self_normalizing.inverse_method import InverseMethod, StateWeight, TrainingCall
from snf_tf.layers.self_normalizing.penalty import FixedPenalty


@keras.saving.register_keras_serializable("snf_tf")
class LearnedInverse(InverseMethod):
    """Learns the inverse kernel by gradient, with a penalty on the reconstruction error (SNF).

    Args:
        penalty: The penalty; by default `FixedPenalty(1.0)`.

    Example:
        >>> layer = snf_tf.layers.SelfNormalizingDense(inverse_method=LearnedInverse())
        >>> z, log_det = layer(tf.ones((4, 8)), training=True)
        >>> len(layer.losses)
        1
    """

    trains_inverse = True

    def __init__(self, penalty: FixedPenalty | None = None) -> None:
        penalty = FixedPenalty() if penalty is None else penalty
        if not isinstance(penalty, FixedPenalty):
            raise ValueError(
                "penalty must be a penalty of snf_tf.layers, such as FixedPenalty(1.0). "
                f"Received: penalty={penalty!r}"
            )
        super().__init__(penalty=penalty)
        self.penalty = penalty

    def initial_state(self, layer: Any) -> dict[str, StateWeight]:
        return self.penalty.initial_state()

    def training_call(self, layer: Any, x: tf.Tensor) -> TrainingCall:
        z, log_det, error = layer.self_normalizing(x)
        return TrainingCall(z, log_det, loss=self.penalty.loss(error, layer.inverse_state))
