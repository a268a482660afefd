"""A network with a shortcut around it."""

from typing import Any, Self

import keras
import tensorflow as tf

from snf_tf._checks import check_network


@keras.saving.register_keras_serializable("snf_tf")
class Shortcut(keras.layers.Layer):
    """`x + network(x)`, or `x + network([x, context])` of `[x, context]`.

    Args:
        network: A Keras layer or model that keeps the shape of x.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: If network is no Keras layer.

    Example:
        >>> network = snf_tf.networks.Shortcut(keras.layers.Dense(2, kernel_initializer="zeros"))
        >>> network(tf.ones((1, 2))).numpy()
        array([[1., 1.]], dtype=float32)
    """

    def __init__(self, network: keras.layers.Layer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network = check_network("network", network)

    def build(self, input_shape: tuple[Any, ...]) -> None:
        if not self.network.built:
            self.network.build(input_shape)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        is_pair = isinstance(input_shape[0], list | tuple)
        return tuple(input_shape[0] if is_pair else input_shape)

    def call(self, x: tf.Tensor | list[tf.Tensor], training: bool = False) -> tf.Tensor:
        change = self.network(x, training=training)
        return change + (x[0] if isinstance(x, list | tuple) else x)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "network": keras.saving.serialize_keras_object(self.network),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        network = keras.saving.deserialize_keras_object(config["network"])
        return cls(**config | {"network": network})
