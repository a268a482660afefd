"""Methods that take data, and what is no data."""

import functools

import keras
import numpy as np
import tensorflow as tf

import snf_tf
from snf_tf import layers
from snf_tf.bijectors import as_bijector, as_distribution
from tests.campaign.tables import Entry

X = np.zeros((4, 2), "float32")
Y = np.array([0, 1, 2, 0])


def full(value, dtype=None):
    return np.full((4, 2), value, dtype)


# What no method takes.
NO_NUMBERS = (
    None,
    "x",
    b"x",
    object(),
    full("a"),
    full(b"a"),
    full(None, object),
    full(1.0, object),
    full(1j),
    full(1j, "complex64"),
    full(1, np.longdouble),
    full(np.datetime64("2020-01-01")),
    [["a", "b"]] * 4,
    [[10**30, 1]] * 4,
    tf.fill((4, 2), "a"),
    tf.fill((4, 2), tf.constant(1j, tf.complex64)),
    tf.ragged.constant([[1.0], [1.0, 2.0]]),
    tf.sparse.from_dense(tf.ones((4, 2))),
)
TOO_LARGE = (full(1e300), full(-1e39), tf.fill((4, 2), tf.constant(1e300, tf.float64)))
NOT_FINITE = (*(full(v, "float32") for v in (np.nan, np.inf)), full(-np.inf), full(np.nan))
WRONG_SHAPE = (np.zeros(2), np.zeros((4, 3)), np.zeros((4, 2, 1)), np.float32(3.0))
NO_ROWS = (np.zeros((0, 2), "float32"), tf.zeros((0, 2)))
DATA = (*NO_NUMBERS, *TOO_LARGE, *NOT_FINITE, *WRONG_SHAPE)
# Layers pass on NaN, and TFP has messages for shapes of its own.
PASSED_ON = (*NO_NUMBERS, *TOO_LARGE)
NO_INTEGERS = (full(2**24), full(2**24 + 1), full(2**60), full(0.5), full(-1))


@functools.cache
def _flow(kind):
    flow = {
        "flow": lambda: snf_tf.Flow([layers.Scale(1.0)], event_shape=(2,)),
        "integers": lambda: snf_tf.Flow([layers.Dequantize(2**24)], event_shape=(2,)),
        "norm": lambda: snf_tf.Flow([layers.ActNorm()], event_shape=(2,)),
        "hybrid": lambda: snf_tf.HybridFlow([layers.Scale(1.0)], (2,), classes=3, head_width=4),
        "context": lambda: snf_tf.Flow([layers.AffineCoupling(context_shape=(2,))], (2,)),
    }[kind]()
    flow.compile(optimizer="sgd")
    return flow


@functools.cache
def _layer():
    layer = layers.Scale(1.0)
    layer.build((None, 2))
    return layer


@functools.cache
def _bijector():
    return as_bijector(_layer())


def _method(kind, name, wrong, argument="x", **given):
    return Entry(lambda **kwargs: getattr(_flow(kind), name)(**kwargs), given, {argument: wrong})


METHODS = {
    **{
        name: _method("flow", name, DATA)
        for name in ("log_prob", "estimate_log_prob", "log_prob_bound", "encode")
    },
    # A list is an element of a data set there.
    "call": _method("flow", "__call__", [x for x in DATA if not isinstance(x, list)]),
    **{name: _method("flow", name, (*DATA, *NO_ROWS)) for name in ("evaluate", "predict", "fit")},
    "validation": Entry(
        lambda x: _flow("flow").fit(X, validation_data=(x,), verbose=0),
        {},
        {"x": (*NO_NUMBERS, *WRONG_SHAPE, *NO_ROWS)},
    ),
    "initialize": _method("norm", "initialize", (*DATA, *NO_ROWS)),
    "decode": _method("flow", "decode", DATA, "z"),
    "flow.inverse": _method("flow", "inverse", (*PASSED_ON, *WRONG_SHAPE), "z"),
    **{
        f"integers.{name}": _method("integers", name, (*DATA, *NO_INTEGERS))
        for name in ("log_prob", "encode", "evaluate", "fit")
    },
    "classify": _method("hybrid", "classify", DATA),
    "hybrid.fit": _method("hybrid", "fit", (*NO_NUMBERS, *TOO_LARGE, *NOT_FINITE), y=Y),
    "hybrid.labels": _method(
        "hybrid", "evaluate", (*NO_NUMBERS[1:], full(0.5), *WRONG_SHAPE), "y", x=X
    ),
    "contexts": _method(
        "context", "log_prob", (*NO_NUMBERS[1:], *TOO_LARGE, *NOT_FINITE), "context", x=X
    ),
    "contexts.sample": _method("context", "sample", (*NO_NUMBERS[1:], *NOT_FINITE), "context", n=4),
    "weights": _method(
        "flow",
        "evaluate",
        (*NO_NUMBERS[1:], -np.ones(4), np.full(4, np.nan), np.ones(3)),
        "sample_weight",
        x=X,
    ),
    "layer": Entry(lambda x: _layer()(x), {}, {"x": (*PASSED_ON, *WRONG_SHAPE)}),
    "layer.inverse": Entry(lambda z: _layer().inverse(z), {}, {"z": (*PASSED_ON, *WRONG_SHAPE)}),
    **{
        f"bijector.{name}": Entry(
            lambda x, name=name: getattr(_bijector(), name)(x), {}, {"x": PASSED_ON}
        )
        for name in ("forward", "forward_log_det_jacobian")
    },
    **{
        f"bijector.{name}": Entry(
            lambda y, name=name: getattr(_bijector(), name)(y), {}, {"y": PASSED_ON}
        )
        for name in ("inverse", "inverse_log_det_jacobian")
    },
    "distribution": Entry(
        lambda value: as_distribution(_flow("flow")).log_prob(value), {}, {"value": PASSED_ON}
    ),
    "typicality": Entry(
        lambda x: snf_tf.flow.typicality(_flow("flow"), x, X, group_size=2), {}, {"x": DATA}
    ),
    "typicality.reference": Entry(
        lambda reference: snf_tf.flow.typicality(_flow("flow"), X, reference, group_size=2),
        {},
        {"reference": NO_ROWS},
    ),
    "check_bijection": Entry(
        lambda x: snf_tf.testing.check_bijection(layers.Scale(1.0), x),
        {},
        {"x": (*PASSED_ON, *NOT_FINITE, *NO_ROWS)},
    ),
}

# What every method takes.
RIGHT = (
    X,
    X.astype("float64"),
    X.tolist(),
    np.zeros((4, 2), bool),
    *(np.zeros((4, 2), kind) for kind in ("float16", "uint8", "int8", "uint16", "int64", "uint64")),
    tf.zeros((4, 2), tf.bfloat16),
    tf.Variable(X),
    keras.Variable(X),
)
