"""Data in their own units: exact likelihoods, and weights that nothing trains."""

import keras
import numpy as np
import pytest
from scipy import stats

import snf_tf
from snf_tf import layers

X = np.array([1000.0, -3.0, 0.01]) + np.array([70.0, 2.0, 1e-4]) * np.random.RandomState(0).randn(
    50, 3
)


def test_likelihoods_are_in_the_units_of_the_data(float64):
    flow = snf_tf.Flow([layers.Standardize()], event_shape=(3,))
    flow.initialize(X)
    expected = stats.norm(X.mean(0), X.std(0)).logpdf(X).sum(1)
    np.testing.assert_allclose(flow.log_prob(X), expected, rtol=1e-9)
    np.testing.assert_allclose(flow.decode(flow.encode(X)), X, rtol=1e-12)


def test_nothing_trains_it(tmp_path):
    flow = snf_tf.Flow([layers.Standardize(), layers.ExactDense()], event_shape=(3,))
    x = X.astype("float32")
    flow.initialize(x)
    # Thaws what `trainable=False` would have frozen.
    flow.trainable = False
    flow.trainable = True
    before = [weight.numpy() for weight in flow.bijections[0].weights]
    kernel = flow.bijections[1].kernel.numpy()
    flow.compile(optimizer=keras.optimizers.Adam(0.1))
    flow.fit(x, verbose=0)
    for old, new in zip(before, flow.bijections[0].weights, strict=True):
        np.testing.assert_array_equal(old, new)
    assert np.abs(kernel - flow.bijections[1].kernel.numpy()).max() > 0.01
    flow.save(tmp_path / "flow.keras")
    loaded = keras.saving.load_model(tmp_path / "flow.keras")
    np.testing.assert_array_equal(loaded.log_prob(x), flow.log_prob(x))


def test_a_column_without_density_is_refused():
    x = np.where(np.arange(3) == 1, 7.0, X)
    with pytest.raises(ValueError, match=r"Standardize cannot scale.*channels \[1\]"):
        layers.Standardize().initialize(x)
