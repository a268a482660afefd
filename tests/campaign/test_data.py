"""What is no data is refused in words by every method that takes data; what is, is taken."""

import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers
from tests.campaign.data import METHODS, NO_ROWS, RIGHT, X, _flow, _layer
from tests.campaign.tables import cases
from tests.campaign.test_constructors import refused


@pytest.mark.filterwarnings("ignore")
def test_wrong_data_are_refused_in_words():
    found = [*cases(METHODS)]
    assert len(found) > 800
    assert refused(found) == []


def test_all_kinds_of_numbers_are_taken():
    expected = _flow("flow").log_prob(X)
    for x in RIGHT:
        np.testing.assert_array_equal(_flow("flow").log_prob(x), expected)
        np.testing.assert_array_equal(_flow("flow").decode(x), X)
        np.testing.assert_array_equal(_flow("flow").distribution.log_prob(x), expected)
        np.testing.assert_array_equal(_layer().inverse(x), X)
        assert _flow("integers").log_prob(x).shape == (4,)
        assert np.isfinite(_flow("flow").evaluate(x)["nll"])


def test_an_empty_batch_gives_an_empty_result():
    flow = snf_tf.Flow([layers.ExactDense(), layers.SmoothTanh()], event_shape=(2,))
    for x in NO_ROWS:
        assert flow.log_prob(x).shape == flow.log_prob(x, batch_size=3).shape == (0,)
        assert flow.encode(x).shape == flow.decode(x).shape == (0, 2)
        assert flow.distribution.log_prob(x).shape == (0,)


def test_values_of_a_graph_are_checked_when_it_runs():
    flow = _flow("flow")
    for function, value in (
        (flow.log_prob, np.full((4, 2), 1e300)),
        (flow.decode, np.full((4, 2), np.nan, "float32")),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match="must be finite in float32"):
            tf.function(function)(tf.constant(value))
    empty = tf.data.Dataset.from_tensors(X[:0])
    with pytest.raises(tf.errors.InvalidArgumentError, match="x must have one row at least"):
        flow.fit(empty, verbose=0)


def test_damaged_weights_are_refused_by_the_name_of_the_file(tmp_path):
    flow = snf_tf.Flow([layers.ExactDense()], event_shape=(2,))
    path = tmp_path / "my.weights.h5"
    flow.save_weights(path)
    honest, noise = path.read_bytes(), np.random.default_rng(0).bytes(100_000)
    for content in (noise, b"", honest[: len(honest) // 2], honest[:512] + noise):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"filepath must be .*Received: .*my\.weights"):
            flow.load_weights(path)


def test_float64_flows_take_large_numbers():
    flow = snf_tf.Flow([layers.Scale(1e-300, dtype="float64")], event_shape=(2,))
    assert np.all(np.isfinite(flow.encode(np.full((4, 2), 1e300))))
