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
    layers that neither Keras nor this package defines, or a `Lambda`: nobody knows what they do.

    Args:
        network: A built network.
        *facts: Of what uses the network: numbers, texts, options, and lists or dictionaries.
    """
    layers = [network, *network._flatten_layers()]
    known = all(type(layer).__module__.split(".")[0] in ("keras", "snf_tf") for layer in layers)
    if not known or any(isinstance(layer, keras.layers.Lambda) for layer in layers):
        return None
    config = keras.saving.serialize_keras_object(network)
    return json.dumps([_without_names(config), *map(_described, facts)], default=str)


def shared_trace(layer: Any, network: keras.layers.Layer) -> "SharedTrace | None":
    """Returns the trace of `layer.transform_data` and `layer.transform_latents`.

    None where a layer cannot share: its network is not known, keeps state or adds losses, or
    computes in half precision.

    Args:
        layer: Computes functions of a network's weights, and has no others.
        network: A built network.
    """
    parts = [network, *network._flatten_layers()]
    adds_losses = any(getattr(part, "activity_regularizer", None) for part in parts)
    keeps_state = len(network.trainable_variables) < len(network.variables)
    if adds_losses or keeps_state or layer.compute_dtype != layer.variable_dtype:
        return None
    config = {name: value for name, value in layer.get_config().items() if name != "conditioner"}
    key = key_of_alike(network, type(layer).__name__, layer.event_shape, config)
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


def _without_names(config: Any) -> Any:
    """Drops the names of layers from a configuration."""
    if isinstance(config, Mapping):
        dropped = ["build_config", "shared_object_id", "name"]
        return {key: _without_names(value) for key, value in config.items() if key not in dropped}
    return [_without_names(value) for value in config] if isinstance(config, list) else config


def _described(fact: Any) -> Any:
    if isinstance(fact, Mapping):
        return _without_names(fact)
    if isinstance(fact, list):
        return [_described(part) for part in fact]
    return keras.saving.serialize_keras_object(fact) if isinstance(fact, Option) else fact
