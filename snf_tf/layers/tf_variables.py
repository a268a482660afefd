"""Variables of TensorFlow, such as those of TFP's objects, as weights of Keras layers."""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

# Layers that share a variable share its wrapper, which keeps the variable, and so the key, alive.
_wrappers: weakref.WeakValueDictionary[int, keras.Variable] = weakref.WeakValueDictionary()


def weights_in_use(
    function: Callable[[tf.Tensor], Any],
    spec: tf.TensorSpec,
    shown: Sequence[tf.Variable] = (),
    made: Sequence[tf.Variable] = (),
    trainable: bool = True,
) -> list[keras.Variable]:
    """Finds the variables that a function uses, and wraps them as weights of Keras.

    Args:
        function: Function to trace. Its graph captures every variable, also those that TFP does not
            show.
        spec: Spec of the function's argument.
        shown: More variables.
        made: Variables as they were made: a graph captures only one replica's part of a variable.
        trainable: Whether trainable variables stay trainable.

    Raises:
        ValueError: If a variable was made outside of the scope of a strategy of several replicas.
    """
    graph = tf.function(function, autograph=False).get_concrete_function(spec)
    whole = {v._unique_id: v for v in (*graph.variables, *made, *shown)}
    found = {v._unique_id: whole[v._unique_id] for v in (*graph.variables, *shown)}
    outside = [v.name for v in found.values() if not isinstance(v, tf.distribute.DistributedValues)]
    if tf.distribute.get_strategy().num_replicas_in_sync > 1 and outside:
        raise ValueError(
            "These variables were made outside of the scope of the strategy: make the object that "
            "has them in the scope, for FromBijector by a function that makes the bijector. "
            f"Received: variables {', '.join(outside)}"
        )
    # Files hold no names: the order of making is the same in every run.
    return [_wrapped(v, trainable) for v in sorted(found.values(), key=_age)]


def _wrapped(variable: tf.Variable, trainable: bool) -> keras.Variable:
    """Returns the Keras variable of the same storage."""
    tracked = _wrappers.get(id(variable))
    if tracked is None:
        tracked = keras.Variable(
            variable,
            trainable=variable.trainable and trainable,
            dtype=variable.dtype,
            name=variable.name.removesuffix(":0").replace("/", "_"),
        )
        # The constraints keep the masks of TFP's autoregressive networks.
        tracked.constraint = variable.constraint
        _wrappers[id(variable)] = tracked
    return tracked


def _age(variable: tf.Variable) -> int:
    return int(variable._unique_id.rpartition("_")[2])
