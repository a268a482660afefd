"""Gated convolutions with attention: the conditioner of Flow++."""

from typing import Any

import keras
import tensorflow as tf

from snf_tf._checks import check_integer, check_sizes
from snf_tf.networks.context import Conditioner


@keras.saving.register_keras_serializable("snf_tf")
class GatedConvNetwork(Conditioner):
    """Blocks of a gated convolution and gated attention between convolutions (Ho et al. 2019); 0
    at first.

    Called on images x1, or on [x1, context], a context of vectors or of images as large as x1. The
    attention of a block takes memory with the square of the number of pixels.

    Args:
        outputs: Channels of the output; None: as many as the coupling needs.
        width: Hidden channels, a multiple of heads.
        blocks: Number of blocks.
        heads: Heads of attention; 0: none.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: If outputs, width or blocks is not a positive integer, heads is negative, or
            width is no multiple of heads. In build, if the input is no image.

    Example:
        >>> network = snf_tf.networks.GatedConvNetwork(width=8, blocks=1, heads=2)
        >>> layer = snf_tf.layers.Coupling("logistic_mixture", "checkerboard", network)
        >>> z, log_det = layer(tf.random.normal((2, 4, 4, 3)))
    """

    def __init__(
        self,
        outputs: int | None = None,
        width: int = 96,
        blocks: int = 4,
        heads: int = 4,
        **kwargs: Any,
    ) -> None:
        super().__init__(outputs, **kwargs)
        self.width, self.blocks = check_sizes(width=width, blocks=blocks)
        self.heads = check_integer("heads", heads, 0)
        if self.heads and self.width % self.heads:
            raise ValueError(
                "heads must be 0, or an integer that divides width. "
                f"Received: heads={heads!r}, width={width}"
            )

    def build_network(self, input_shape: tuple[int | None, ...]) -> None:
        if len(input_shape) != 4:
            raise ValueError(
                "GatedConvNetwork takes images (batch, height, width, channels). "
                f"Received: an input of shape {input_shape}"
            )
        options = {"dtype": self.dtype_policy}
        layers: list[keras.layers.Layer] = [
            keras.layers.Conv2D(self.width, 3, padding="same", **options)
        ]
        for _ in range(self.blocks):
            layers += [_GatedConv(**options), keras.layers.LayerNormalization(**options)]
            if self.heads:
                layers += [
                    _GatedAttention(self.heads, **options),
                    keras.layers.LayerNormalization(**options),
                ]
        zero = {"kernel_initializer": "zeros"}
        layers.append(keras.layers.Conv2D(self.outputs, 3, padding="same", **zero, **options))
        self.network = keras.Sequential(layers)
        self.network.build(input_shape)

    def call_network(self, h: tf.Tensor) -> tf.Tensor:
        return self.network(h)

    def get_config(self) -> dict[str, Any]:
        config = {"width": self.width, "blocks": self.blocks, "heads": self.heads}
        return super().get_config() | config


class _Gated(keras.layers.Layer):
    """`x + a sigmoid(b)`, with a and b computed from x."""

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def call(self, x: tf.Tensor) -> tf.Tensor:
        a, b = tf.split(self.change(x), 2, axis=-1)
        return x + a * tf.sigmoid(b)

    def change(self, x: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError


class _GatedConv(_Gated):
    """A 3x3 and a 1x1 convolution of `elu([x, -x])`."""

    def build(self, input_shape: Any) -> None:
        width, options = input_shape[-1], {"dtype": self.dtype_policy}
        self.first = keras.layers.Conv2D(width, 3, padding="same", **options)
        self.second = keras.layers.Conv2D(2 * width, 1, **options)
        for layer in (self.first, self.second):
            layer.build((*input_shape[:-1], 2 * width))

    def change(self, x: tf.Tensor) -> tf.Tensor:
        for layer in (self.first, self.second):
            x = layer(tf.nn.elu(tf.concat([x, -x], axis=-1)))
        return x


class _GatedAttention(_Gated):
    """Attention of every pixel to all pixels, with learned embeddings of positions."""

    def __init__(self, heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, input_shape: Any) -> None:
        width, options = input_shape[-1], {"dtype": self.dtype_policy}
        self.position = self.add_weight(
            name="position",
            shape=input_shape[1:],
            initializer=keras.initializers.RandomNormal(stddev=0.01),
        )
        self.first = keras.layers.Dense(3 * width, **options)
        self.second = keras.layers.Dense(2 * width, **options)
        for layer in (self.first, self.second):
            layer.build(input_shape)

    def change(self, x: tf.Tensor) -> tf.Tensor:
        _, height, length, width = x.shape
        parts = (-1, height * length, 3, self.heads, width // self.heads)
        queries, keys, values = tf.unstack(tf.reshape(self.first(x + self.position), parts), axis=2)
        scores = tf.einsum("bqhc,bkhc->bhqk", queries, keys) * (width // self.heads) ** -0.5
        # Sums over many pixels: in float32 at least.
        dtype = tf.float64 if x.dtype == tf.float64 else tf.float32
        weights = tf.cast(tf.nn.softmax(tf.cast(scores, dtype)), x.dtype)
        found = tf.einsum("bhqk,bkhc->bqhc", weights, values)
        return self.second(tf.reshape(found, (-1, height, length, width)))
