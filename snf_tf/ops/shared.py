"""Functions that are traced and optimized once for all calls that are alike."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from snf_tf.ops.portable import is_portable

# Not inlined: TensorFlow then optimizes one graph for all calls.
_traced = functools.partial(
    tf.function, autograph=False, experimental_attributes={"_noinline": True}
)


def shared_function(method: Callable, reduce_retracing: bool = True) -> Callable[..., Any]:
    """Decorates a method of tensors: all calls of an object share a trace.

    Those in `portable_graphs` run the method as it is, inlined: LiteRT has no calls.
    """
    traced = _traced(method, reduce_retracing=reduce_retracing)

    @functools.wraps(method)
    def call(self, *args):
        # Got as an attribute it keeps its objects by weak references.
        return method(self, *args) if is_portable() else traced.__get__(self, type(self))(*args)

    return call


def shared_in_graphs(function: Callable) -> Callable:
    """Decorates a function of tensors: calls in graphs share a trace, where shapes are the same.

    Eager calls run the function as it is, and those in `portable_graphs`, which inline all.
    """
    # A trace of several shapes would know none.
    traced = _traced(function, reduce_retracing=False)

    @functools.wraps(function)
    def call(*args):
        is_shared = not tf.executing_eagerly() and not is_portable()
        return traced(*args) if is_shared else function(*args)

    return call
