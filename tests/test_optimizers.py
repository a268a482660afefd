"""The fused Adam gives the numbers of Keras' Adam, with all that Keras' optimizers can do."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers
from snf_tf.training import make_strategy

SCHEDULE = keras.optimizers.schedules.ExponentialDecay(0.05, 3, 0.5)
OPTIONS = [
    {},
    {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3},
    {"learning_rate": SCHEDULE},
    {"clipnorm": 0.1},
    {"global_clipnorm": 0.1},
    {"weight_decay": 0.1},
    {"use_ema": True, "ema_momentum": 0.5},
    {"gradient_accumulation_steps": 2},
    {"amsgrad": True},
    {"loss_scale_factor": 8.0},
]


def train(optimizer, dtype="float32", steps=6):
    keras.utils.set_random_seed(0)
    bijections = [
        layers.SelfNormalizingDense(dtype=dtype),
        layers.SplineActivation(dtype=dtype),
        layers.ExactDense(dtype=dtype),
    ]
    flow = snf_tf.Flow(bijections, event_shape=(4,))
    flow.compile(optimizer=optimizer)
    x = tf.data.Dataset.from_tensor_slices(np.random.RandomState(0).randn(8 * steps, 4)).batch(8)
    flow.fit(x, verbose=0)
    return flow


@pytest.mark.parametrize("options", OPTIONS)
def test_numbers_are_those_of_keras(options):
    options = {"learning_rate": 0.05} | options
    ours, theirs = (
        train(make(**options), "float64")
        for make in (snf_tf.optimizers.Adam, keras.optimizers.Adam)
    )
    pairs = [*zip(ours.weights, theirs.weights, strict=True)]
    pairs += [*zip(ours.optimizer.variables, theirs.optimizer.variables, strict=True)]
    for mine, reference in pairs:
        np.testing.assert_allclose(mine, reference, rtol=1e-9, atol=1e-9, err_msg=mine.path)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_numbers_of_given_gradients(dtype):
    random = np.random.RandomState(0)
    weights = []
    gradients = random.randn(5, 20).astype(dtype if dtype != "bfloat16" else "float32")
    for make in (snf_tf.optimizers.Adam, keras.optimizers.Adam):
        weight, optimizer = keras.Variable(np.ones(20), dtype=dtype), make(0.05, epsilon=1e-4)
        for gradient in gradients:
            optimizer.apply_gradients([(tf.cast(gradient, dtype), weight)])
        weights.append(np.asarray(weight, "float32"))
    np.testing.assert_allclose(*weights, rtol={"float32": 1e-5}.get(dtype, 2e-2))


@pytest.mark.parametrize("run_eagerly", [True, False])
def test_on_two_devices_eagerly_and_under_xla(run_eagerly):
    one = train(snf_tf.optimizers.Adam(0.05)).get_weights()
    with make_strategy(["CPU:0", "CPU:1"]).scope():
        several = train(snf_tf.optimizers.Adam(0.05)).get_weights()
    for a, b in zip(several, one, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    weight = keras.Variable([1.0, 2.0])
    optimizer = snf_tf.optimizers.Adam(0.1)
    optimizer.build([weight])

    def step():
        optimizer.apply([2 * weight], [weight])

    for _ in range(3):
        step() if run_eagerly else tf.function(step, jit_compile=True)()
    np.testing.assert_allclose(weight, [0.7, 1.7], atol=0.02)


def test_saved_with_a_flow(tmp_path):
    flow = train(snf_tf.optimizers.Adam(0.05))
    flow.save(tmp_path / "flow.keras")
    loaded = keras.saving.load_model(tmp_path / "flow.keras")
    assert isinstance(loaded.optimizer, snf_tf.optimizers.Adam)
    for mine, other in zip(flow.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_one_operation_for_a_weight():
    flow = train(snf_tf.optimizers.Adam(0.05))
    data = iter(tf.data.Dataset.from_tensors(np.zeros((8, 4), "float32")).repeat())
    graph = tf.function(lambda: flow.train_step(next(data))).get_concrete_function().graph
    operations = [op.type for op in graph.get_operations()]
    assert operations.count("ResourceApplyAdam") == len(flow.trainable_variables)
