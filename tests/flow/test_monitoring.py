"""Keras' standard callbacks act on a flow; fit stops, or warns, where numbers cannot be trusted."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from snf_tf import Flow, layers
from tests.flows import D, vector_flow

X = np.random.RandomState(0).randn(40, D).astype("float32")


def correlated(count=1000):
    """A Gaussian of correlation .999."""
    normal = np.random.RandomState(0).randn(count, 2)
    return (normal @ np.linalg.cholesky([[1, 0.999], [0.999, 1]]).T).astype("float32")


@pytest.mark.parametrize("monitor", ["val_loss", "val_nll", "val_bits_per_dim", "surrogate"])
def test_early_stopping_knows_that_less_is_better(monitor):
    flow = vector_flow()
    flow.compile(optimizer=keras.optimizers.SGD(1e-3))
    stop = keras.callbacks.EarlyStopping(monitor=monitor, patience=0, min_delta=1e6)
    history = flow.fit(X, validation_data=X, epochs=5, verbose=0, callbacks=[stop]).history
    assert len(history["loss"]) == 2
    assert stop.monitor_op(1.0, 2.0)
    assert history["val_loss"] == history["val_nll"]
    assert history["loss"] == history["surrogate"]


def test_defaults_of_keras_act(tmp_path):
    flow = vector_flow()
    flow.compile(optimizer=keras.optimizers.SGD(1e-3))
    path = tmp_path / "best.weights.h5"
    callbacks = [
        keras.callbacks.ModelCheckpoint(path, save_best_only=True, save_weights_only=True),
        keras.callbacks.ReduceLROnPlateau(patience=1, min_delta=1e6),
    ]
    flow.fit(X, validation_data=X, epochs=4, verbose=0, callbacks=callbacks)
    assert path.is_file()
    assert float(flow.optimizer.learning_rate) < 1e-3


@pytest.mark.parametrize("jit_compile", [True, False])
def test_a_loss_that_is_not_finite_is_found(jit_compile):
    flow = Flow([layers.RelativeGradientDense(), layers.SmoothLeakyReLU()], event_shape=(D,))
    flow.compile(optimizer=keras.optimizers.SGD(1e30), jit_compile=jit_compile)
    with pytest.raises((FloatingPointError, tf.errors.InvalidArgumentError), match="not finite"):
        flow.fit(X, batch_size=10, epochs=3, verbose=0)


@pytest.mark.slow
def test_a_useless_learned_inverse_is_told():
    flow = Flow([layers.SelfNormalizingDense()], event_shape=(2,))
    flow.compile(optimizer=keras.optimizers.Adam(1e-2))
    with pytest.warns(UserWarning, match=r"cannot be trusted.*projected"):
        history = flow.fit(correlated(), batch_size=100, epochs=60, verbose=0).history
    assert history["inverse_error"][0] < 0.5 < history["inverse_error"][-1]


@pytest.mark.parametrize("method", ["learned", "projected"])
def test_a_good_inverse_is_not(method):
    flow = Flow([layers.SelfNormalizingDense(inverse_method=method)], event_shape=(D,))
    flow.compile(optimizer=keras.optimizers.Adam(1e-2))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        history = flow.fit(X, batch_size=10, epochs=20, verbose=0).history
    assert ("inverse_error" in history) == (method == "learned")


@pytest.mark.slow
def test_projected_is_right_where_learned_is_not():
    nll = {}
    for method in ("learned", "projected"):
        keras.utils.set_random_seed(0)
        flow = Flow([layers.SelfNormalizingDense(inverse_method=method)], event_shape=(2,))
        flow.compile(optimizer=keras.optimizers.Adam(1e-2))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            flow.fit(correlated(), batch_size=100, epochs=100, verbose=0)
        nll[method] = flow.evaluate(correlated())["nll"]
    assert nll["projected"] < nll["learned"] - 0.5
