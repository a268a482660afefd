"""What is taken from Keras' private names does what it says."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from snf_tf import _compat
from snf_tf.training import make_strategy


def updated(optimizer, gradients, steps=1):
    """A weight [0, 0] after updates with a gradient for each of two replicas."""
    strategy = make_strategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        weight = keras.Variable([0.0, 0.0])
        optimizer = optimizer()
        optimizer.build([weight])

    @tf.function
    def step():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        optimizer.apply([tf.gather(tf.constant(gradients), replica)], [weight])

    for _ in range(steps):
        strategy.run(step)
    return weight.numpy()


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        ({"global_clipnorm": 1.0}, [-0.6, 0.8]),
        ({"clipnorm": 1.0}, [-0.6, 0.8]),
        ({"clipvalue": 3.5}, [-3.0, 3.5]),
        ({"global_clipnorm": 6.0}, [-3.0, 4.0]),
    ],
)
@pytest.mark.parametrize("calls", [1, 2])
def test_clip_after_sum(clip, expected, calls):
    def make():
        optimizer = keras.optimizers.SGD(1.0, **clip)
        for _ in range(calls):
            _compat.clip_after_sum(optimizer)
        return optimizer

    # The sum is [3, -4]; each alone is longer than 6.
    np.testing.assert_allclose(updated(make, [[9.0, 1.0], [-6.0, -5.0]]), expected, rtol=1e-6)


def test_steps_done():
    weight = keras.Variable([0.0])
    optimizer = keras.optimizers.SGD(1.0, gradient_accumulation_steps=2)
    for _ in range(3):
        optimizer.apply([tf.constant([1.0])], [weight])
    assert int(_compat.steps_done(optimizer)) == 3
    assert int(optimizer.iterations) == 1


def test_adam_moments():
    weights = [keras.Variable([0.0]), keras.Variable([0.0, 0.0])]
    optimizer = keras.optimizers.Adam(0.1)
    optimizer.apply([tf.constant([5.0]), tf.constant([1.0, 2.0])], weights)
    mean, square = _compat.adam_moments(optimizer, weights[1])
    np.testing.assert_allclose(mean, [0.1, 0.2], rtol=1e-6)
    np.testing.assert_allclose(square, [0.001, 0.004], rtol=1e-6)


def test_weight_averages():
    weights = [keras.Variable([0.0]), keras.Variable([0.0])]
    optimizer = keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.75)
    for _ in range(2):
        optimizer.apply([tf.constant([1.0]), tf.constant([2.0])], weights)
    # After the first update the average is the weight.
    one, two = _compat.weight_averages(optimizer)
    np.testing.assert_allclose([one.numpy(), two.numpy()], [[-1.25], [-2.5]])


def test_averages_follow_updates():
    class SGD(_compat.AveragesFollowUpdates, keras.optimizers.SGD):
        pass

    weight = keras.Variable([0.0])
    optimizer = SGD(1.0, use_ema=True, ema_momentum=0.75, gradient_accumulation_steps=2)
    averages = []
    for _ in range(6):
        optimizer.apply([tf.constant([1.0])], [weight])
        averages.append(float(_compat.weight_averages(optimizer)[0].numpy()[0]))
    assert averages == [0.0, -1.0, -1.0, -1.25, -1.25, -1.6875]


def test_built_before_fit():
    class Model(_compat.BuiltBeforeFit, keras.Model):
        def __init__(self):
            super().__init__()
            self.weight = self.add_weight(shape=(), initializer="zeros")
            self.built = True

        def call(self, x):
            return self.weight * x

        def compute_loss(self, x, y, y_pred, sample_weight, training):
            self.add_loss(tf.reduce_mean(y_pred))
            return super().compute_loss(y_pred=y_pred)

    batches = tf.data.Dataset.from_tensor_slices([1.0, 10.0, 100.0]).map(lambda x: tf.fill([2], x))
    with make_strategy(["CPU:0", "CPU:1"]).scope():
        model = Model()
        model.compile(keras.optimizers.SGD(1.0))
    model.fit(batches, steps_per_epoch=2, verbose=0)
    # Of the first batch and the second; none is lost.
    assert float(model.weight.numpy()) == -11.0


@pytest.mark.parametrize(("name", "better", "worse"), [("nll", 1.0, 2.0), ("accuracy", 1.0, 0.5)])
def test_directions_are_understood_by_early_stopping(name, better, worse):
    """Seen with keras 3.15.1."""
    stop = keras.callbacks.EarlyStopping(monitor=f"val_{name}")
    stop.set_model(type("Model", (), {"metrics": [_compat.directions(["nll"], ["accuracy"])]}))
    stop._set_monitor_op()
    assert stop.monitor_op(better, worse)
    assert not stop.monitor_op(worse, better)


def test_losses_of_threads_are_separate():
    """Seen with keras 3.15.1."""
    model = keras.Sequential([keras.layers.ActivityRegularization(l2=1.0)])
    model.build((None, 2))
    _compat.separate_losses(model)
    found = []

    def call(factor):
        model(factor * tf.ones((1, 2)))
        found.append(float(sum(model.losses)))

    model(tf.ones((1, 2)))
    for factor in (2.0, 3.0):
        thread = threading.Thread(target=call, args=(factor,))
        thread.start()
        thread.join()
    assert found == [8.0, 18.0]
    assert float(sum(model.losses)) == 2.0


def test_float32_inside_half_precision():
    """Of a Sequential that was built in half precision; afterwards all is as before."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = keras.Sequential([keras.layers.Dense(4, "tanh"), keras.layers.Dense(3)])
        half.build((None, 3))
    finally:
        keras.config.set_dtype_policy("float32")
    wide = keras.Sequential([keras.layers.Dense(4, "tanh"), keras.layers.Dense(3)])
    wide.build((None, 3))
    wide.set_weights(half.get_weights())
    x = tf.random.stateless_normal((5, 3), (1, 2))
    before = half(x)
    with _compat.no_narrower_than(tf.float32, half):
        found = half(x)
    np.testing.assert_allclose(found, wide(x), atol=1e-6)
    assert np.abs(tf.cast(before, tf.float32) - wide(x)).max() > 1e-4
    np.testing.assert_array_equal(tf.cast(half(x), tf.float32), tf.cast(before, tf.float32))
