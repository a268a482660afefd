"""Student's t distribution: latents with heavy tails."""

import math
from typing import Any

import keras
import tensorflow as tf

from snf_tf._checks import check_flag, check_number
from snf_tf.bases.base import Base


@keras.saving.register_keras_serializable("snf_tf")
class StudentT(Base):
    """Student's t in every dimension, of location 0 and scale 1.

    Affine and spline flows keep the tails of their base: with the standard normal they cannot have
    the tails of heavy-tailed data (Jaini et al. 2020). Samples are by Bailey (1994).

    Args:
        degrees_of_freedom: Positive; the start, where they are learned.
        learned: Whether degrees of freedom are trained, those of every dimension on their own.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        log_degrees_of_freedom: `(D,)`.

    Raises:
        ValueError: If degrees_of_freedom is not positive and finite.

    Example:
        >>> base = snf_tf.bases.StudentT(5.0, learned=True)
        >>> flow = snf_tf.Flow([snf_tf.layers.ExactDense()], event_shape=(2,), base=base)
        >>> len(flow.trainable_weights)
        3
    """

    def __init__(
        self, degrees_of_freedom: float = 5.0, learned: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        checked = check_number("degrees_of_freedom", degrees_of_freedom, above=0)
        self.degrees_of_freedom = checked
        self.learned = check_flag("learned", learned)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        self.log_degrees_of_freedom = self.add_weight(
            name="log_degrees_of_freedom",
            shape=(self.dims,),
            initializer=keras.initializers.Constant(math.log(self.degrees_of_freedom)),
            trainable=self.learned,
        )

    def log_prob(self, z: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        # In float64: the difference of two large numbers.
        log_df = tf.cast(self.log_degrees_of_freedom, tf.float64)
        df = tf.exp(log_df)
        constant = tf.reduce_sum(
            tf.math.lgamma(0.5 * (df + 1.0))
            - tf.math.lgamma(0.5 * df)
            - 0.5 * (log_df + math.log(math.pi))
        )
        df = tf.cast(df, z.dtype)
        tails = tf.reduce_sum(0.5 * (df + 1.0) * tf.math.log1p(tf.square(z) / df), axis=1)
        return tf.cast(constant, z.dtype) - tails

    def sample(
        self, n: int | tf.Tensor, seed: tf.Tensor, context: tf.Tensor | None = None
    ) -> tf.Tensor:
        df = tf.exp(tf.cast(self.log_degrees_of_freedom, tf.float64))
        uniform = tf.random.stateless_uniform((2, n, self.dims), seed, dtype=tf.float64)
        radius = tf.sqrt(df * tf.math.expm1(-2.0 / df * tf.math.log1p(-uniform[0])))
        return tf.cast(radius * tf.cos(2.0 * math.pi * uniform[1]), self.sample_dtype)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "degrees_of_freedom": self.degrees_of_freedom,
            "learned": self.learned,
        }
