"""Layers that are alike share one trace: tracing is most of a deep flow's start-up."""

import contextlib
import functools
import json
import sys
import types
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from snf_tf._compat import layers_within
from snf_tf.layers.options import Option
from snf_tf.ops.shared import shared_function


def key_of_alike(network: keras.layers.Layer, *facts: Any) -> str | None:
    """Returns a text that is the same for networks that are alike, and for equal facts.

    Networks are alike if they have the same configuration, but for names. None: the network has
    parts that neither Keras nor this package defines. Nobody knows what these compute.

    Args:
        network: A built network.
        *facts: Of what uses the network: numbers, texts, options, and lists or dictionaries.
    """
    parts = layers_within(network)
    described = list(map(_described, facts))
    if not all(_is_known(type(part).__module__) and _holds_known(part) for part in parts):
        return None
    try:
        config = _without_names(keras.saving.serialize_keras_object(network))
    except (NotImplementedError, TypeError, ValueError):
        return None
    if not _knows([config, *described]):
        return None
    # Not in Keras' configuration.
    dtypes = [(p.compute_dtype, p.variable_dtype, p.autocast) for p in parts]
    shapes = [(tuple(v.shape), v.dtype) for v in network.variables]
    return json.dumps([config, dtypes, shapes, *described], default=str)


def shared_trace(layer: Any, network: keras.layers.Layer, *facts: Any) -> "SharedTrace | None":
    """Returns the trace of `layer.transform_data` and `layer.transform_latents`.

    None where a layer cannot share: it or its network is not known, keeps state or adds losses,
    or computes in half precision.

    Args:
        layer: Computes functions of a network's weights, and has no others.
        network: A built network.
        *facts: What else the functions depend on; see `key_of_alike`.
    """
    parts = layers_within(network)
    adds_losses = any(part.activity_regularizer for part in parts)
    keeps_state = len(network.trainable_variables) < len(network.variables)
    is_half = any(part.compute_dtype != part.variable_dtype for part in (layer, *parts))
    if adds_losses or keeps_state or is_half or not _is_known(type(layer).__module__):
        return None
    key = key_of_alike(network, layer.variable_dtype, layer.event_shape, *facts)
    if key is None:
        return None
    found = _TRACES.get(key)
    if found is None:
        found = _TRACES[key] = SharedTrace()
    return found


_TRACES: "weakref.WeakValueDictionary[str, SharedTrace]" = weakref.WeakValueDictionary()


class SharedTrace:
    """What layers that are alike compute, as functions of the weights of their networks.

    A new signature is traced through the layer that calls: another one may have changed since.
    """

    def __init__(self) -> None:
        self._caller: tuple[Any, keras.layers.Layer] | None = None

    def forward(
        self,
        layer: Any,
        network: keras.layers.Layer,
        x: tf.Tensor,
        context: tf.Tensor | None,
        training: bool,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes `(z, log_det)` of a layer."""
        with self._called_by(layer, network) as weights:
            return self._forward(x, context, weights, training)

    def inverse(
        self, layer: Any, network: keras.layers.Layer, z: tf.Tensor, context: tf.Tensor | None
    ) -> tf.Tensor:
        """Computes x of a layer."""
        with self._called_by(layer, network) as weights:
            return self._inverse(z, context, weights)

    @contextlib.contextmanager
    def _called_by(self, layer: Any, network: keras.layers.Layer) -> Iterator[list[tf.Tensor]]:
        before, self._caller = self._caller, (layer, network)
        try:
            yield [tf.convert_to_tensor(variable) for variable in network.variables]
        finally:
            self._caller = before

    @functools.partial(shared_function, reduce_retracing=False)
    def _forward(
        self, x: tf.Tensor, context: tf.Tensor | None, weights: list[tf.Tensor], training: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        assert self._caller is not None
        layer, network = self._caller
        with keras.StatelessScope(zip(network.variables, weights, strict=True)):
            return layer.transform_data(x, context, training)

    @functools.partial(shared_function, reduce_retracing=False)
    def _inverse(
        self, z: tf.Tensor, context: tf.Tensor | None, weights: list[tf.Tensor]
    ) -> tf.Tensor:
        assert self._caller is not None
        layer, network = self._caller
        with keras.StatelessScope(zip(network.variables, weights, strict=True)):
            return layer.transform_latents(z, context)


def _is_known(module: str | None) -> bool:
    return (module or "").split(".")[0] in ("keras", "snf_tf")


def _holds_known(part: keras.layers.Layer) -> bool:
    """Returns whether all functions and objects to call that a layer holds are known."""
    for value in vars(part).values():
        if isinstance(value, types.FunctionType):
            # Keras wraps methods of the layer itself.
            of_part = getattr(getattr(value, "__wrapped__", None), "__self__", None) is part
            module = sys.modules.get(value.__module__)
            # A wrapped function bears the name of another one.
            genuine = getattr(module, value.__qualname__, None) is value
            if not of_part and not (genuine and _is_known(value.__module__)):
                return False
        elif callable(value) and not _is_known(getattr(value, "__module__", None)):
            return False
    return True


def _knows(described: Any) -> bool:
    """Returns whether all objects are known, as they are written for Keras."""
    if isinstance(described, list):
        return all(map(_knows, described))
    if not isinstance(described, Mapping):
        return True
    is_known = "module" not in described or _is_known(described["module"])
    return is_known and all(map(_knows, described.values()))


def _without_names(config: Any) -> Any:
    """Drops the names of layers from a configuration."""
    if isinstance(config, Mapping):
        is_layer = "trainable" in config or "batch_shape" in config
        dropped = ["build_config", "shared_object_id"] + ["name"] * is_layer
        return {key: _without_names(value) for key, value in config.items() if key not in dropped}
    return [_without_names(value) for value in config] if isinstance(config, list) else config


def _described(fact: Any) -> Any:
    if isinstance(fact, list):
        return [_described(part) for part in fact]
    return keras.saving.serialize_keras_object(fact) if isinstance(fact, Option) else fact
