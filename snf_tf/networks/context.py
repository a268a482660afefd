"""The inputs of conditioners: one part of an event, and a context where there is one."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from snf_tf._checks import check_integer


@keras.saving.register_keras_serializable("snf_tf")
class JoinContext(keras.layers.Layer):
    """Appends a context to the channels of x1; x1 alone stays as it is.

    Vectors x1 take a context of any shape, flattened. To images x1, a context `(batch, C)` is
    appended at every pixel. A context that is an image must have the height and width of x1, or
    multiples of them: every block of its pixels then becomes the channels of one pixel.

    Raises:
        ValueError: If a context has another shape.

    Example:
        >>> snf_tf.networks.JoinContext()([tf.ones((2, 4, 4, 3)), tf.ones((2, 10))]).shape
        TensorShape([2, 4, 4, 13])
        >>> snf_tf.networks.JoinContext()([tf.ones((2, 4, 2, 3)), tf.ones((2, 8, 8, 1))]).shape
        TensorShape([2, 4, 2, 11])
    """

    def build(self, input_shape: Any) -> None:
        """Checks the shapes: x1's, or those of x1 and the context."""
        self.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        if not isinstance(input_shape[0], Sequence):
            return tuple(input_shape)
        x1, context = map(tuple, input_shape)
        if len(x1) == 2 and len(context) >= 2:
            return (*x1[:-1], x1[-1] + tf.TensorShape(context[1:]).num_elements())
        return (*x1[:-1], x1[-1] + math.prod(_blocks(context, x1)) * context[-1])

    def call(self, inputs: Any) -> tf.Tensor:
        if not isinstance(inputs, (list, tuple)):
            return inputs
        x1, context = inputs
        context = tf.cast(context, x1.dtype)
        if x1.shape.rank == 2:
            context = tf.reshape(context, (-1, context.shape[1:].num_elements()))
        elif context.shape.rank == 2:
            between = [1] * (x1.shape.rank - 2)
            context = tf.reshape(context, (-1, *between, context.shape[-1]))
            context = tf.broadcast_to(context, (*tf.unstack(tf.shape(x1))[:-1], context.shape[-1]))
        else:
            context = _fold(context, _blocks(context.shape, x1.shape))
        return tf.concat([x1, context], axis=-1)

    def get_config(self) -> dict[str, Any]:
        # Keras' default cannot store the object that a dtype policy is.
        return super().get_config()


def _blocks(context: Sequence[int | None], x1: Sequence[int | None]) -> tuple[int, ...]:
    """Returns the height and width of the blocks of the context's pixels; of vectors, ()."""
    if len(context) == 2:
        return ()
    if len(context) == len(x1):
        pairs = list(zip(context[1:-1], x1[1:-1], strict=True))
        if all(size == target for size, target in pairs):
            return (1,) * len(pairs)
        if all(size and target and not size % target for size, target in pairs):
            return tuple(size // target for size, target in pairs if size and target)
    raise ValueError(
        "A context must be vectors (batch, C), or an image with the height and width of x1, or "
        f"multiples of them. Received: a context of shape {tuple(context)}, "
        f"x1 of shape {tuple(x1)}"
    )


def _fold(image: tf.Tensor, blocks: tuple[int, ...]) -> tf.Tensor:
    """Makes every block of pixels the channels of one pixel."""
    if set(blocks) == {1}:
        return image
    _, height, width, channels = image.shape
    rows, columns = blocks
    image = tf.reshape(image, (-1, height // rows, rows, width // columns, columns, channels))
    image = tf.transpose(image, (0, 1, 3, 2, 4, 5))
    return tf.reshape(image, (-1, height // rows, width // columns, rows * columns * channels))


class Conditioner(keras.layers.Layer):
    """The base class of networks that compute parameters from x1, or from [x1, context].

    A subclass defines `build_network`, for the shape of x1 with the context appended, and
    `call_network`.

    Args:
        outputs: Channels of the output; None: as many as the coupling needs, which sets it.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: If outputs is not a positive integer. In build, if it is None.
    """

    def __init__(self, outputs: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.outputs = check_integer("outputs", outputs, 1, optional=True)
        self.join = JoinContext(dtype=self.dtype_policy)

    def build_network(self, input_shape: tuple[int | None, ...]) -> None:
        raise NotImplementedError

    def call_network(self, h: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError

    def build(self, input_shape: Any) -> None:
        if self.outputs is None:
            raise ValueError(f"{self.name} has no coupling that sets outputs. Received: None")
        self.build_network(self.join.compute_output_shape(input_shape))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (*self.join.compute_output_shape(input_shape)[:-1], self.outputs)

    def call(self, inputs: Any) -> tf.Tensor:
        return self.call_network(self.join(inputs))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"outputs": self.outputs}
