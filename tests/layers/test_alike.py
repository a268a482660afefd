"""Couplings that are alike share a trace, and each computes with its own weights."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from snf_tf import layers

SHAPE = (4, 4, 6)


@functools.wraps(keras.activations.tanh)
def wrapped(x):
    return 3.0 * keras.activations.tanh(x)


class Twice(layers.Affine):
    """A transform that this package does not know."""


def dense(activation="tanh", **options):
    hidden = keras.layers.Dense(5, activation=activation, **options)
    return keras.Sequential([hidden, keras.layers.Dense(6)])


def named_alike(factor):
    def activation(x):
        return factor * x

    return activation


def coupling(**options):
    options = {"transform": layers.Affine("tanh"), "width": 8} | options
    layer = layers.Coupling(**options)
    layer.build((None, *SHAPE))
    random = np.random.default_rng(len(layer.name) + id(layer))
    for weight in layer.trainable_variables:
        weight.assign(0.2 * random.standard_normal(weight.shape))
    return layer


def trace_of(layer):
    """Returns the trace that a layer shares, after a call in a graph."""
    tf.function(lambda x: layer(x, training=True))(tf.ones((2, *SHAPE)))
    return layer._trace


def test_couplings_that_are_alike_share():
    first = coupling()
    assert trace_of(first) is trace_of(coupling())
    assert trace_of(coupling(conditioner=dense())) is trace_of(coupling(conditioner=dense()))
    others = [
        coupling(width=9),
        coupling(transform=layers.Affine("exp")),
        coupling(mask=layers.Alternate()),
        coupling(dtype="float64"),
        coupling(conditioner=dense("relu")),
        coupling(conditioner=dense()),
    ]
    traces = [trace_of(layer) for layer in [first, *others]]
    assert len(set(map(id, traces))) == len(traces)
    assert None not in traces


@pytest.mark.parametrize(
    "options",
    [
        {"conditioner": dense(named_alike(2.0))},
        {"conditioner": dense(lambda x: 3.0 * x)},
        {"conditioner": dense(wrapped)},
        {"conditioner": dense(activity_regularizer="l2")},
        {"conditioner": keras.Sequential([dense(), keras.layers.Dropout(0.5)])},
        {"conditioner": keras.Sequential([dense(), keras.layers.BatchNormalization()])},
        {"conditioner": keras.Sequential([dense(), keras.layers.Lambda(lambda h: -h)])},
        {"dtype": "mixed_bfloat16"},
        {"transform": Twice()},
    ],
    ids=[
        "function",
        "lambda",
        "wrapped",
        "losses",
        "random",
        "state",
        "Lambda",
        "half",
        "transform",
    ],
)
def test_what_is_not_known_does_not_share(options):
    assert trace_of(coupling(**options)) is None


def test_functions_of_one_name_stay_apart():
    x = tf.random.stateless_normal((3, *SHAPE), (0, 0))
    for factor in (1.0, -2.0):
        layer = coupling(conditioner=dense(named_alike(factor)))
        for found, expected in zip(tf.function(layer)(x), layer(x), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("context", [None, (3,)], ids=["alone", "context"])
def test_each_has_its_own_values_and_gradients(context):
    given = [coupling(context_shape=context) for _ in range(2)]
    assert context or trace_of(given[0]) is trace_of(given[1])
    x = tf.random.stateless_normal((3, *SHAPE), (1, 0))
    c = None if context is None else tf.random.stateless_normal((3, *context), (2, 0))

    def results(x):
        weights = [weight.value for layer in given for weight in layer.trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch(x)
            z, total = x, 0.0
            for layer in given:
                z, log_det = layer(z, context=c, training=True)
                total += tf.reduce_sum(log_det) + tf.reduce_sum(z**2)
        back = z
        for layer in reversed(given):
            back = layer.inverse(back, context=c)
        return z, total, back, *tape.gradient(total, [x, *weights])

    for found, expected in zip(tf.function(results)(x), results(x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(tf.function(results)(x)[2], x, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "value", "width"),
    [("transform", layers.Affine("exp"), 11), ("mask", layers.Channels(flip=True), 12)],
)
def test_a_layer_that_changes_changes_no_other(name, value, width):
    # Widths of their own: a trace of another test would come from a layer that does not change.
    changed, other = coupling(width=width), coupling(width=width)
    trace = trace_of(changed)
    assert trace_of(other) is trace
    setattr(changed, name, value)
    # A batch of another size is traced anew.
    x = tf.random.stateless_normal((5, *SHAPE), (0, 1))
    for layer in (other, changed):
        for found, expected in zip(tf.function(layer)(x), layer(x), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
