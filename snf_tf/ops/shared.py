"""Functions that are traced and optimized once for all calls that are alike."""

import functools
from collections.abc import Callable

import tensorflow as tf

from snf_tf.ops.portable import is_portable

# Not inlined: TensorFlow then optimizes one graph for all calls.
shared_function = functools.partial(
    tf.function,
    reduce_retracing=True,
    autograph=False,
    experimental_attributes={"_noinline": True},
)


def shared_in_graphs(function: Callable) -> Callable:
    """Decorates a function of tensors: calls in graphs share a trace, where shapes are the same.

    Eager calls run the function as it is, and those in `portable_graphs`, which inline all.
    """
    # A trace of several shapes would know none.
    traced = shared_function(function, reduce_retracing=False)

    @functools.wraps(function)
    def call(*args):
        is_shared = not tf.executing_eagerly() and not is_portable()
        return traced(*args) if is_shared else function(*args)

    return call
