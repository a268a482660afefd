"""Activations of Residual Flows, with a Lipschitz constant of 1."""

from typing import Any

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf.networks.lipschitz import LipschitzLayer


class _Swish(LipschitzLayer):
    """`x sigmoid(softplus(beta) x)`, divided by what bounds its slope."""

    def build(self, input_shape: tuple[Any, ...]) -> None:
        self.beta = self.add_weight(
            name="beta", shape=(), initializer=keras.initializers.Constant(0.5), autocast=False
        )

    def _swish(self, x, scale):
        slope = tf.cast(tf.math.softplus(tf.convert_to_tensor(self.beta)), x.dtype)
        return ops.swish(x, slope, scale)


@keras.saving.register_keras_serializable("snf_tf")
class LipSwish(_Swish):
    """LipSwish, `x sigmoid(softplus(beta) x) / 1.1` (RF Eq. 10).

    Its slope is at most 1 in size for every beta, and its second derivative does not vanish where
    the slope is largest.

    Args:
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        beta: A scalar, 0.5 at first.

    Example:
        >>> snf_tf.networks.LipSwish()(tf.constant([0.0, 1.1])).numpy().round(3)
        array([0.   , 0.745], dtype=float32)
    """

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return input_shape

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self._swish(x, 1.0 / 1.1)


@keras.saving.register_keras_serializable("snf_tf")
class CLipSwish(_Swish):
    """Concatenated LipSwish, `[LipSwish(x), LipSwish(-x)] / 1.004`, of twice the channels
    (Perugachi-Diaz et al. 2021).

    It keeps what LipSwish loses of negative inputs, and is 1-Lipschitz in the Euclidean norm.

    Args:
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        beta: A scalar, 0.5 at first.

    Example:
        >>> snf_tf.networks.CLipSwish()(tf.ones((1, 3))).shape
        TensorShape([1, 6])
    """

    has_norms = True

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*input_shape[:-1], 2 * input_shape[-1])

    def call(self, x: tf.Tensor) -> tf.Tensor:
        scale = 1.0 / (1.1 * 1.004)
        return tf.concat([self._swish(x, scale), self._swish(-x, scale)], axis=-1)
