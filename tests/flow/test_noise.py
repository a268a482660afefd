"""Noise in training: new at every call, in every kind of loop, equal over replicas, and saved."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from snf_tf import Flow, layers, ops
from tests.flows import images


def dequantizing_flow():
    return Flow([layers.Dequantize(), layers.Scale(1 / 256)], event_shape=(4, 4, 1))


def draws(call):
    x = tf.constant(images())
    return [call(x)[0].numpy() for _ in range(3)]


@pytest.mark.parametrize("make", [dequantizing_flow, layers.Dequantize])
def test_every_training_call_draws_new_noise(make):
    layer = make()
    layer.build((None, 4, 4, 1))
    inputs = keras.Input((4, 4, 1), dtype="uint8")
    functional = keras.Model(inputs, layer(inputs))
    outer = Flow([layer], event_shape=(4, 4, 1))
    graph = tf.function(lambda x: layer(x, training=True))
    calls = (layer, functional, outer)
    for call in (graph, *(lambda x, c=c: c(x, training=True) for c in calls)):
        one, two, three = draws(call)
        assert np.abs(one - two).max() > 1e-4
        assert np.abs(two - three).max() > 1e-4
    one, two, _ = draws(layer)
    np.testing.assert_array_equal(one, two)
    one, two, _ = draws(lambda x: layer(x, training=True, seed=5))
    np.testing.assert_array_equal(one, two)


def test_the_noise_goes_on_after_loading(tmp_path):
    flow, x = dequantizing_flow(), tf.constant(images())
    first, _ = flow(x, training=True)
    flow.save_weights(tmp_path / "flow.weights.h5")
    other = dequantizing_flow()
    other.load_weights(tmp_path / "flow.weights.h5")
    second, loaded = (f(x, training=True)[0] for f in (flow, other))
    np.testing.assert_array_equal(second, loaded)
    assert np.abs(first - second).max() > 1e-4


def test_replicas_draw_what_one_device_draws():
    x = tf.constant(images(9))
    one, _ = dequantizing_flow()(x, training=True)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        flow = dequantizing_flow()
    parts = iter(
        strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensors(x).unbatch().batch(9))
    )

    @tf.function
    def step(x):
        return strategy.run(lambda x: flow(x, training=True)[0], args=(x,))

    found = strategy.gather(step(next(parts)), axis=0)
    np.testing.assert_array_equal(found, one)
    assert int(tf.convert_to_tensor(flow.noise_calls)) == 1


def test_no_two_streams_of_nested_flows_agree():
    """Three layers in each of three flows in each of three flows: 39 streams of their own."""
    levels = [[ops.row_seed(0)]]
    for _ in range(3):
        levels.append([ops.fold_in(seed, index) for seed in levels[-1] for index in range(3)])
    found = [tuple(seed.numpy().tolist()) for level in levels[1:] for seed in level]
    assert len(set(found)) == len(found) == 39
