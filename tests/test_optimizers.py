"""The fused Adam gives the numbers of Keras' Adam, with all that Keras' optimizers can do."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import _compat, layers
from snf_tf.training import make_strategy
from snf_tf.training.optimizer import make_optimizer

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


def train(optimizer, dtype="float32", steps=6, batch_size=8, scale=1.0, **options):
    keras.utils.set_random_seed(0)
    bijections = [
        layers.SelfNormalizingDense(dtype=dtype),
        layers.SplineActivation(dtype=dtype),
        layers.ExactDense(dtype=dtype),
    ]
    flow = snf_tf.Flow(bijections, event_shape=(4,))
    flow.compile(optimizer=optimizer, **options)
    x = np.random.RandomState(0).randn(steps, batch_size, 4)
    # Every second batch is larger.
    x[::2] *= scale
    flow.fit(tf.data.Dataset.from_tensor_slices(x), verbose=0)
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


def test_numbers_of_given_gradients():
    weights = []
    for make in (snf_tf.optimizers.Adam, keras.optimizers.Adam):
        weight, optimizer = keras.Variable(np.ones(20)), make(0.05, epsilon=1e-4)
        for gradient in np.random.RandomState(0).randn(5, 20).astype("float32"):
            optimizer.apply_gradients([(tf.constant(gradient), weight)])
        weights.append(np.asarray(weight))
    np.testing.assert_allclose(*weights, rtol=1e-6)


@pytest.mark.parametrize(("dtype", "bits"), [("bfloat16", 7), ("float16", 10)])
def test_half_precision_is_rounded_once(dtype, bits):
    """Each step, from what weights and moments are before it, against float64."""
    weight, optimizer = keras.Variable(np.ones(500), dtype=dtype), snf_tf.optimizers.Adam(0.05)
    optimizer.build([weight])
    state = [*_compat.adam_moments(optimizer, weight), weight]
    for step in range(1, 6):
        gradient = tf.cast(np.random.RandomState(step).randn(500), dtype)
        g, m, v, w = (np.asarray(tf.cast(value, tf.float64)) for value in (gradient, *state))
        optimizer.apply_gradients([(gradient, weight)])
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        unbiased = m / (1 - 0.9**step), v / (1 - 0.999**step)
        w = w - 0.05 * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-7 / np.sqrt(1 - 0.999**step))
        for found, expected in zip(state, (m, v, w), strict=True):
            # Below 2^-14 the numbers of float16 are as far apart as there.
            exponent = np.floor(np.log2(np.abs(expected)))
            exponent = np.maximum(exponent, -14) if dtype == "float16" else exponent
            half_a_unit = 2.0 ** (exponent - bits - 1)
            assert (np.abs(tf.cast(found, tf.float64) - expected) < 1.001 * half_a_unit).all()
    assert np.mean(np.abs(tf.cast(weight, tf.float64) - 1) > 0.01) > 0.9


OPTIMIZERS = {
    "Keras' SGD": lambda **options: keras.optimizers.SGD(0.01, **options),
    "Keras' Adam": lambda **options: keras.optimizers.Adam(0.05, **options),
    "Adam": lambda **options: snf_tf.optimizers.Adam(0.05, **options),
    "a run's Adam": lambda global_clipnorm: make_optimizer(0.05, clip_norm=global_clipnorm),
}
# Each clips some of the steps, and not all of them.
CLIPPING = {"global_clipnorm": 5.0, "clipnorm": 5.0, "clipvalue": 2.0}


PRECISIONS = [(8, "float32", 1e-5), (9, "float64", 1e-8)]


@pytest.mark.parametrize(
    ("name", "clipping", "batch_size", "dtype", "tolerance"),
    [
        *((name, "global_clipnorm", *PRECISIONS[1]) for name in OPTIMIZERS),
        *(
            pytest.param(name, "global_clipnorm", *PRECISIONS[0], marks=[pytest.mark.slow] * index)
            for index, name in enumerate(OPTIMIZERS)
        ),
        *(
            (name, clipping, *PRECISIONS[1])
            for name in ("Keras' SGD", "Adam")
            for clipping in ("clipnorm", "clipvalue")
        ),
    ],
)
def test_clipping_on_two_devices_is_that_of_one(name, clipping, batch_size, dtype, tolerance):
    """Twenty steps, of which some are clipped; equal shards, and unequal ones."""
    options = {"dtype": dtype, "steps": 20, "batch_size": batch_size, "scale": 3.0}
    make, clipping = OPTIMIZERS[name], {clipping: CLIPPING[clipping]}
    optimizer = make(**clipping)
    clip, clipped = optimizer._clip_gradients, []

    def watched(gradients):
        result = clip(gradients)
        clipped.append(
            any(tf.norm(a) < 0.99 * tf.norm(b) for a, b in zip(result, gradients, strict=True))
        )
        return result

    optimizer._clip_gradients = watched
    one = train(optimizer, run_eagerly=True, **options)
    assert 4 < sum(clipped) < 16
    with make_strategy(["CPU:0", "CPU:1"]).scope():
        two = train(make(**clipping), **options)
    for a, b in zip(two.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("run_eagerly", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {"clipnorm": 1.0},
        *(
            pytest.param(options, marks=pytest.mark.slow)
            for options in ({}, {"weight_decay": 0.1}, {"use_ema": True}, {"amsgrad": True})
        ),
    ],
)
def test_on_two_devices(options, run_eagerly):
    options = {"learning_rate": 0.05} | options
    one = train(snf_tf.optimizers.Adam(**options), "float64")
    with make_strategy(["CPU:0", "CPU:1"]).scope():
        two = train(snf_tf.optimizers.Adam(**options), "float64", run_eagerly=run_eagerly)
    assert two.distribute_strategy.num_replicas_in_sync == 2
    for a, b in zip(two.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("run_eagerly", [True, False])
def test_eagerly_and_under_xla(run_eagerly):
    def updated(optimizer):
        weight = keras.Variable([1.0, 2.0])
        optimizer.build([weight])

        def step():
            optimizer.apply([2 * weight], [weight])

        for _ in range(3):
            step() if run_eagerly else tf.function(step, jit_compile=True)()
        return weight.numpy()

    ours, theirs = updated(snf_tf.optimizers.Adam(0.1)), updated(keras.optimizers.Adam(0.1))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


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
    # What weights share is computed once.
    assert operations.count("Pow") == 2
