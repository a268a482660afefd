"""How a self normalizing layer keeps its inverse kernel up to date without learning it.

A method says what the gradient of log|det| is with respect to the kernel, in every training call,
from an inverse kernel that it brings up to date there; it is a weight that is not trained, as are
the numbers that the method keeps. The likelihood's gradient is then whole, not halved as in SNF Eq.
3, and there is no penalty. With several replicas every one computes the same update, and the first
one's is kept.
"""

import sys

import keras
import tensorflow as tf


class InverseMethod:
    """What `SelfNormalizingDense` and `SelfNormalizingConv2D` ask of a method other than "learned".

    Args:
        **options: The arguments of the subclass' constructor, for `get_config`.
    """

    def __init__(self, **options):
        self.options = options

    def build(self, layer: keras.layers.Layer) -> None:
        """Adds to a layer the numbers that the method keeps: scalars in `layer.inverse_state`, by
        their names.
        """
        raise NotImplementedError

    def log_det_gradient(self, layer: keras.layers.Layer, x: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
        """Updates the layer's inverse kernel, and returns the gradient of log|det| with respect to
        the kernel.
        """
        raise NotImplementedError

    def get_config(self):
        return dict(self.options)

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def get(method, methods: dict[str, type[InverseMethod]]) -> InverseMethod | None:
    """Looks up a method by its name, or takes one as it is; None for "learned".

    Raises:
        ValueError: If there is no such method among `methods`.
    """
    if isinstance(method, str) and method in methods:
        return methods[method]()
    if method != "learned" and not isinstance(method, tuple(methods.values())):
        names = ", ".join(map(repr, ["learned", *methods]))
        classes = ", ".join(f"snf_tf.layers.{cls.__name__}" for cls in methods.values())
        raise ValueError(
            f"inverse_method must be one of {names}, or a {classes}. Received: "
            f"inverse_method={method!r}"
        )
    return None if method == "learned" else method


def serialize(method):
    """What `get_config` holds of a method, or of its name."""
    return (
        keras.saving.serialize_keras_object(method) if isinstance(method, InverseMethod) else method
    )


def deserialize(method):
    """The method, or its name, of what `get_config` holds."""
    return keras.saving.deserialize_keras_object(method) if isinstance(method, dict) else method


def kept_weight(layer, name, shape, initializer="zeros", dtype=None):
    """Adds a weight that is not trained, and of which replicas keep the first one's value."""
    return layer.add_weight(
        name=name,
        shape=shape,
        initializer=initializer,
        dtype=dtype,
        trainable=False,
        autocast=False,
        aggregation="only_first_replica",
    )


def add_scalars(layer, **dtypes):
    """Adds the scalars of `layer.inverse_state`, and the number of updates."""
    dtypes |= {"inverse_updates": "int32"}
    layer.inverse_state = {
        name: kept_weight(layer, name, (), dtype=dtype) for name, dtype in dtypes.items()
    }


def record(layer, **values):
    """Ends an update: assigns numbers, and adds to counts."""
    for name, value in (values | {"inverse_updates": 1}).items():
        variable = layer.inverse_state[name]
        value = tf.cast(value, variable.dtype)
        variable.assign(variable + value if variable.dtype == "int32" else value)


def say(layer, condition, *message):
    """Says something in the log of standard error, if a condition holds when the graph runs."""
    tf.cond(
        condition, lambda: tf.print(f"{layer.name}:", *message, output_stream=sys.stderr), tf.no_op
    )
