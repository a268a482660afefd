"""Penalties on the reconstruction error of a learned inverse (SNF Eq. 3)."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf.layers.options import Option
from snf_tf.layers.self_normalizing.inverse_method import StateWeight


@keras.saving.register_keras_serializable("snf_tf")
class FixedPenalty(Option):
    """Multiplies the reconstruction error by a constant, the lambda of SNF Eq. 3.

    Args:
        weight: Initial value of the layer's `reconstruction_weight`, which is not trained.

    Raises:
        ValueError: If weight is negative, or no number.

    Example:
        >>> penalty = snf_tf.layers.FixedPenalty(10.0)
        >>> method = snf_tf.layers.LearnedInverse(penalty=penalty)
        >>> layer = snf_tf.layers.SelfNormalizingDense(inverse_method=method)
        >>> layer.build((None, 3))
        >>> float(layer.reconstruction_weight)
        10.0
    """

    def __init__(self, weight: float = 1.0) -> None:
        if not (isinstance(weight, int | float) and weight >= 0):
            raise ValueError(
                "reconstruction_weight must not be negative. "
                f"Received: reconstruction_weight={weight!r}"
            )
        super().__init__(weight=weight)

    def initial_state(self) -> dict[str, StateWeight]:
        """Names the weight that the layer stores."""
        return {"reconstruction_weight": StateWeight(initial=self.options["weight"])}

    def loss(self, error: tf.Tensor, state: Mapping[str, keras.Variable]) -> tf.Tensor:
        """Computes `reconstruction_weight` times the mean over the batch of errors `(batch,)`."""
        return tf.cast(state["reconstruction_weight"], error.dtype) * ops.batch_mean(error)
