"""Random numbers that do not depend on how a batch is cut."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from snf_tf import ops


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
@pytest.mark.parametrize("event_shape", [(7,), (4, 3, 2)])
def test_rows_do_not_depend_on_the_cut(dtype, event_shape):
    whole = ops.uniform_rows(ops.row_seed(3, step=5), tf.constant([10, *event_shape]), dtype)
    part = ops.uniform_rows(
        ops.row_seed(3, step=5, first_row=4), tf.constant([3, *event_shape]), dtype
    )
    np.testing.assert_array_equal(whole[4:7], part)


def test_seed_step_and_fold_matter():
    shape = tf.constant([2, 5])
    seeds = [
        ops.row_seed(0),
        ops.row_seed(1),
        ops.row_seed(0, step=1),
        ops.fold_in(ops.row_seed(0), 1),
    ]
    draws = [ops.uniform_rows(seed, shape, tf.float32).numpy().tobytes() for seed in seeds]
    assert len(set(draws)) == len(seeds)
    np.testing.assert_array_equal(
        ops.uniform_rows(ops.row_seed(None), shape, tf.float32),
        ops.uniform_rows(ops.row_seed(0), shape, tf.float32),
    )


def test_they_are_uniform():
    numbers = ops.uniform_rows(ops.row_seed(0), tf.constant([200, 500]), tf.float64).numpy()
    assert numbers.min() >= 0
    assert numbers.max() < 1
    np.testing.assert_allclose([numbers.mean(), numbers.var()], [1 / 2, 1 / 12], rtol=0.01)
    # Neighbours in a row and in a column do not go together.
    for a, b in ((numbers[:, 1:], numbers[:, :-1]), (numbers[1:], numbers[:-1])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_xla_gives_the_same_numbers(dtype):
    def draw(step):
        # A step that is no constant: constants would be computed without XLA.
        return ops.uniform_rows(
            ops.fold_in(ops.row_seed(3, step, 2), 7), tf.constant([4, 6]), dtype
        )

    np.testing.assert_array_equal(
        tf.function(draw, jit_compile=True)(tf.constant(5)), draw(tf.constant(5))
    )


@pytest.mark.parametrize(("dtype", "bits"), [(tf.float32, 24), (tf.float64, 53)])
def test_normals_of_the_least_and_the_largest_uniform_numbers(monkeypatch, dtype, bits):
    """An infinite one comes once in 2^24 draws: the probes of a step on images are as many."""
    ends = tf.constant([[0.0, 1.0 - 2.0**-bits]], dtype)
    monkeypatch.setattr("snf_tf.ops.random.uniform_rows", lambda *_: ends)
    low, high = ops.normal_rows(ops.row_seed(0), tf.shape(ends), dtype)[0].numpy()
    expected = stats.norm.ppf(2.0 ** -(bits + 1)), -stats.norm.ppf(2.0**-bits)
    np.testing.assert_allclose([low, high], expected, rtol=1e-5)
