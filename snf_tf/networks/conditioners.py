"""Networks that compute the parameters of couplings and priors."""

from typing import Any

import keras
import tensorflow as tf

from snf_tf._checks import check_integer
from snf_tf.networks.context import JoinContext


def default_conditioner(
    event_shape: tuple[int, ...],
    outputs: int,
    width: int,
    dtype: Any = None,
    context_shape: tuple[int, ...] | None = None,
) -> keras.Model:
    """Makes the conditioner of Glow's code (Kingma and Dhariwal 2018), zero at first.

    Images take convolutions 3x3, 1x1 and 3x3, vectors take three dense layers, with ReLU between.
    A context is appended to the channels of the input, see `JoinContext`.

    Args:
        event_shape: Shape of one input, `(H, W, C)` or `(D,)`.
        outputs: Channels of the output.
        width: Hidden channels.
        dtype: Dtype policy of the layers.
        context_shape: Shape of one context; the network is then called on [x1, context].

    Example:
        >>> network = snf_tf.networks.default_conditioner((3,), outputs=4, width=8)
        >>> network(tf.ones((2, 3))).shape
        TensorShape([2, 4])
    """
    if len(event_shape) == 3:
        layers = [
            keras.layers.Conv2D(width, 3, padding="same", activation="relu", dtype=dtype),
            keras.layers.Conv2D(width, 1, activation="relu", dtype=dtype),
            ZeroConv2D(outputs, dtype=dtype),
        ]
    else:
        layers = [
            keras.layers.Dense(width, activation="relu", dtype=dtype),
            keras.layers.Dense(width, activation="relu", dtype=dtype),
            keras.layers.Dense(outputs, kernel_initializer="zeros", dtype=dtype),
        ]
    if context_shape is None:
        return keras.Sequential(layers, name="conditioner")
    return on_context(keras.Sequential(layers), event_shape, context_shape, dtype)


def on_context(
    network: keras.layers.Layer,
    event_shape: tuple[int, ...],
    context_shape: tuple[int, ...],
    dtype: Any = None,
) -> keras.Model:
    """Makes a network of one input one of [x1, context], which `JoinContext` joins.

    Args:
        network: Any Keras layer, not built.
        event_shape: Shape of one x1.
        context_shape: Shape of one context.
        dtype: Dtype policy of the inputs.
    """
    wide = keras.dtype_policies.get(dtype).variable_dtype
    inputs = [keras.Input(shape, dtype=wide) for shape in (event_shape, context_shape)]
    return keras.Model(inputs, network(JoinContext(dtype=dtype)(inputs)), name="conditioner")


@keras.saving.register_keras_serializable("snf_tf")
class ZeroConv2D(keras.layers.Layer):
    """A 3x3 convolution, zero at first, times `exp(3 log_scale)` to learn fast (Glow's code).

    Args:
        filters: Channels of the output.
        **kwargs: As in `keras.layers.Layer`.

    Example:
        >>> float(tf.reduce_sum(ZeroConv2D(4)(tf.ones((1, 5, 5, 2)))))
        0.0
    """

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters = check_integer("filters", filters, 1)
        self.convolution = keras.layers.Conv2D(
            filters,
            3,
            padding="same",
            kernel_initializer="zeros",
            dtype=self.dtype_policy,
            name="convolution",
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.convolution.build(input_shape)
        self.log_scale = self.add_weight(
            name="log_scale", shape=(self.filters,), initializer="zeros"
        )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]):
        return self.convolution.compute_output_shape(input_shape)

    def call(self, x) -> tf.Tensor:
        return self.convolution(x) * keras.ops.exp(3.0 * self.log_scale)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"filters": self.filters}
