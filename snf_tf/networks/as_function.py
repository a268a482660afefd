"""A network as a function of the values of its weights, for gradients that are defined by hand."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf


def as_function(network: keras.layers.Layer) -> Callable[..., tf.Tensor]:
    """Returns a network as a function of `(inputs, *values)`, values of its trained variables.

    Inputs are x, or `[x, context]`. Other variables have the values of now. The network is called
    with `training=False`. An x of float32 is computed in float32, by layers of half precision, too.
    The output is cast to the dtype of x.

    Example:
        >>> network = keras.layers.Dense(1, use_bias=False)
        >>> network.build((None, 2))
        >>> snf_tf.networks.as_function(network)(tf.ones((1, 2)), tf.ones((2, 1))).numpy()
        array([[2.]], dtype=float32)
    """
    variables = network.trainable_variables
    # Read here: tf.custom_gradient takes functions without variables alone.
    others = network.non_trainable_variables
    fixed = list(zip(others, stored_values(others), strict=True))

    def function(inputs: Any, *values: tf.Tensor) -> tf.Tensor:
        dtype = (inputs[0] if isinstance(inputs, list) else inputs).dtype
        with _not_rounded(network.variables):
            scope = keras.StatelessScope([*zip(variables, values, strict=True), *fixed])
        with scope, _no_narrower_than(dtype, network):
            return tf.cast(network(inputs, training=False), dtype)

    return function


def stored_values(variables: Sequence[keras.Variable]) -> list[tf.Tensor]:
    """Returns values of variables as they are stored, inside a layer of half precision, too."""
    with _not_rounded(variables):
        return [tf.convert_to_tensor(variable) for variable in variables]


@contextlib.contextmanager
def _not_rounded(variables: Sequence[keras.Variable]) -> Iterator[None]:
    """Lets no layer around round the values of variables to half precision."""
    kept = [variable._autocast for variable in variables]
    try:
        for variable in variables:
            variable._autocast = False
        yield
    finally:
        for variable, autocast in zip(variables, kept, strict=True):
            variable._autocast = autocast


# What a layer of half precision computes in; a Sequential also casts x to the dtype of its input.
_PRECISION = ("_dtype_policy", "_functional", "_dtype")


@contextlib.contextmanager
def _no_narrower_than(dtype: tf.DType, network: keras.layers.Layer) -> Iterator[None]:
    """Lets layers of half precision compute in float32, where x has it."""
    half = [
        layer
        for layer in network._flatten_layers()
        if tf.as_dtype(layer.compute_dtype).size < min(dtype.size, 4)
    ]
    kept = [{n: layer.__dict__[n] for n in _PRECISION if n in layer.__dict__} for layer in half]
    try:
        for layer in half:
            layer._dtype_policy = keras.DTypePolicy("float32")
            if isinstance(layer, keras.Sequential):
                layer._functional = None
            if isinstance(layer, keras.layers.InputLayer):
                layer._dtype = "float32"
        yield
    finally:
        for layer, attributes in zip(half, kept, strict=True):
            for name, value in attributes.items():
                setattr(layer, name, value)
