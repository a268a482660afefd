"""A distribution whose location and scale are learned."""

from typing import Any, Self

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import check_instance
from snf_tf.bases.base import Base


@keras.saving.register_keras_serializable("snf_tf")
class LocationScale(Base):
    """`z = location + exp(log_scale) * e` in every dimension, with e of another base.

    Location and log_scale are trained; they begin at 0.

    Args:
        base: The base of e; None is the standard normal, and z is a normal of its own mean and
            deviation in every dimension.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        location: `(D,)`.
        log_scale: `(D,)`.

    Raises:
        ValueError: If base is no `Base`.

    Example:
        >>> base = snf_tf.bases.LocationScale(snf_tf.bases.StudentT(3.0))
        >>> base.build((None, 2))
        >>> len(base.trainable_weights)
        2
    """

    def __init__(self, base: Base | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.base = check_instance("base", base, Base, "a snf_tf.bases.Base", optional=True)

    @property
    def takes_context(self) -> bool:  # type: ignore[override]
        return self.base is not None and self.base.takes_context

    def check_context(self, context: tf.Tensor) -> tf.Tensor:
        return context if self.base is None else self.base.check_context(context)

    def unbuilt_parts(self) -> list[str]:
        return [] if self.base is None else self.base.unbuilt_parts()

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        if self.base is not None and not self.base.built:
            self.base.build(input_shape)
        self.location, self.log_scale = (
            self.add_weight(name=name, shape=(self.dims,), initializer="zeros")
            for name in ("location", "log_scale")
        )

    def log_prob(self, z: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        location, log_scale = (tf.cast(w, z.dtype) for w in (self.location, self.log_scale))
        e = (z - location) * tf.exp(-log_scale)
        inner = (
            ops.standard_normal_log_prob(e) if self.base is None else self.base.log_prob(e, context)
        )
        return inner - tf.reduce_sum(log_scale)

    def sample(
        self, n: int | tf.Tensor, seed: tf.Tensor, context: tf.Tensor | None = None
    ) -> tf.Tensor:
        if self.base is None:
            e = tf.random.stateless_normal((n, self.dims), seed, dtype=self.sample_dtype)
        else:
            e = tf.cast(self.base.sample(n, seed, context), self.sample_dtype)
        location, log_scale = (tf.cast(w, e.dtype) for w in (self.location, self.log_scale))
        return location + tf.exp(log_scale) * e

    def get_config(self) -> dict[str, Any]:
        base = None if self.base is None else keras.saving.serialize_keras_object(self.base)
        return super().get_config() | {"base": base}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        base = config.get("base")
        return cls(**config | {"base": base and keras.saving.deserialize_keras_object(base)})
