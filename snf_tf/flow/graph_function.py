"""Functions of a flow that are traced once, and dropped with the flow.

AutoGraph is off: to rewrite the library's code would take longer than to trace it, and Keras traces
training steps without, too.
"""

import functools
import weakref
from collections.abc import Callable
from typing import Any

import tensorflow as tf

# For methods, which TensorFlow keeps with their object.
traced = functools.partial(tf.function, reduce_retracing=True, autograph=False)


def graph_function(function: Callable, **options: Any) -> Callable:
    """Makes a `tf.function` of a function whose first argument is a flow.

    A plain `tf.function` would keep the graph of every flow for ever.

    Args:
        function: Takes a flow, then tensors.
        **options: As in `tf.function`.
    """
    traced: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()

    @functools.wraps(function)
    def call(flow: Any, *args: Any) -> Any:
        if flow not in traced:
            # A strong reference to the key would keep it.
            reference = weakref.ref(flow)
            traced[flow] = tf.function(
                lambda *args: function(reference(), *args), autograph=False, **options
            )
        return traced[flow](*args)

    return call
