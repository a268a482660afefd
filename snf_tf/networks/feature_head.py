"""The branch that turns features of a flow into a vector for a classifier."""

import math
from typing import Any

import keras
import tensorflow as tf

from snf_tf._checks import check_integer, check_number


@keras.saving.register_keras_serializable("snf_tf")
class FeatureHead(keras.layers.Layer):
    """A linear map, normalization by channel, ReLU, and the mean over pixels (RF App. E).

    Images take a 3x3 convolution, other features a dense layer. The normalization is
    `(h + bias) * exp(log_scale)`, as of `snf_tf.layers.ActNorm`: trained, and set by `initialize`.
    It is the identity before.

    Args:
        width: Length of the vector.
        variance_floor: Variances of the batch of `initialize` count as this much at least.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        linear: The convolution, or the dense layer.
        bias: `(width,)`.
        log_scale: `(width,)`.

    Raises:
        ValueError: If width is no positive integer.

    Example:
        >>> FeatureHead(width=16)(tf.ones((2, 8, 8, 3))).shape
        TensorShape([2, 16])
    """

    def __init__(self, width: int = 256, variance_floor: float = 0.2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = check_integer("width", width, 1)
        self.variance_floor = check_number("variance_floor", variance_floor, at_least=0)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        # No bias of its own: that of the normalization is enough.
        options = {"use_bias": False, "dtype": self.dtype_policy, "name": "linear"}
        self._is_image = len(input_shape) == 4
        if self._is_image:
            self.linear = keras.layers.Conv2D(self.width, 3, padding="same", **options)
            self.linear.build(input_shape)
        else:
            self.linear = keras.layers.Dense(self.width, **options)
            self.linear.build((None, math.prod(size or 0 for size in input_shape[1:])))
        self.bias = self.add_weight(name="bias", shape=(self.width,), initializer="zeros")
        self.log_scale = self.add_weight(name="log_scale", shape=(self.width,), initializer="zeros")

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, int]:
        return input_shape[0], self.width

    def initialize(self, x: tf.Tensor) -> None:
        """Sets the normalization by a batch: mean 0, and variance 1 where the floor allows it."""
        h = tf.cast(self._mapped(x), tf.float64)
        mean, variance = tf.nn.moments(h, list(range(h.shape.rank - 1)))
        self.bias.assign(-mean)
        self.log_scale.assign(-0.5 * tf.math.log(tf.maximum(variance, self.variance_floor)))

    def call(self, x: tf.Tensor) -> tf.Tensor:
        h = tf.nn.relu((self._mapped(x) + self.bias) * tf.exp(self.log_scale))
        return tf.reduce_mean(h, axis=[1, 2]) if self._is_image else h

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "width": self.width,
            "variance_floor": self.variance_floor,
        }

    def _mapped(self, x):
        x = tf.cast(x, self.compute_dtype)
        return self.linear(x if self._is_image else tf.reshape(x, (tf.shape(x)[0], -1)))
