"""Residual networks that begin as the identity: halves of a self normalizing pair."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from snf_tf._checks import check_integer, check_named
from snf_tf.networks.context import JoinContext
from snf_tf.networks.widths import checked_widths


@keras.saving.register_keras_serializable("snf_tf")
class ResidualNetwork(keras.layers.Layer):
    """`h <- h + linear(activation(... linear(h)))` for each block; the identity at first.

    The last linear map of every block starts at zero. Two such networks make a good
    `snf_tf.layers.SelfNormalizingPair`: each begins as the other's inverse. Called on
    `[x, context]`, every block sees h and the context, `(batch, C)`, at each pixel of an image.

    Args:
        widths: Hidden units, or channels, of a block.
        blocks: Number of blocks.
        kernel_sizes: Of convolutions, one for each linear map of a block; None: dense layers.
        activation: As in `keras.layers.Activation`, smooth: its derivative is trained by.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: If there are not as many kernel sizes as linear maps, or blocks < 1.

    Example:
        >>> network = snf_tf.networks.ResidualNetwork((16, 16), blocks=2)
        >>> x = tf.random.normal((4, 3))
        >>> bool(tf.reduce_all(network(x) == x))
        True
    """

    def __init__(
        self,
        widths: Sequence[int] = (128, 128),
        blocks: int = 1,
        kernel_sizes: Sequence[int] | None = None,
        activation: str = "silu",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.widths, self.kernel_sizes = checked_widths(widths, kernel_sizes)
        self.blocks = check_integer("blocks", blocks, 1)
        self.activation = activation
        check_named("activation", activation, keras.activations.get, "activation")

    def build(self, input_shape: tuple[Any, ...]) -> None:
        self.join = JoinContext(dtype=self.dtype_policy)
        seen = self.join.compute_output_shape(input_shape)
        shape = self.compute_output_shape(input_shape)
        self.chains = []
        for _ in range(self.blocks):
            layers: list[keras.layers.Layer] = []
            for index, width in enumerate((*self.widths, shape[-1])):
                last = index == len(self.widths)
                options = {"dtype": self.dtype_policy}
                if last:
                    options["kernel_initializer"] = "zeros"
                if self.kernel_sizes is None:
                    layers.append(keras.layers.Dense(width, **options))
                else:
                    size = self.kernel_sizes[index]
                    layers.append(keras.layers.Conv2D(width, size, padding="same", **options))
                if not last:
                    layers.append(keras.layers.Activation(self.activation, dtype=self.dtype_policy))
            chain = keras.Sequential(layers)
            chain.build(seen)
            self.chains.append(chain)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        is_pair = isinstance(input_shape[0], list | tuple)
        return tuple(input_shape[0] if is_pair else input_shape)

    def call(self, x: tf.Tensor | list[tf.Tensor]) -> tf.Tensor:
        x, context = x if isinstance(x, list | tuple) else (x, None)
        for chain in self.chains:
            x += chain(self.join(x if context is None else [x, context]))
        return x

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "widths": self.widths,
            "blocks": self.blocks,
            "kernel_sizes": self.kernel_sizes,
            "activation": self.activation,
        }
