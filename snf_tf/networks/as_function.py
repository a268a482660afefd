"""A network as a function of the values of its weights, for gradients that are defined by hand."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from snf_tf import _compat


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
        with _compat.stored_precision(network.variables):
            scope = keras.StatelessScope([*zip(variables, values, strict=True), *fixed])
        with scope, _compat.no_narrower_than(dtype, network):
            return tf.cast(network(inputs, training=False), dtype)

    return function


def stored_values(variables: Sequence[keras.Variable]) -> list[tf.Tensor]:
    """Returns values of variables as they are stored, inside a layer of half precision, too."""
    with _compat.stored_precision(variables):
        return [tf.convert_to_tensor(variable) for variable in variables]
