"""Mixtures of logistics with parameters from a network: the transform of Flow++."""

import keras
import numpy as np
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import check_integer
from snf_tf.layers.transforms.affine import Affine, LogScale
from snf_tf.layers.transforms.transform import Transform

# Scales lie between exp(-5) and exp(5): narrower components are steps to a float32.
_LARGEST_LOG_SCALE = 5.0


@keras.saving.register_keras_serializable("snf_tf")
class LogisticMixture(Transform):
    """`z = (logit(cdf(x)) + shift) * scale`, with a mixture of logistics (Flow++, Ho et al. 2019).

    Parameters: logits of the weights, means, log-scales h of the components, as many as components
    each, then shift and h of the scale as in `Affine`. The scales of the components are
    `exp(5 tanh(h / 5))`. With zeros, z is nearly x: means are added to numbers between -1
    and 1, since components that are alike would stay alike. The inverse is found by safeguarded
    Newton steps, see `snf_tf.ops.logistic_mixture_inverse`.

    Args:
        components: Number of logistics.
        scale: As in `Affine`.

    Raises:
        ValueError: If components is not a positive integer, or scale is unknown.

    Example:
        >>> transform = LogisticMixture(components=4)
        >>> z, _ = transform.forward(tf.constant([[0.5, -9.0]]), tf.zeros((1, 2, 14)))
        >>> transform.inverse(z, tf.zeros((1, 2, 14))).numpy().round(3).tolist()
        [[0.5, -9.0]]
    """

    def __init__(self, components: int = 32, scale: str | LogScale = "tanh") -> None:
        self.components = components = check_integer("components", components, 1)
        self.affine = Affine(scale)
        super().__init__(components=components, scale=self.affine.scale)
        self.count_of_parameters = 3 * components + 2

    def forward(self, x: tf.Tensor, parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mixture, affine = self._split(parameters)
        y, log_slope = ops.logistic_mixture(x, *mixture)
        z, log_scale = self.affine.forward(y, affine)
        return z, log_slope + log_scale

    def inverse(self, z: tf.Tensor, parameters: tf.Tensor) -> tf.Tensor:
        mixture, affine = self._split(parameters)
        return ops.logistic_mixture_inverse(self.affine.inverse(z, affine), *mixture)

    def _split(self, parameters: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], tf.Tensor]:
        sizes = [self.components] * 3 + [2]
        logits, means, h, affine = tf.split(parameters, sizes, axis=-1)
        means += tf.constant(np.linspace(-1.0, 1.0, self.components), means.dtype)
        return (logits, means, _LARGEST_LOG_SCALE * tf.tanh(h / _LARGEST_LOG_SCALE)), affine
