"""Masks of couplings: which part of an event conditions the change of the other part.

Where the last axis is odd, the first part has one more than the second.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from snf_tf._checks import check_array_seed, check_flag
from snf_tf.layers.options import Option


class Mask(Option):
    """The base class of masks.

    Args:
        flip: Whether the parts change their roles: the second one conditions the first one.
        **options: Other arguments of the subclass' constructor.
    """

    def __init__(self, flip: bool = False, **options: Any) -> None:
        super().__init__(flip=flip, **options)
        self.flip = check_flag("flip", flip)

    def shapes(self, event_shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Returns the shapes of the part that conditions, and of the part that is changed.

        Raises:
            ValueError: If the event cannot be split.
        """
        first, second = self._part_shapes(event_shape)
        return (second, first) if self.flip else (first, second)

    def split(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the part that conditions, and the part that is changed."""
        first, second = self._parts(x)
        return (second, first) if self.flip else (first, second)

    def merge(self, x1: tf.Tensor, x2: tf.Tensor) -> tf.Tensor:
        """Joins both parts: the inverse of `split`."""
        return self._join(x2, x1) if self.flip else self._join(x1, x2)

    def _part_shapes(self, event_shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        raise NotImplementedError

    def _parts(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        raise NotImplementedError

    def _join(self, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError


class _OneAxis(Mask):
    """Splits one axis into halves, after a permutation."""

    _axis = -1

    def _order(self, size: int) -> np.ndarray | None:
        """Returns the elements in the order of both parts; None where they have it already."""
        raise NotImplementedError

    def _part_shapes(self, event_shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        axis = self._axis % (len(event_shape) + 1) - 1
        size = event_shape[axis]
        if size < 2:
            raise ValueError(
                f"{type(self).__name__} splits the last axis, which must have 2 elements at least. "
                f"Received: events of shape {event_shape}"
            )
        first, second = (
            (*event_shape[:axis], part, *event_shape[axis + 1 :])
            for part in (size - size // 2, size // 2)
        )
        return first, second

    def _parts(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        size = x.shape[self._axis]
        order = self._order(size)
        if order is not None:
            x = tf.gather(x, order, axis=self._axis)
        return tf.split(x, [size - size // 2, size // 2], axis=self._axis)

    def _join(self, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        x = tf.concat([first, second], axis=self._axis)
        order = self._order(x.shape[self._axis])
        return x if order is None else tf.gather(x, np.argsort(order), axis=self._axis)


@keras.saving.register_keras_serializable("snf_tf")
class Channels(_OneAxis):
    """The first half of the channels, the last axis, conditions the second half.

    Args:
        flip: Whether the second half conditions the first one.

    Example:
        >>> x1, x2 = Channels().split(tf.constant([[1.0, 2.0, 3.0, 4.0, 5.0]]))
        >>> x1.numpy().tolist(), x2.numpy().tolist()
        ([[1.0, 2.0, 3.0]], [[4.0, 5.0]])
    """

    def _order(self, size: int) -> np.ndarray | None:
        return None


@keras.saving.register_keras_serializable("snf_tf")
class Alternate(_OneAxis):
    """The elements of even index of the last axis, such as features, condition the others.

    Args:
        flip: Whether those of odd index condition the others.

    Example:
        >>> x1, x2 = Alternate().split(tf.constant([[1.0, 2.0, 3.0, 4.0, 5.0]]))
        >>> x1.numpy().tolist(), x2.numpy().tolist()
        ([[1.0, 3.0, 5.0]], [[2.0, 4.0]])
    """

    def _order(self, size: int) -> np.ndarray | None:
        return _even_before_odd(size)


@keras.saving.register_keras_serializable("snf_tf")
class RandomPermutation(_OneAxis):
    """A random half of the last axis, such as features, conditions the others.

    Args:
        seed: Which half. The same seed means the same one in every process.
        flip: Whether the others condition that half.

    Raises:
        ValueError: If seed is no integer of at least 0.

    Example:
        >>> x1, x2 = RandomPermutation(seed=1).split(tf.constant([[1.0, 2.0, 3.0, 4.0, 5.0]]))
        >>> x1.numpy().tolist(), x2.numpy().tolist()
        ([[3.0, 2.0, 5.0]], [[1.0, 4.0]])
    """

    def __init__(self, seed: int = 0, flip: bool = False) -> None:
        super().__init__(flip=flip, seed=seed)
        self.seed = check_array_seed(seed)

    def _order(self, size: int) -> np.ndarray | None:
        return random_permutation(size, self.seed)


@keras.saving.register_keras_serializable("snf_tf")
class Stripes(_OneAxis):
    """The rows of even index of an image condition the others.

    Each part is an image of half the height.

    Args:
        flip: Whether those of odd index condition the others.

    Example:
        >>> x1, x2 = Stripes().split(tf.reshape(tf.range(8.0), (1, 4, 2, 1)))
        >>> x1[0, ..., 0].numpy().tolist()
        [[0.0, 1.0], [4.0, 5.0]]
    """

    _axis = 1

    def _part_shapes(self, event_shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if len(event_shape) != 3 or event_shape[0] % 2:
            raise ValueError(
                "Stripes takes images (height, width, channels) of even height. "
                f"Received: events of shape {event_shape}"
            )
        return super()._part_shapes(event_shape)

    def _order(self, size: int) -> np.ndarray | None:
        return _even_before_odd(size)


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

    def _part_shapes(self, event_shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if len(event_shape) != 3 or event_shape[1] % 2:
            raise ValueError(
                "Checkerboard takes images (height, width, channels) of even width. "
                f"Received: events of shape {event_shape}"
            )
        height, width, channels = event_shape
        half = (height, width // 2, channels)
        return half, half

    def _parts(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
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


MASKS: Mapping[str, type] = {
    "channels": Channels,
    "checkerboard": Checkerboard,
    "stripes": Stripes,
    "alternate": Alternate,
    "random_permutation": RandomPermutation,
}


def random_permutation(size: int, seed: int) -> np.ndarray:
    """Returns the integers below size in a random order, the same in every process."""
    return np.random.RandomState(seed).permutation(size)


def _even_before_odd(size: int) -> np.ndarray:
    return np.concatenate([np.arange(0, size, 2), np.arange(1, size, 2)])
