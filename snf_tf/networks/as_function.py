"""A network as a function of the values of its weights, for gradients that are defined by hand."""

import contextlib
from collections.abc import Callable, Iterator
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
    fixed = [(v, tf.convert_to_tensor(v)) for v in network.non_trainable_variables]

    def function(inputs: Any, *values: tf.Tensor) -> tf.Tensor:
        dtype = (inputs[0] if isinstance(inputs, list) else inputs).dtype
        state = [*zip(variables, values, strict=True), *fixed]
        with keras.StatelessScope(state), _no_narrower_than(dtype, network):
            return tf.cast(network(inputs, training=False), dtype)

    return function


@contextlib.contextmanager
def _no_narrower_than(dtype: tf.DType, network: keras.layers.Layer) -> Iterator[None]:
    """Lets layers of half precision compute in float32, where x has it."""
    found = [network, *network._flatten_layers()]
    half = [layer for layer in found if tf.as_dtype(layer.compute_dtype).size < dtype.size]
    half = [layer for layer in half if tf.as_dtype(layer.compute_dtype).size < 4]
    kept = [(layer, layer.dtype_policy, getattr(layer, "_functional", None)) for layer in half]
    try:
        for layer in half:
            layer.dtype_policy = keras.DTypePolicy("float32")
            if isinstance(layer, keras.Sequential):
                # It would cast x to the dtype that it was built with; now it calls its layers.
                layer._functional = None
        yield
    finally:
        for layer, policy, functional in kept:
            layer.dtype_policy = policy
            if isinstance(layer, keras.Sequential):
                layer._functional = functional
