"""Evaluation is divided among replicas, and gives the numbers of one device."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers, networks
from snf_tf.flow.replicated import sum_over_replicas
from snf_tf.training import make_strategy
from tests.flows import images

IMAGES = images(23)
LABELS = np.arange(23) % 3
WEIGHT = np.random.RandomState(1).uniform(0.0, 2.0, 23) * (np.arange(23) != 22)
DEVICES = ["CPU:0", "CPU:1"]


def learned():
    return snf_tf.models.fully_connected(event_shape=(4, 4, 1), depth=2)


def hybrid():
    parts = [layers.Dequantize(), layers.Scale(1 / 256), layers.ExactConv2D(3), layers.Squeeze()]
    parts += [layers.ExactConv2D(1), layers.Flatten()]
    return snf_tf.HybridFlow(parts, event_shape=(4, 4, 1), classes=3)


def estimated():
    """A log-determinant that can only be estimated: probes of a row must stay those of the row."""
    block = layers.ResidualBlock(networks.LipschitzDenseNet(8, 2), log_det="russian_roulette")
    return snf_tf.Flow(
        [layers.Dequantize(), layers.Scale(1 / 64), layers.Flatten(), block], (4, 4, 1)
    )


def bounded():
    noise = layers.Autoregressive(widths=(8, 8), context_shape=(16,))
    dequantize = layers.VariationalDequantize(noise)
    return snf_tf.Flow([layers.Flatten(), dequantize, layers.Scale(1 / 64)], (4, 4, 1))


def made(make, devices):
    keras.utils.set_random_seed(0)
    with make_strategy(devices).scope():
        flow = make()
    if flow.distribute_strategy.num_replicas_in_sync == 1:
        flow.initialize(IMAGES)
    return flow


@pytest.mark.parametrize(
    "make", [learned, hybrid, pytest.param(estimated, marks=pytest.mark.slow), bounded]
)
def test_two_devices_evaluate_like_one(make):
    one, two = made(make, None), made(make, DEVICES)
    two.initialize(IMAGES)
    two.set_weights(one.get_weights())
    options = {"y": LABELS} if make is hybrid else {}
    # Batches of an odd number of rows, of one row, and of all; with one that is not full.
    for batch_size in (5, 1, 23, 100):
        for weight in (None, WEIGHT):
            found = two.evaluate(IMAGES, batch_size=batch_size, sample_weight=weight, **options)
            expected = one.evaluate(IMAGES, sample_weight=weight, **options)
            assert found.keys() == expected.keys()
            for name, value in found.items():
                assert value == pytest.approx(expected[name], rel=1e-6), name
    assert two.evaluate(IMAGES, seed=1, **options) != expected


def test_rows_are_divided():
    """Every replica gets its share, on its device, and every row counts once."""
    strategy, seen = make_strategy(DEVICES), []

    def sums(seed, weight, x, nothing):
        assert nothing is None
        device = tf.identity(x).device
        tf.numpy_function(lambda s, w, x: seen.append((device, s, w, x)), [seed, weight, x], [])
        return tf.stack([tf.reduce_sum(weight), tf.reduce_sum(weight * x)])

    @tf.function(reduce_retracing=True)
    def total(seed, weight, x):
        return sum_over_replicas(strategy, sums, seed, weight, x, None)

    for count, shares in ((5, [3, 3]), (4, [2, 2]), (1, [1, 1])):
        x, weight = np.arange(count) + 1.0, np.full(count, 2.0)
        seen.clear()
        found = total(tf.constant([7, 0, 10], tf.int64), tf.constant(weight), tf.constant(x))
        np.testing.assert_allclose(found, [2.0 * count, 2.0 * x.sum()])
        seen.sort(key=lambda call: call[1][2])
        assert [device[-5:] for device, *_ in seen] == DEVICES
        assert [len(x) for *_, x in seen] == shares
        for _, seed, own_weight, own in seen:
            # The noise of a row is that of its number in the data set.
            rows = seed[2] - 10 + np.arange(len(own))
            np.testing.assert_array_equal(own[rows < count], x[rows[rows < count]])
            np.testing.assert_array_equal(own_weight, 2.0 * (rows < count))


def test_validation_of_fit_is_divided_too():
    histories = []
    for devices in (None, DEVICES):
        flow = made(learned, devices)
        flow.initialize(IMAGES)
        flow.compile(keras.optimizers.SGD(1e-3))
        data = tf.data.Dataset.from_tensor_slices(IMAGES).batch(23)
        validation = IMAGES[:9]
        history = flow.fit(data, epochs=2, validation_data=validation, verbose=0).history
        assert history["val_nll"][-1] == pytest.approx(flow.evaluate(validation)["nll"], rel=1e-6)
        histories.append(history["val_nll"])
    assert histories[1] == pytest.approx(histories[0], rel=1e-5)
