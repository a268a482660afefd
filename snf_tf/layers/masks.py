"""Masks of couplings: which part of an event conditions the change of the other part."""

import keras
import tensorflow as tf

from snf_tf.layers.options import Option


class Mask(Option):
    """The base class of masks.

    Args:
        flip: Whether the parts change their roles.
    """

    def __init__(self, flip: bool = False) -> None:
        super().__init__(flip=flip)
        self.flip = flip

    def shapes(self, event_shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Returns the shapes of both parts.

        Raises:
            ValueError: If the event cannot be halved.
        """
        raise NotImplementedError

    def split(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the part that conditions, and the part that is changed."""
        first, second = self._halves(x)
        return (second, first) if self.flip else (first, second)

    def merge(self, x1: tf.Tensor, x2: tf.Tensor) -> tf.Tensor:
        """Joins both parts: the inverse of `split`."""
        return self._join(x2, x1) if self.flip else self._join(x1, x2)

    def _halves(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        raise NotImplementedError

    def _join(self, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError


@keras.saving.register_keras_serializable("snf_tf")
class Channels(Mask):
    """The first half of the channels, the last axis, conditions the second half.

    Args:
        flip: Whether the second half conditions the first one.

    Example:
        >>> x1, x2 = Channels().split(tf.constant([[1.0, 2.0, 3.0, 4.0]]))
        >>> x1.numpy().tolist(), x2.numpy().tolist()
        ([[1.0, 2.0]], [[3.0, 4.0]])
    """

    def shapes(self, event_shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        *pixels, channels = event_shape
        if channels % 2:
            raise ValueError(
                "A coupling halves the channels: their number must be even. "
                f"Received: {channels} channels"
            )
        half = (*pixels, channels // 2)
        return half, half

    def _halves(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.split(x, 2, axis=-1)

    def _join(self, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        return tf.concat([first, second], axis=-1)


@keras.saving.register_keras_serializable("snf_tf")
class Checkerboard(Mask):
    """The pixels of even row + column condition the others (Dinh et al. 2017).

    Each part is an image of half the width.

    Args:
        flip: Whether the odd pixels condition the even ones.

    Example:
        >>> image = tf.reshape(tf.range(8.0), (1, 2, 4, 1))
        >>> x1, x2 = Checkerboard().split(image)
        >>> x1[0, ..., 0].numpy().tolist()
        [[0.0, 2.0], [5.0, 7.0]]
    """

    def shapes(self, event_shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if len(event_shape) != 3 or event_shape[1] % 2:
            raise ValueError(
                "Checkerboard takes images (height, width, channels) of even width. "
                f"Received: events of shape {event_shape}"
            )
        height, width, channels = event_shape
        half = (height, width // 2, channels)
        return half, half

    def _halves(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        _, height, width, channels = x.shape
        pairs = tf.reshape(x, (-1, height, width // 2, 2, channels))
        first, second = tf.unstack(_reverse_odd_rows(pairs), axis=3)
        return first, second

    def _join(self, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        _, height, width, channels = first.shape
        pairs = _reverse_odd_rows(tf.stack([first, second], axis=3))
        return tf.reshape(pairs, (-1, height, 2 * width, channels))


def _reverse_odd_rows(pairs: tf.Tensor) -> tf.Tensor:
    is_odd = tf.range(pairs.shape[1])[:, None, None, None] % 2 == 1
    return tf.where(is_odd, pairs[:, :, :, ::-1], pairs)
