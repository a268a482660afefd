"""Methods of flows and layers, and functions beside them, with wrong values of their arguments."""

import functools

import keras
import numpy as np
import tensorflow as tf

import snf_tf
from snf_tf import layers, networks, serving
from snf_tf.bijectors import as_bijector, as_distribution
from tests.campaign import kinds as k
from tests.campaign.tables import Entry

X = np.zeros((4, 2), "float32")
_TENSORS_OF_COUNTS = (
    tf.constant(0),
    tf.constant(2.0),
    tf.constant("x"),
    tf.constant([1, 2]),
    tf.constant(True),
)
_COUNT = (*k.SIZE, *_TENSORS_OF_COUNTS)
_SEED = (*(v for v in k.SEED if v is not None), *_TENSORS_OF_COUNTS[1:])
_FACTOR = (
    *k.AT_LEAST_0,
    1e300,
    1e-60,
    tf.constant(-1.0),
    tf.constant("x"),
    tf.constant([1.0, 2.0]),
)
_ROWS = {"seed": _SEED, "batch_size": k.OPTIONAL_SIZE}
_VERBOSE = ("x", None, 3, -1, 2.5, [1], np.array([0, 1]), k.THING)
_NO_FLOW = (3, "x", None, layers.Scale, layers.Scale(1.0), keras.layers.Dense(2), True)


@functools.cache
def _flow():
    flow = snf_tf.Flow([layers.ExactDense()], event_shape=(2,))
    flow.compile(optimizer="sgd")
    return flow


def _method(name, wrong, **given):
    """Returns the entry of a method of a flow."""
    return Entry(lambda **kwargs: getattr(_flow(), name)(**kwargs), given, wrong)


def _of_layer(**kwargs):
    layer = layers.Scale(1.0)
    layer.build((None, 2))
    return layer.inverse(X, **kwargs) if "exact" in kwargs else layer(X, **kwargs)


@functools.cache
def _lipschitz():
    layer = networks.SpectralDense(2)
    layer.build((None, 2))
    return layer


METHODS = {
    "update_norm": Entry(
        lambda **kwargs: _lipschitz().update_norm(**kwargs), {}, {"iterations": k.OPTIONAL_SIZE}
    ),
    "check_bijection": Entry(snf_tf.testing.check_bijection, {"x": X}, {"layer": _NO_FLOW[:4]}),
    "log_prob": _method("log_prob", _ROWS, x=X),
    "estimate_log_prob": _method("estimate_log_prob", {"draws": _COUNT, **_ROWS}, x=X),
    "log_prob_bound": _method("log_prob_bound", {"draws": _COUNT, **_ROWS}, x=X),
    "encode": _method("encode", _ROWS, x=X),
    "decode": _method("decode", {"exact": k.FLAG}, z=X),
    "sample": _method(
        "sample",
        {
            "n": _COUNT,
            "exact": k.FLAG,
            "temperature": _FACTOR,
            **_ROWS,
        },
        n=2,
    ),
    "initialize": _method("initialize", {"seed": _SEED}, x=X),
    "call": _method("__call__", {"training": tuple(v for v in k.FLAG if v is not None)}, x=X),
    "layer": Entry(
        _of_layer, {}, {"training": tuple(v for v in k.FLAG if v is not None), "exact": k.FLAG}
    ),
    "evaluate": _method(
        "evaluate",
        {
            "batch_size": k.OPTIONAL_SIZE,
            "steps": k.OPTIONAL_SIZE,
            "seed": _SEED,
            "verbose": _VERBOSE,
        },
        x=X,
    ),
    "predict": _method(
        "predict",
        {
            "batch_size": k.OPTIONAL_SIZE,
            "steps": k.OPTIONAL_SIZE,
            "seed": _SEED,
            "verbose": _VERBOSE,
        },
        x=X,
    ),
    "fit": _method(
        "fit",
        {
            "batch_size": k.OPTIONAL_SIZE,
            "epochs": k.SIZE,
            "initial_epoch": k.COUNT,
            "steps_per_epoch": k.OPTIONAL_SIZE,
            "validation_steps": k.OPTIONAL_SIZE,
            "validation_batch_size": k.OPTIONAL_SIZE,
            "validation_freq": (*(v for v in k.SIZE if not isinstance(v, list)), [0], ["a"], [1.5]),
            "validation_split": (*k.OPTIONAL_NUMBER, -0.1, 1, 1.5, 0.999),
            "callbacks": (3, "a", ["a"], [None], keras.callbacks.TerminateOnNaN),
            "shuffle": tuple(v for v in k.FLAG if v is not None),
            "verbose": _VERBOSE,
        },
        x=X,
    ),
    "compile": _method(
        "compile",
        {
            "optimizer": (3, None, "nonsense", [1], keras.optimizers.Adam, k.THING),
            "steps_per_execution": k.SIZE,
            "jit_compile": k.FLAG,
            "run_eagerly": k.FLAG,
            "auto_scale_loss": k.FLAG,
        },
    ),
    "typicality": Entry(
        snf_tf.flow.typicality,
        {"flow": _flow(), "x": X, "reference": X},
        {
            "flow": _NO_FLOW,
            "group_size": k.SIZE,
            "resamples": k.SIZE,
            "seed": k.SEED_OF_PERMUTATION,
            "batch_size": k.OPTIONAL_SIZE,
        },
    ),
    "likelihood_ratio": Entry(
        snf_tf.flow.likelihood_ratio,
        {"flow": _flow(), "background": _flow(), "x": X},
        {"flow": _NO_FLOW, "background": _NO_FLOW, "batch_size": k.OPTIONAL_SIZE},
    ),
    "as_bijector": Entry(as_bijector, {}, {"layer": (3, "x", None, layers.Scale, True)}),
    "as_distribution": Entry(as_distribution, {}, {"flow": _NO_FLOW}),
    "export": Entry(
        serving.export,
        {"flow": _flow(), "directory": "/nowhere"},
        {"flow": _NO_FLOW, "directory": (3, None, [1], True, k.THING)},
    ),
    "Endpoints": Entry(serving.Endpoints, {}, {"flow": _NO_FLOW}),
}
