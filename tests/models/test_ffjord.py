"""FFJORD: its log-determinant is that of its map, and a file holds it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from snf_tf import models


@pytest.mark.slow
def test_a_flow_of_two_equations(tmp_path):
    flow = models.ffjord((2,), blocks=2, widths=(8,), tolerance=1e-6)
    random = np.random.RandomState(0)
    for weight in flow.trainable_weights:
        weight.assign_add(0.5 * random.standard_normal(weight.shape))
    x = tf.constant(random.standard_normal((1, 2)), tf.float32)
    step = 1e-2 * np.eye(2, dtype="float32")
    z, high, low = np.split(flow.encode(np.concatenate([x, x + step, x - step])), [1, 3])
    _, log_det = np.linalg.slogdet((high - low) / 2e-2)
    expected = -0.5 * np.sum(np.square(z)) - np.log(2 * np.pi) + log_det
    assert abs(log_det) > 0.05
    assert float(flow.log_prob(x)[0]) == pytest.approx(expected, abs=2e-3)
    np.testing.assert_allclose(flow.decode(z), x, atol=1e-4)
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    np.testing.assert_allclose(loaded.log_prob(x), flow.log_prob(x), atol=1e-5)
