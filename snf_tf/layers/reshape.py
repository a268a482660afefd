"""Bijections that only move elements; their log-determinant is 0."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from snf_tf._checks import check_array_seed, refuse
from snf_tf.layers.flow_layer import FlowLayer
from snf_tf.layers.masks import random_permutation


class _Reshape(FlowLayer):
    """A permutation of elements."""

    takes_context = False
    log_det_is_constant = True

    def constant_log_det(self) -> tf.Tensor:
        return tf.zeros((), self.log_det_dtype)


@keras.saving.register_keras_serializable("snf_tf")
class Flatten(_Reshape):
    """Flattens `(batch, ...)` to `(batch, D)`, row by row.

    Args:
        **kwargs: As in `keras.layers.Layer`.

    Example:
        >>> z, log_det = snf_tf.layers.Flatten()(tf.zeros((2, 4, 4, 3)))
        >>> tuple(z.shape)
        (2, 48)
    """

    def compute_latent_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (math.prod(event_shape),)

    def call(
        self, x: tf.Tensor, context: tf.Tensor | None = None, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.reshape(x, (-1, *self.latent_shape)), self.repeat(0.0, x)

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        return tf.reshape(z, (-1, *self.event_shape))


@keras.saving.register_keras_serializable("snf_tf")
class Squeeze(_Reshape):
    """Moves 2 x 2 blocks of pixels into channels: `(batch, H, W, C)` to `(batch, H/2, W/2, 4C)`.

    Channel c of the pixel (dy, dx) of a block becomes channel `4 c + 2 dy + dx`, the order of the
    published runs.

    Args:
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: In build, if the input is not of rank 4, or has an odd height or width.

    Example:
        >>> z, log_det = snf_tf.layers.Squeeze()(tf.reshape(tf.range(4.0), (1, 2, 2, 1)))
        >>> z.numpy().tolist()
        [[[[0.0, 1.0, 2.0, 3.0]]]]
    """

    def compute_latent_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(event_shape) != 3 or event_shape[0] % 2 or event_shape[1] % 2:
            raise ValueError(
                "Squeeze takes images of shape (height, width, channels) with even height and "
                f"width. Received: event_shape={event_shape}"
            )
        height, width, channels = event_shape
        return height // 2, width // 2, 4 * channels

    def call(
        self, x: tf.Tensor, context: tf.Tensor | None = None, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        height, width, channels = self.event_shape
        blocks = tf.reshape(x, (-1, height // 2, 2, width // 2, 2, channels))
        return tf.reshape(
            tf.transpose(blocks, (0, 1, 3, 5, 2, 4)), (-1, *self.latent_shape)
        ), self.repeat(0.0, x)

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        height, width, channels = self.event_shape
        blocks = tf.reshape(z, (-1, height // 2, width // 2, channels, 2, 2))
        return tf.reshape(tf.transpose(blocks, (0, 1, 4, 2, 5, 3)), (-1, *self.event_shape))


@keras.saving.register_keras_serializable("snf_tf")
class Permute(_Reshape):
    """Permutes the last axis, features or channels: `z[..., i] = x[..., permutation[i]]`.

    Args:
        permutation: The integers below the size of the axis, in any order; None: a random order.
        seed: Of the random order, the same in every process.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: If permutation is none, or seed is no integer of at least 0. In build, if
            permutation has another size than the axis.

    Example:
        >>> z, log_det = snf_tf.layers.Permute([2, 0, 1])(tf.constant([[1.0, 2.0, 3.0]]))
        >>> z.numpy().tolist()
        [[3.0, 1.0, 2.0]]
    """

    def __init__(
        self, permutation: Sequence[int] | None = None, seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.permutation = None if permutation is None else _integers(permutation)
        self.seed = check_array_seed(seed)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        size = self.event_shape[-1]
        if self.permutation is not None and len(self.permutation) != size:
            raise ValueError(
                f"{self.name} permutes {len(self.permutation)} elements. "
                f"Received: events of shape {self.event_shape}"
            )
        self._order = np.array(self.permutation or random_permutation(size, self.seed))

    def call(
        self, x: tf.Tensor, context: tf.Tensor | None = None, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather(x, self._order, axis=-1), self.repeat(0.0, x)

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        return tf.gather(z, np.argsort(self._order), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"permutation": self.permutation, "seed": self.seed}


def _integers(permutation: Any) -> list[int]:
    array = np.asarray(permutation, object)
    is_given = array.ndim == 1 and all(isinstance(index, numbers.Integral) for index in array)
    if not is_given or sorted(array) != list(range(len(array))) or isinstance(array[0], bool):
        refuse("permutation", permutation, "the integers below its length, each once, or None")
    return [int(index) for index in array]
