"""A mixture of normal distributions: latents with several modes."""

import math
from typing import Any

import keras
import tensorflow as tf

from snf_tf._checks import check_array_seed, check_integer, check_number
from snf_tf.bases.base import Base


@keras.saving.register_keras_serializable("snf_tf")
class GaussianMixture(Base):
    """A mixture of normals of diagonal covariance; weights, means and deviations are trained.

    A flow is continuous: from one mode it leaves thin bridges between the modes of the data.

    Args:
        components: Number of normals.
        spread: Standard deviation of the initial means; deviations begin at 1, weights equal.
        seed: Of the initial means.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        logits: `(components,)`; their softmax is the weights.
        location: `(components, D)`.
        log_scale: `(components, D)`.

    Raises:
        ValueError: If components is no positive integer, or spread is negative.

    Example:
        >>> base = snf_tf.bases.GaussianMixture(components=4)
        >>> flow = snf_tf.Flow([snf_tf.layers.ExactDense()], event_shape=(2,), base=base)
        >>> flow.sample(3, seed=0).shape
        TensorShape([3, 2])
    """

    def __init__(
        self, components: int = 8, spread: float = 1.0, seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.components = check_integer("components", components, 1)
        self.spread = check_number("spread", spread, at_least=0)
        self.seed = check_array_seed(seed)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        shape = (self.components, self.dims)
        self.logits = self.add_weight(name="logits", shape=(self.components,), initializer="zeros")
        self.location = self.add_weight(
            name="location",
            shape=shape,
            initializer=keras.initializers.RandomNormal(stddev=self.spread, seed=self.seed),
        )
        self.log_scale = self.add_weight(name="log_scale", shape=shape, initializer="zeros")

    def log_prob(self, z: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        logits, location, log_scale = (
            tf.cast(weight, z.dtype) for weight in (self.logits, self.location, self.log_scale)
        )
        # (batch, components, D).
        e = (z[:, None] - location) * tf.exp(-log_scale)
        squares = tf.reduce_sum(tf.square(e), axis=2)
        constant = tf.reduce_sum(log_scale, axis=1) + 0.5 * self.dims * math.log(2 * math.pi)
        return tf.reduce_logsumexp(tf.nn.log_softmax(logits) - 0.5 * squares - constant, axis=1)

    def sample(
        self, n: int | tf.Tensor, seed: tf.Tensor, context: tf.Tensor | None = None
    ) -> tf.Tensor:
        dtype = self.sample_dtype
        logits, location, log_scale = (
            tf.cast(weight, dtype) for weight in (self.logits, self.location, self.log_scale)
        )
        e = tf.random.stateless_normal((n, self.dims), seed, dtype=dtype)
        # With the seed of e, components would depend on it.
        seed = tf.random.experimental.stateless_fold_in(seed, 1)
        uniform = tf.random.stateless_uniform((n, 1), seed, dtype=dtype)
        # Without the last sum, which rounding may leave below the largest number.
        ends = tf.cumsum(tf.nn.softmax(logits))[:-1]
        component = tf.reduce_sum(tf.cast(uniform >= ends, tf.int32), axis=1)
        return tf.gather(location, component) + tf.exp(tf.gather(log_scale, component)) * e

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "components": self.components,
            "spread": self.spread,
            "seed": self.seed,
        }
