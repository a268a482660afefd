"""Layers that are alike share one trace: tracing is most of a deep flow's start-up."""

import json
import weakref
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

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
    # Activations may be anyone's functions.
    held = [value for part in _parts(network) for value in (part, *vars(part).values())]
    described = list(map(_described, facts))
    if not all(_is_known(value.__module__) for value in held if callable(value)):
        return None
    if not _knows(described):
        return None
    config = _without_names(keras.saving.serialize_keras_object(network))
    return json.dumps([config, *described], default=str)


def shared_trace(layer: Any, network: keras.layers.Layer, *facts: Any) -> "SharedTrace | None":
    """Returns the trace of `layer.transform_data` and `layer.transform_latents`.

    None where a layer cannot share: it or its network is not known, keeps state or adds losses,
    or computes in half precision.

    Args:
        layer: Computes functions of a network's weights, and has no others.
        network: A built network.
        *facts: What else the functions depend on; see `key_of_alike`.
    """
    adds_losses = any(getattr(part, "activity_regularizer", None) for part in _parts(network))
    keeps_state = len(network.trainable_variables) < len(network.variables)
    is_half = layer.compute_dtype != layer.variable_dtype
    if adds_losses or keeps_state or is_half or not _is_known(type(layer).__module__):
        return None
    key = key_of_alike(network, layer.dtype_policy.name, layer.event_shape, *facts)
    if key is None:
        return None
    found = _TRACES.get(key)
    if found is None:
        found = _TRACES[key] = SharedTrace(layer, network)
    return found


_TRACES: "weakref.WeakValueDictionary[str, SharedTrace]" = weakref.WeakValueDictionary()


class SharedTrace:
    """What layers that are alike compute, as functions of the weights of their networks.

    Args:
        layer: Any one of these layers.
        network: Its network.
    """

    def __init__(self, layer: Any, network: keras.layers.Layer) -> None:
        self._layer, self._network = layer, network

    @shared_function
    def forward(
        self,
        x: tf.Tensor,
        context: tf.Tensor | None,
        weights: list[tf.Tensor],
        training: bool,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes `(z, log_det)`."""
        with self._with_weights(weights):
            return self._layer.transform_data(x, context, training)

    @shared_function
    def inverse(
        self, z: tf.Tensor, context: tf.Tensor | None, weights: list[tf.Tensor]
    ) -> tf.Tensor:
        """Computes x."""
        with self._with_weights(weights):
            return self._layer.transform_latents(z, context)

    def _with_weights(self, weights: list[tf.Tensor]) -> keras.StatelessScope:
        return keras.StatelessScope(zip(self._network.variables, weights, strict=True))


def _parts(network: keras.layers.Layer) -> list[keras.layers.Layer]:
    return [network, *network._flatten_layers()]


def _is_known(module: str | None) -> bool:
    return (module or "").split(".")[0] in ("keras", "snf_tf")


def _knows(described: Any) -> bool:
    """Returns whether all objects are known, as they are written for Keras."""
    if isinstance(described, list):
        return all(map(_knows, described))
    if not isinstance(described, Mapping):
        return True
    is_known = "class_name" not in described or _is_known(described["module"])
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
