"""A bijector of TensorFlow Probability as a layer."""

from collections.abc import Callable
from typing import Any, Self

import keras
import tensorflow as tf

from snf_tf._checks import refuse
from snf_tf.layers.flow_layer import FlowLayer
from snf_tf.layers.tf_variables import weights_in_use


@keras.saving.register_keras_serializable("snf_tf")
class FromBijector(FlowLayer):
    """A TFP bijector as a layer, its variables tracked, trained and saved by Keras.

    `z = bijector.inverse(x)`, `layer.inverse(z) = bijector.forward(z)`: TFP's `forward` is the
    direction of sampling. log_det and gradients are those of the bijector. The layer's weights are
    all variables that the bijector shows, or uses in a call.

    Args:
        bijector: A `tfp.bijectors.Bijector`, or a function without arguments that makes one. A
            `.keras` file needs a function that Keras can serialize
            (`keras.saving.register_keras_serializable`); `save_weights` works with both.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: If bijector is neither. In `build`, if the event has too few axes for the
            bijector, or its variables were made outside of the strategy's scope.

    Example:
        >>> import tensorflow_probability as tfp
        >>> layer = snf_tf.layers.FromBijector(tfp.bijectors.Scale(tf.Variable([2.0, 4.0])))
        >>> z, log_det = layer(tf.constant([[2.0, 4.0]]))
        >>> z.numpy().tolist(), len(layer.trainable_weights)
        ([[1.0, 1.0]], 1)
    """

    takes_context = False

    def __init__(self, bijector: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # XLA lacks kernels for some operations of TensorFlow Probability.
        self.supports_jit = False
        is_bijector = _is_bijector(bijector)
        if not is_bijector and not callable(bijector):
            refuse("bijector", bijector, "a TFP bijector, or a function that makes one")
        self._given = bijector
        self.bijector: Any = bijector if is_bijector else None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the bijector, and finds its variables.

        Raises:
            ValueError: If the event has fewer axes than the bijector needs.
        """
        made: list[tf.Variable] = []

        def make(next_creator: Callable[..., tf.Variable], **kwargs: Any) -> tf.Variable:
            made.append(next_creator(**kwargs))
            return made[-1]

        with tf.init_scope(), tf.variable_creator_scope(make):
            if self.bijector is None:
                self.bijector = self._given()
                if not _is_bijector(self.bijector):
                    raise ValueError(
                        f"The function must make a TFP bijector. Received: {self.bijector!r} from "
                        f"{self._given!r}"
                    )
            super().build(input_shape)
            # The first call makes the variables of networks.
            self._both_ways(tf.zeros((1, *self.event_shape), self._dtype))
            spec = tf.TensorSpec((1, *self.event_shape), self._dtype)
            self._variables = weights_in_use(
                self._both_ways, spec, self.bijector.variables, made, self.trainable
            )

    def compute_latent_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(event_shape) < self.bijector.inverse_min_event_ndims:
            raise ValueError(
                f"{self.bijector.name} needs events of {self.bijector.inverse_min_event_ndims} "
                f"axes at least. Received: event_shape={event_shape}"
            )
        return tuple(self.bijector.inverse_event_shape(event_shape))

    def call(
        self, x: tf.Tensor, context: tf.Tensor | None = None, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        # TFP caches results by tensor: a new tensor makes TFP compute anew.
        x = tf.identity(tf.cast(x, self._dtype))
        return self.bijector.inverse(x), self.widen(self._log_det(x))

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        return self.bijector.forward(tf.identity(tf.cast(z, self._dtype)))

    @property
    def log_det_is_constant(self) -> bool:  # type: ignore[override]
        return self.built and self.bijector.is_constant_jacobian

    def constant_log_det(self) -> tf.Tensor | None:
        if not self.log_det_is_constant:
            return None
        return self.widen(self._log_det(tf.zeros((1, *self.event_shape), self._dtype))[0])

    def get_config(self) -> dict[str, Any]:
        if self._given is self.bijector:
            raise ValueError(
                "A TFP bijector has no config: give FromBijector a function that makes it, which "
                f"Keras can serialize, or use save_weights. Received: bijector={self.bijector!r}"
            )
        return super().get_config() | {"bijector": keras.saving.serialize_keras_object(self._given)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(
            **config | {"bijector": keras.saving.deserialize_keras_object(config["bijector"])}
        )

    @property
    def _dtype(self) -> Any:
        return self.bijector.dtype or self.log_det_dtype

    def _both_ways(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._log_det(x), self.bijector.forward(tf.identity(self.bijector.inverse(x)))

    def _log_det(self, x: tf.Tensor) -> tf.Tensor:
        """Computes log|det dz/dx|, `(batch,)`, if need be from one value for all rows."""
        log_det = self.bijector.inverse_log_det_jacobian(x, event_ndims=len(self.event_shape))
        return tf.broadcast_to(log_det, tf.shape(x)[:1])


def _is_bijector(value: Any) -> bool:
    # Importing TFP takes seconds; a user with a bijector has imported TFP already.
    import tensorflow_probability as tfp

    return isinstance(value, tfp.bijectors.Bijector)
