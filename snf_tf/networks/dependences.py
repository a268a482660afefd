"""On which inputs the outputs of a network depend, found by trying."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

# Rows that are tried at once.
_ROWS = 256
# What is less, relative to the largest output, is a rounding error.
_ROUNDING = 1e-4


def dependences(
    network: keras.layers.Layer,
    event_shape: Sequence[int],
    context_shape: Sequence[int] | None = None,
) -> np.ndarray:
    """Finds which outputs depend on which inputs, by changing each input, at random weights.

    Args:
        network: A built network, called on x, or on `[x, context]`. It maps `(batch,) +
            event_shape` to `(batch,) + event_shape + (outputs,)`.
        event_shape: Shape of one x.
        context_shape: Shape of one context, if the network takes one.

    Returns:
        `(D, D)`, booleans: whether any output of dimension i depends on input j.

    Example:
        >>> network = snf_tf.networks.MADE(outputs=1)
        >>> network.build((None, 3))
        >>> dependences(network, (3,)).astype(int).tolist()
        [[0, 0, 0], [1, 0, 0], [1, 1, 0]]
    """
    random = np.random.RandomState(0)
    size = int(np.prod(event_shape))
    # The weights at hand may be zero, as many last layers are at first.
    weights = [
        (v, tf.constant(random.randn(*v.shape) / np.sqrt(max(1, np.prod(v.shape[:-1]))), v.dtype))
        for v in network.trainable_variables
    ]
    x = random.randn(1, size)
    inputs = np.concatenate([x, x + np.diag(random.choice([-2.0, 2.0], size))])
    context = None if context_shape is None else random.randn(1, *context_shape)

    def outputs(rows: np.ndarray) -> np.ndarray:
        values = [tf.constant(rows.reshape(-1, *event_shape), network.dtype_policy.variable_dtype)]
        if context is not None:
            values.append(tf.cast(np.repeat(context, len(rows), axis=0), values[0].dtype))
        with keras.StatelessScope(state_mapping=weights):
            found = network(values if context is not None else values[0], training=False)
        return np.reshape(tf.cast(found, tf.float64), (len(rows), size, -1))

    parts = [outputs(inputs[first : first + _ROWS]) for first in range(0, size + 1, _ROWS)]
    found = np.concatenate(parts)
    changed = np.abs(found[1:] - found[:1]) > _ROUNDING * np.max(np.abs(found))
    return changed.any(axis=2).T


def in_cycles(depends: np.ndarray) -> np.ndarray:
    """Returns the dimensions that no order puts after all that they depend on.

    Args:
        depends: `(D, D)`, as `dependences` returns.

    Example:
        >>> in_cycles(np.array([[0, 0, 0], [1, 0, 1], [0, 1, 0]], bool)).tolist()
        [1, 2]
    """
    left = np.ones(len(depends), bool)
    counts = depends.sum(axis=1)
    while (free := left & (counts == 0)).any():
        left &= ~free
        counts = counts - depends[:, free].sum(axis=1)
    return np.flatnonzero(left)
