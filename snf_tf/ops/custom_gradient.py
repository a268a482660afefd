"""`tf.custom_gradient` without its memory."""

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

# Private, and tested in tests/ops/test_custom_gradient.py.
from tensorflow.python.framework.ops import gradient_registry, uid

_STORE = "_snf_tf_gradients"


def custom_gradient(function: Callable) -> Callable:
    """Decorates a function as `tf.custom_gradient` does.

    In a graph TensorFlow puts the gradient of every call into a registry, and never takes it out: a
    model that is dropped leaves its graphs there, with all values that they have captured. Here the
    registry refers to gradients weakly. They live as long as the graph of the call, or one that
    this graph is a part of.

    Args:
        function: As for `tf.custom_gradient`.
    """
    return functools.wraps(function)(released(tf.custom_gradient(function)))


def released(function: Callable) -> Callable:
    """Makes TensorFlow's registry refer weakly to the gradients that a function puts there."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if tf.executing_eagerly():
            return function(*args, **kwargs)
        first = uid()
        result = function(*args, **kwargs)
        entries = gradient_registry._registry
        # Of a copy: a collection of garbage may take entries out at any time.
        for name in reversed(list(entries)):
            kind, _, number = name.partition("-")
            if kind != "CustomGradient":
                continue
            if int(number) < first:
                break
            if (entry := entries.get(name)) is not None:
                _weaken(name, entry)
        return result

    return call


def _weaken(name: str, entry: dict[str, Any]) -> None:
    """Moves a gradient from the registry to the graphs of the call."""
    if isinstance(entry["type"], _Weak):
        return
    graph, graphs = tf.compat.v1.get_default_graph(), []
    # The outermost one is TensorFlow's own, which never goes.
    while getattr(graph, "outer_graph", None) is not None:
        if not hasattr(graph, _STORE):
            setattr(graph, _STORE, {})
        getattr(graph, _STORE)[name] = entry["type"]
        graphs.append(weakref.ref(graph))
        weakref.finalize(graph, _forget, name, graphs)
        graph = graph.outer_graph
    if graphs:
        entry["type"] = _Weak(name, graphs)


class _Weak:
    """A gradient that lives as long as one of some graphs."""

    def __init__(self, name: str, graphs: Sequence[weakref.ref]) -> None:
        self._name, self._graphs = name, graphs

    def __call__(self, *args: Any) -> Any:
        for graph in self._graphs:
            if (alive := graph()) is not None:
                return getattr(alive, _STORE)[self._name](*args)
        raise LookupError("The graph of this gradient does not exist any more.")


def _forget(name: str, graphs: Sequence[weakref.ref]) -> None:
    """Takes a gradient out of the registry when its last graph is gone."""
    if all(graph() is None for graph in graphs):
        gradient_registry._registry.pop(name, None)
