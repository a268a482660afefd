"""A network as a function of the values of its weights, for gradients that are defined by hand."""

from collections.abc import Callable

import keras
import tensorflow as tf


def as_function(
    network: keras.layers.Layer, context: tf.Tensor | None = None
) -> Callable[..., tf.Tensor]:
    """Returns a network as a function of `(x, *values)`, values of its trained variables.

    Other variables have the values of now. The network is called with `training=False`, and its
    output is cast to the dtype of x.

    Args:
        network: Called on x, or on `[x, context]` where there is a context.
        context: `(batch, ...)`. Of an x of more rows, copies of every row follow each other.

    Example:
        >>> network = keras.layers.Dense(1, use_bias=False)
        >>> network.build((None, 2))
        >>> snf_tf.networks.as_function(network)(tf.ones((1, 2)), tf.ones((2, 1))).numpy()
        array([[2.]], dtype=float32)
    """
    variables = network.trainable_variables
    # Read here: tf.custom_gradient takes functions without variables alone.
    fixed = [(v, tf.convert_to_tensor(v)) for v in network.non_trainable_variables]

    def function(x: tf.Tensor, *values: tf.Tensor) -> tf.Tensor:
        inputs = x
        if context is not None:
            copies = tf.shape(x)[0] // tf.maximum(tf.shape(context)[0], 1)
            inputs = [x, tf.repeat(context, copies, axis=0)]
        with keras.StatelessScope([*zip(variables, values, strict=True), *fixed]):
            return tf.cast(network(inputs, training=False), x.dtype)

    return function
