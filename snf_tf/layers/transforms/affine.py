"""Shifts and scales with parameters from a network: the transforms of NICE and Real NVP."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from snf_tf.layers.options import Option, resolve
from snf_tf.layers.transforms.transform import Transform


@keras.saving.register_keras_serializable("snf_tf")
class Additive(Transform):
    """`z = x + shift` (NICE, Dinh et al. 2015).

    Example:
        >>> z, log_slope = Additive().forward(tf.ones((2, 3)), tf.ones((2, 3, 1)))
        >>> z[0].numpy().tolist()
        [2.0, 2.0, 2.0]
    """

    count_of_parameters = 1
    keeps_volume = True

    def forward(self, x: tf.Tensor, parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return x + parameters[..., 0], tf.zeros_like(x)

    def inverse(self, z: tf.Tensor, parameters: tf.Tensor) -> tf.Tensor:
        return z - parameters[..., 0]


class LogScale(Option):
    """The logarithm of a scale, as a function of one parameter h."""

    def __call__(self, h: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError


@keras.saving.register_keras_serializable("snf_tf")
class SigmoidScale(LogScale):
    """`scale = sigmoid(h + 2)`, as in Glow's code."""

    def __call__(self, h: tf.Tensor) -> tf.Tensor:
        return -tf.math.softplus(-(h + 2.0))


@keras.saving.register_keras_serializable("snf_tf")
class TanhScale(LogScale):
    """`scale = exp(2 tanh(h / 2))`, as in the published runs of SNF."""

    def __call__(self, h: tf.Tensor) -> tf.Tensor:
        return 2.0 * tf.tanh(0.5 * h)


@keras.saving.register_keras_serializable("snf_tf")
class ExpScale(LogScale):
    """`scale = exp(h)`."""

    def __call__(self, h: tf.Tensor) -> tf.Tensor:
        return h


SCALES: Mapping[str, type] = {
    "sigmoid": SigmoidScale,
    "tanh": TanhScale,
    "exp": ExpScale,
}


@keras.saving.register_keras_serializable("snf_tf")
class Affine(Transform):
    """`z = (x + shift) * scale` (Real NVP, Dinh et al. 2017). Parameters: shift, and h of scale.

    Args:
        scale: `SigmoidScale()`, `TanhScale()` or `ExpScale()`, or their names "sigmoid", "tanh",
            "exp".

    Raises:
        ValueError: If scale is unknown.

    Example:
        >>> z, log_slope = Affine("exp").forward(tf.ones((2, 3)), tf.zeros((2, 3, 2)))
        >>> z[0].numpy().tolist()
        [1.0, 1.0, 1.0]
    """

    count_of_parameters = 2

    def __init__(self, scale: str | LogScale = "sigmoid") -> None:
        self.scale = resolve(scale, SCALES, "scale")
        super().__init__(scale=self.scale)

    def forward(self, x: tf.Tensor, parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        shift, h = tf.unstack(parameters, axis=-1)
        log_scale = self.scale(h)
        return (x + shift) * tf.exp(log_scale), log_scale

    def inverse(self, z: tf.Tensor, parameters: tf.Tensor) -> tf.Tensor:
        shift, h = tf.unstack(parameters, axis=-1)
        return z * tf.exp(-self.scale(h)) - shift
