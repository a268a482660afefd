"""The inverse kernel learned by gradient, as in the paper."""

from typing import Any

import keras
import tensorflow as tf

from snf_tf.layers.options import resolve
from snf_tf.layers.self_normalizing.inverse_method import InverseMethod, StateWeight, TrainingCall
from snf_tf.layers.self_normalizing.penalty import PENALTIES, Penalty


@keras.saving.register_keras_serializable("snf_tf")
class LearnedInverse(InverseMethod):
    """Learns the inverse kernel by gradient, with a penalty on the reconstruction error (SNF).

    Args:
        penalty: `FixedPenalty(weight)`, `GECO(...)` or `MDMM(...)`, or their names "fixed", "geco",
            "mdmm".

    Raises:
        ValueError: If penalty is none of these.

    Example:
        >>> layer = snf_tf.layers.SelfNormalizingDense(inverse_method=LearnedInverse())
        >>> z, log_det = layer(tf.ones((4, 8)), training=True)
        >>> len(layer.losses)
        1
    """

    trains_inverse = True

    def __init__(self, penalty: str | Penalty = "fixed") -> None:
        super().__init__(penalty=resolve(penalty, PENALTIES, "penalty"))
        self.penalty = self.options["penalty"]
        self.constants = () if self.penalty.adapts else ("reconstruction_weight",)

    def initial_state(self, layer: Any) -> dict[str, StateWeight]:
        return self.penalty.initial_state()

    def training_call(self, layer: Any, x: tf.Tensor) -> TrainingCall:
        z, log_det, error = layer.self_normalizing(x)
        found = self.penalty(error, layer.inverse_state)
        return TrainingCall(z, log_det, loss=found.loss, state=found.state)
