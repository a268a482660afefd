"""Normal distributions whose mean and deviation depend on the context."""

from collections.abc import Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import (
    check_array_seed,
    check_integer,
    check_network,
    check_number,
    check_shape,
)
from snf_tf.bases.base import Base


class _Normal(Base):
    """A normal of diagonal covariance, whose moments a subclass makes of the context."""

    takes_context = True

    def moments(self, context: tf.Tensor, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns location and log_scale, `(batch, D)` each."""
        raise NotImplementedError

    def log_prob(self, z: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        location, log_scale = self.moments(self._required(context), z.dtype)
        e = (z - location) * tf.exp(-log_scale)
        return ops.standard_normal_log_prob(e) - tf.reduce_sum(log_scale, axis=1)

    def sample(
        self, n: int | tf.Tensor, seed: tf.Tensor, context: tf.Tensor | None = None
    ) -> tf.Tensor:
        dtype = tf.as_dtype(self.sample_dtype)
        location, log_scale = self.moments(self._required(context), dtype)
        e = tf.random.stateless_normal((n, self.dims), seed, dtype=dtype)
        return location + tf.exp(log_scale) * e

    def _required(self, context):
        if context is None:
            raise ValueError(
                f"{type(self).__name__} makes the base of the context: give context=. "
                "Received: no context"
            )
        return context


@keras.saving.register_keras_serializable("snf_tf")
class ClassConditionalNormal(_Normal):
    """A normal of its own mean and deviation for every class; the context is the labels.

    Means and deviations are trained. With invertible layers after it this is a classifier by Bayes'
    rule (Izmailov et al. 2020).

    Args:
        classes: Number of classes. The context is `(batch,)`, integers in 0..classes - 1.
        spread: Standard deviation of the initial means; deviations begin at 1.
        seed: Of the initial means.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        location: `(classes, D)`.
        log_scale: `(classes, D)`.

    Raises:
        ValueError: If classes is no positive integer, or the context is none of labels.

    Example:
        >>> base = snf_tf.bases.ClassConditionalNormal(classes=3)
        >>> flow = snf_tf.Flow([snf_tf.layers.ExactDense()], event_shape=(2,), base=base)
        >>> flow.log_prob(tf.zeros((2, 2)), context=tf.constant([0, 2])).shape
        TensorShape([2])
    """

    def __init__(self, classes: int, spread: float = 1.0, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes = check_integer("classes", classes, 1)
        self.spread = check_number("spread", spread, at_least=0)
        self.seed = check_array_seed(seed)
        self.context_shape, self.context_classes = (), self.classes

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        shape = (self.classes, self.dims)
        self.location = self.add_weight(
            name="location",
            shape=shape,
            initializer=keras.initializers.RandomNormal(stddev=self.spread, seed=self.seed),
        )
        self.log_scale = self.add_weight(name="log_scale", shape=shape, initializer="zeros")

    def moments(self, context: tf.Tensor, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
        location, log_scale = (
            tf.gather(tf.cast(weight, dtype), tf.cast(context, tf.int32))
            for weight in (self.location, self.log_scale)
        )
        return location, log_scale

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "classes": self.classes,
            "spread": self.spread,
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable("snf_tf")
class ConditionalNormal(_Normal):
    """A normal whose mean and log deviation a network makes of the context.

    Args:
        network: A Keras layer or model that maps contexts `(batch, ...)` to `(batch, 2 D)`, D means
            and then D logs of deviations.
        context_shape: Shape of one context, for which the network is then built; None: the first
            call builds it.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: If network is no Keras layer, or makes another shape.

    Example:
        >>> base = snf_tf.bases.ConditionalNormal(keras.layers.Dense(4), context_shape=(5,))
        >>> flow = snf_tf.Flow([snf_tf.layers.ExactDense()], event_shape=(2,), base=base)
        >>> flow.log_prob(tf.zeros((3, 2)), context=tf.zeros((3, 5))).shape
        TensorShape([3])
    """

    def __init__(
        self,
        network: keras.layers.Layer,
        context_shape: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.network = check_network("network", network)
        self.context_shape = check_shape("context_shape", context_shape, optional=True, least=0)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        if self.context_shape is not None:
            self.network(keras.KerasTensor((None, *self.context_shape), self.sample_dtype))

    def unbuilt_parts(self) -> list[str]:
        return [] if self.network.built else [self.network.name]

    def moments(self, context: tf.Tensor, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = self.network(context)
        if tuple(outputs.shape[1:]) != (2 * self.dims,):
            raise ValueError(
                "The network of ConditionalNormal must make D means and D log deviations, "
                f"(batch, {2 * self.dims}). Received: outputs of shape {outputs.shape}"
            )
        location, log_scale = tf.split(tf.cast(outputs, dtype), 2, axis=1)
        return location, log_scale

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "network": keras.saving.serialize_keras_object(self.network),
            "context_shape": self.context_shape,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        network = keras.saving.deserialize_keras_object(config["network"])
        return cls(**config | {"network": network})
