"""A base distribution with variables is a part of the flow; nothing that is traced goes stale."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from snf_tf import Flow, layers, serving

tfd = tfp.distributions
X = (2.0 + np.random.RandomState(0).randn(60, 2)).astype("float32")


def make():
    location = tf.Variable([0.0, 0.0])
    base = tfd.MultivariateNormalDiag(location, tf.ones(2))
    return Flow([layers.Scale(1.0)], event_shape=(2,), base=base)


def test_it_trains_is_saved_and_exported(tmp_path):
    flow = make()
    assert len(flow.trainable_variables) == 1
    flow.compile(optimizer=keras.optimizers.SGD(0.5))
    flow.fit(X, batch_size=60, epochs=30, verbose=0)
    np.testing.assert_allclose(flow.base.mean(), X.mean(0), atol=1e-3)
    log_prob = flow.log_prob(X)
    flow.save_weights(tmp_path / "flow.weights.h5")
    other = make()
    assert np.abs(other.log_prob(X) - log_prob).max() > 0.1
    other.load_weights(tmp_path / "flow.weights.h5")
    np.testing.assert_array_equal(other.log_prob(X), log_prob)
    serving.export(flow, tmp_path / "exported")
    model = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(model.log_prob(X), log_prob, rtol=1e-6)
    assert len(flow.distribution.trainable_variables) == 1
    assert len(flow.bijector.trainable_variables) == 0


def test_the_base_cannot_be_replaced():
    with pytest.raises(AttributeError):
        make().base = None


def test_a_changed_layer_is_traced_anew():
    flow = Flow([layers.SmoothLeakyReLU(0.3), layers.ExactDense()], event_shape=(2,))
    flow.compile(optimizer=keras.optimizers.SGD(0.0))
    before = flow.log_prob(X)
    for _ in range(2):
        flow.fit(X, verbose=0)
        flow.evaluate(X)
    flow.bijections[0].alpha = 0.9
    expected = flow.base_log_prob(flow(X)[0]) + flow(X)[1]
    assert np.abs(before - expected).max() > 0.1
    np.testing.assert_allclose(flow.log_prob(X), expected, rtol=1e-6)
    assert flow.evaluate(X)["nll"] == pytest.approx(-np.mean(expected), rel=1e-6)
    history = flow.fit(X, batch_size=60, verbose=0).history
    assert history["surrogate"][0] == pytest.approx(-np.mean(expected), rel=1e-6)


def test_use_changes_no_version():
    """Calls, training and evaluation trace nothing anew."""
    flow = Flow([layers.SelfNormalizingDense(), layers.SplineActivation()], event_shape=(2,))
    flow.compile(optimizer="sgd")
    before = flow.version
    for _ in range(2):
        flow(tf.constant(X))
        flow.fit(X, verbose=0)
        flow.evaluate(X)
        flow.log_prob(X)
    assert flow.version == before
    assert flow._log_prob.experimental_get_tracing_count() == 1
