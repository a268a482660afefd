"""Masks of couplings: which part of an event conditions the change of the other part."""

import keras
import tensorflow as tf

from snf_tf.layers.options import Option


@keras.saving.register_keras_serializable("snf_tf")
class Channels(Option):
    """The first half of the channels, the last axis, conditions the second half.

    Example:
        >>> x1, x2 = Channels().split(tf.constant([[1.0, 2.0, 3.0, 4.0]]))
        >>> x1.numpy().tolist(), x2.numpy().tolist()
        ([[1.0, 2.0]], [[3.0, 4.0]])
    """

    def shapes(self, event_shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Returns the shapes of both parts.

        Raises:
            ValueError: If there is an odd number of channels.
        """
        *pixels, channels = event_shape
        if channels % 2:
            raise ValueError(
                "A coupling halves the channels: their number must be even. "
                f"Received: {channels} channels"
            )
        half = (*pixels, channels // 2)
        return half, half

    def split(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the part that conditions, and the part that is changed."""
        return tf.split(x, 2, axis=-1)

    def merge(self, x1: tf.Tensor, x2: tf.Tensor) -> tf.Tensor:
        """Joins both parts: the inverse of `split`."""
        return tf.concat([x1, x2], axis=-1)
