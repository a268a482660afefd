"""How flows train: gradients under scaled losses, replicas, noise, initialisation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers, ops
from snf_tf.training import make_strategy
from tests.flows import KEPT, D, image_flow, images, kept_flow, vector_flow


def training_gradients(flow, x, loss):
    """Gradients of loss(nll per example, penalty), as a user's own loop has them."""
    with tf.GradientTape() as tape:
        z, log_det = flow(x, training=True, seed=1)
        nll = -(ops.standard_normal_log_prob(tf.cast(z, log_det.dtype)) + log_det)
        value = loss(nll, tf.add_n(flow.losses))
    return tape.gradient(value, [weight.value for weight in flow.trainable_weights])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("make", [vector_flow, image_flow])
def test_gradients_are_linear_in_the_loss(make):
    flow = make()
    for weight in flow.trainable_weights:
        weight.assign(weight + 0.1 * np.random.randn(*weight.shape))
    x = images() if make is image_flow else np.random.randn(12, D)

    def mean(rows):
        return lambda nll, penalty: tf.reduce_mean(tf.gather(nll, rows))

    each = [training_gradients(flow, x, mean([row])) for row in range(12)]
    plain = training_gradients(flow, x, mean(list(range(12))))
    penalty = training_gradients(flow, x, lambda nll, penalty: penalty)
    weights = np.random.RandomState(1).uniform(size=12)
    scaled = training_gradients(flow, x, lambda nll, penalty: 10 * (tf.reduce_mean(nll) + penalty))
    bits = training_gradients(
        flow, x, lambda nll, penalty: ops.bits_per_dim(tf.reduce_mean(nll), D)
    )
    weighted = training_gradients(flow, x, lambda nll, penalty: tf.reduce_sum(weights * nll))
    for index in range(len(plain)):
        np.testing.assert_allclose(
            plain[index], sum(g[index] for g in each) / 12, rtol=1e-9, atol=1e-9
        )
        np.testing.assert_allclose(
            scaled[index], 10 * (plain[index] + penalty[index]), rtol=1e-9, atol=1e-9
        )
        np.testing.assert_allclose(
            bits[index], plain[index] / (D * np.log(2)), rtol=1e-9, atol=1e-9
        )
        expected = sum(w * g[index] for w, g in zip(weights, each, strict=True))
        np.testing.assert_allclose(weighted[index], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("model", [snf_tf.models.fully_connected, snf_tf.models.convolutional])
def test_loss_scaling_in_mixed_float16(model):
    """One SGD step in mixed_float16, with Keras' loss scaling, against one in float32."""
    x = images(shape=(4, 4, 1))
    steps = []
    for policy in ("float32", "mixed_float16"):
        keras.config.set_dtype_policy(policy)
        try:
            keras.utils.set_random_seed(1)
            flow = model(event_shape=(4, 4, 1))
            optimizer = keras.optimizers.SGD(1e-2)
            if policy == "mixed_float16":
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0**10)
            flow.compile(optimizer=optimizer)
        finally:
            keras.config.set_dtype_policy("float32")
        before = [weight.numpy() for weight in flow.trainable_weights]
        flow.fit(x, batch_size=12, verbose=0)
        steps.append(
            [weight.numpy() - b for weight, b in zip(flow.trainable_weights, before, strict=True)]
        )
    for reference, half in zip(*steps, strict=True):
        assert np.linalg.norm(half - reference) < 1e-2 * np.linalg.norm(reference)


@pytest.mark.parametrize(
    ("dtype", "tolerance", "count", "make"),
    [
        *(
            pytest.param(dtype, tolerance, n, image_flow, marks=[pytest.mark.slow] * (n > 25))
            for dtype, tolerance in (("float32", 1e-5), ("float64", 1e-8))
            for n in (32, 29, 25)
        ),
        *(
            pytest.param(
                *("float64", 1e-8, 25, lambda method=method: kept_flow(method)),
                marks=[pytest.mark.slow] * (method != "newton_schulz"),
            )
            for method in KEPT
        ),
    ],
)
def test_two_replicas_take_the_steps_of_one(dtype, tolerance, count, make):
    """With whole batches, with a last one of 5 for the two, and of 1 for one of them."""
    keras.config.set_dtype_policy(dtype)
    try:
        x = images(count=count)
        weights = []
        for strategy in (make_strategy(["CPU:0"]), make_strategy(["CPU:0", "CPU:1"])):
            keras.utils.set_random_seed(0)
            with strategy.scope():
                flow = make()
                flow.compile(optimizer=keras.optimizers.SGD(1e-4))
            flow.fit(tf.data.Dataset.from_tensor_slices(x).batch(8), epochs=5, verbose=0)
            weights.append(flow.get_weights())
        moved = max(
            np.abs(weight - start).max()
            for weight, start in zip(weights[0], make().get_weights(), strict=True)
        )
        assert moved > 1e-3
        for one, two in zip(*weights, strict=True):
            np.testing.assert_allclose(two, one, rtol=tolerance, atol=tolerance)
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize(
    "options", [{"jit_compile": True}, {"run_eagerly": True}, {"steps_per_execution": 2}]
)
def test_ways_to_compile_train_alike(options):
    nlls = []
    for chosen in ({}, options):
        keras.utils.set_random_seed(0)
        flow = snf_tf.models.fully_connected(event_shape=(4, 4, 1))
        flow.compile(optimizer=keras.optimizers.SGD(1e-4), **chosen)
        flow.fit(images(), batch_size=3, epochs=2, shuffle=False, verbose=0)
        nlls.append(flow.evaluate(images())["nll"])
    np.testing.assert_allclose(*nlls, rtol=1e-6)


def test_training_noise_is_fresh_in_every_step():
    flow = snf_tf.Flow([layers.Dequantize(), layers.SelfNormalizingDense()], event_shape=(3,))
    flow.compile(optimizer=keras.optimizers.SGD(0.0))
    x = np.zeros((4, 3), "uint8")
    losses = [flow.fit(x, batch_size=4, verbose=0).history["surrogate"][0] for _ in range(3)]
    assert len(set(losses)) == 3


def test_initialize_runs_once_and_in_order():
    class Center(layers.FlowLayer):
        def build(self, input_shape):
            super().build(input_shape)
            self.mean = self.add_weight(name="mean", shape=self.event_shape, initializer="zeros")

        def call(self, x, context=None, training=False):
            return x - self.mean, tf.zeros(tf.shape(x)[0])

        def inverse(self, z, context=None, exact=True):
            return z + self.mean

        def initialize(self, x, context=None):
            self.mean.assign(tf.reduce_mean(x, axis=0))

    flow = snf_tf.Flow([Center(), layers.Scale(2.0), Center()], event_shape=(3,))
    x = np.random.randn(50, 3).astype("float32") + 5
    flow.initialize(x)
    np.testing.assert_allclose(flow.bijections[0].mean, x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(flow.bijections[2].mean, np.zeros(3), atol=1e-5)
    flow.initialize(x + 1)
    np.testing.assert_allclose(flow.bijections[0].mean, x.mean(0), rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"callbacks": keras.callbacks.TerminateOnNaN()},
        {"callbacks": (keras.callbacks.TerminateOnNaN(),)},
        {"verbose": False},
        {"verbose": np.int64(0)},
        {"batch_size": np.array(3), "epochs": np.array(1)},
    ],
)
def test_options_that_keras_takes_are_taken(options):
    flow = vector_flow()
    flow.compile(optimizer="sgd", metrics=[], steps_per_execution=np.int64(1))
    history = flow.fit(np.zeros((6, D), "float32"), **{"verbose": 0, **options})
    assert history.epoch == [0]


@pytest.mark.parametrize(
    ("frequency", "count"), [([1, 3], 2), ((2,), 1), (np.int64(2), 1), (np.array(1), 3)]
)
def test_the_epochs_of_validation_may_be_listed(frequency, count):
    flow, x = vector_flow(), np.zeros((6, D), "float32")
    flow.compile(optimizer="sgd")
    history = flow.fit(x, validation_data=x, validation_freq=frequency, epochs=3, verbose=0)
    assert len(history.history["val_nll"]) == count


def test_the_last_rows_validate():
    """As in Keras: without shuffle, as many as validation_split says."""
    x = np.random.randn(50, D).astype("float32")
    histories = []
    for data, options in (
        (x, {"validation_split": 0.2}),
        (x[:40], {"validation_data": x[40:]}),
        (x[:40], {"validation_data": x[40:], "validation_split": 0.5}),
    ):
        keras.utils.set_random_seed(0)
        flow = vector_flow()
        flow.compile(optimizer="sgd")
        histories.append(flow.fit(data, verbose=0, **options).history)
    assert histories[0] == histories[1] == histories[2]
    assert "val_nll" in histories[0]


def test_columns_of_labels_and_weights_are_taken():
    x, y = np.random.randn(12, 2).astype("float32"), np.arange(12) % 3
    weight = np.linspace(0.5, 1.5, 12)
    results = []
    for labels, weights in ((y, weight), (y[:, None], weight[:, None])):
        flow = snf_tf.HybridFlow([layers.Scale(1.0)], (2,), classes=3, head_width=4)
        flow.set_weights([np.full(w.shape, 0.1, w.dtype) for w in flow.get_weights()])
        flow.compile(optimizer="sgd")
        parts = {"x": x, "y": labels, "sample_weight": weights}
        flow.fit(x, labels, sample_weight=weights, shuffle=False, verbose=0)
        flow.fit(tf.data.Dataset.from_tensors(parts), verbose=0)
        results.append(flow.evaluate(x, labels, sample_weight=weights))
    assert results[0] == results[1]
