"""What layers with a context share: its shape, or classes, and how networks get it."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from snf_tf._checks import check_integer, check_shape


def checked_context(
    shape: Sequence[int] | None, classes: int | None
) -> tuple[tuple[int, ...] | None, int | None]:
    """Returns the arguments context_shape and context_classes of a layer.

    Raises:
        ValueError: If both are given, or classes is no positive integer.
    """
    if classes is None:
        return check_shape("context_shape", shape, optional=True, least=0), None
    classes = check_integer("context_classes", classes, 1)
    if shape is not None:
        raise ValueError(
            "context_classes stands in the place of context_shape: one of them must be None. "
            f"Received: context_classes={classes!r}, context_shape={shape}"
        )
    return (), classes


def context_vector(shape: tuple[int, ...] | None, classes: int | None) -> tuple[int, ...] | None:
    """Returns the shape of one context for a network: labels are one-hot vectors."""
    return shape if classes is None else (classes,)


def network_context(layer: Any, context: tf.Tensor | None) -> tf.Tensor:
    """Returns a context as the network of a layer gets it: labels are one-hot vectors.

    Args:
        layer: Has context_shape, not None, and context_classes.
        context: Of a call of the layer.

    Raises:
        ValueError: If there is none, or it has another shape.
    """
    if context is None or tuple(context.shape[1:]) != layer.context_shape:
        received = "no context" if context is None else f"a context of shape {context.shape}"
        raise ValueError(
            f"{layer.name} takes a context of shape (batch,) + {layer.context_shape} in every "
            f"call. Received: {received}"
        )
    if layer.context_classes is None:
        return layer.widen(context)
    return tf.one_hot(tf.cast(context, tf.int32), layer.context_classes, dtype=layer.log_det_dtype)
