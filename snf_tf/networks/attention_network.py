"""Networks of attention that begin as the identity: halves of a self normalizing pair."""

from typing import Any

import keras
import tensorflow as tf

from snf_tf._checks import check_sizes


@keras.saving.register_keras_serializable("snf_tf")
class AttentionNetwork(keras.layers.Layer):
    """Transformer blocks over the patches of an image; the identity at first.

    Each block adds attention between patches, and then a network of two dense layers. Both see
    normalized patches (Ba et al. 2016), and both end in a linear map that starts at zero. Learned
    positions are added to what attention sees.

    Args:
        patch_size: Height and width of a patch.
        width: Features of the keys of all heads, and half of the hidden units.
        heads: Number of heads; width is a multiple.
        blocks: Number of blocks.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: If a number is not a positive integer, width is no multiple of heads, or the
            image is no multiple of patches.

    Example:
        >>> network = snf_tf.networks.AttentionNetwork(patch_size=2, width=8, heads=2)
        >>> x = tf.random.normal((3, 4, 4, 1))
        >>> bool(tf.reduce_all(network(x) == x))
        True
    """

    def __init__(
        self, patch_size: int = 2, width: int = 64, heads: int = 4, blocks: int = 1, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        sizes = {"patch_size": patch_size, "width": width, "heads": heads, "blocks": blocks}
        self.sizes = dict(zip(sizes, check_sizes(**sizes), strict=True))
        if width % heads:
            raise ValueError(
                f"width must be a multiple of heads. Received: width={width}, heads={heads}"
            )

    def build(self, input_shape: tuple[Any, ...]) -> None:
        patch, width = self.sizes["patch_size"], self.sizes["width"]
        if len(input_shape) != 4 or input_shape[1] % patch or input_shape[2] % patch:
            raise ValueError(
                "AttentionNetwork takes images (height, width, channels) whose sides are multiples "
                f"of patch_size={patch}. Received: input_shape={tuple(input_shape)}"
            )
        _, height, breadth, channels = input_shape
        self._grid = (height // patch, breadth // patch)
        features = patch**2 * channels
        tokens = (None, self._grid[0] * self._grid[1], features)
        self.positions = self.add_weight(
            name="positions", shape=tokens[1:], initializer=keras.initializers.RandomNormal(0.02)
        )
        policy = {"dtype": self.dtype_policy}
        self.parts = []
        for _ in range(self.sizes["blocks"]):
            parts = [
                keras.layers.LayerNormalization(**policy),
                keras.layers.MultiHeadAttention(
                    self.sizes["heads"],
                    width // self.sizes["heads"],
                    flash_attention=False,
                    **policy,
                ),
                keras.layers.LayerNormalization(**policy),
                keras.layers.Dense(2 * width, activation="silu", **policy),
                keras.layers.Dense(features, kernel_initializer="zeros", **policy),
            ]
            shapes = (tokens, tokens, tokens, (*tokens[:2], 2 * width))
            parts[1].build(tokens, tokens)
            for part, shape in zip((*parts[:1], *parts[2:]), shapes, strict=True):
                part.build(shape)
            # Keras gives one initializer to all maps of attention: the last one starts at zero.
            output = parts[1].output_dense
            output.kernel.assign(tf.zeros_like(output.kernel))
            self.parts.append(parts)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return input_shape

    def call(self, x: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(x)
        patch, (rows, columns) = self.sizes["patch_size"], self._grid
        cut = tf.reshape(x, (-1, rows, patch, columns, patch, x.shape[-1]))
        h = tf.reshape(tf.transpose(cut, (0, 1, 3, 2, 4, 5)), (-1, *self.positions.shape))
        for normalize, attend, normalize_again, widen, narrow in self.parts:
            seen = normalize(h) + tf.cast(self.positions, h.dtype)
            h += attend(seen, seen)
            h += narrow(widen(normalize_again(h)))
        cut = tf.reshape(h, (-1, rows, columns, patch, patch, x.shape[-1]))
        return tf.reshape(tf.transpose(cut, (0, 1, 3, 2, 4, 5)), shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | self.sizes
