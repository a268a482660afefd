"""The uniform distribution on a cube."""

import math
from typing import Any

import keras
import tensorflow as tf

from snf_tf._checks import check_number
from snf_tf.bases.base import Base


@keras.saving.register_keras_serializable("snf_tf")
class Uniform(Base):
    """The uniform distribution on `[low, high]` in every dimension; nothing is trained.

    Outside the log-density is minus infinity, and training stops there: the last layer of the flow
    must map to the cube.

    Args:
        low: Lower end.
        high: Upper end.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: Unless low < high, both finite.

    Example:
        >>> base = snf_tf.bases.Uniform(-2.0, 2.0)
        >>> base.build((None, 3))
        >>> base.log_prob(tf.constant([[0.0, 1.0, 2.0], [0.0, 1.0, 3.0]])).numpy().round(3)
        array([-4.159,   -inf], dtype=float32)
    """

    def __init__(self, low: float = 0.0, high: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.low, self.high = check_number("low", low), check_number("high", high)
        if low >= high:
            raise ValueError(f"low must be less than high. Received: low={low!r}, high={high!r}")

    def log_prob(self, z: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        inside = tf.reduce_all((z >= self.low) & (z <= self.high), axis=1)
        inner = tf.constant(-self.dims * math.log(self.high - self.low), z.dtype)
        return tf.where(inside, inner, tf.constant(-math.inf, z.dtype))

    def sample(
        self, n: int | tf.Tensor, seed: tf.Tensor, context: tf.Tensor | None = None
    ) -> tf.Tensor:
        dtype = self.sample_dtype
        return tf.random.stateless_uniform((n, self.dims), seed, self.low, self.high, dtype)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"low": self.low, "high": self.high}
