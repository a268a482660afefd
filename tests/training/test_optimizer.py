"""The optimizer's equipment."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers
from snf_tf.training import make_strategy
from snf_tf.training.optimizer import averaged_weights, make_optimizer


def trained(options, steps=4):
    keras.utils.set_random_seed(0)
    flow = snf_tf.Flow([layers.SelfNormalizingDense(), layers.SmoothTanh()], event_shape=(4,))
    flow.compile(make_optimizer(0.1, **options))
    x = np.random.RandomState(0).randn(8, 4).astype("float32")
    history = [[weight.numpy() for weight in flow.trainable_variables]]
    for _ in range(steps):
        flow.fit(x, batch_size=8, verbose=0)
        history.append([weight.numpy() for weight in flow.trainable_variables])
    return flow, history


def test_warm_up():
    schedule = make_optimizer(0.1, warmup_steps=5)._learning_rate
    np.testing.assert_allclose(
        [float(schedule(step)) for step in range(7)],
        [0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.1],
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    ("options", "steps_of_update"), [({}, 1), ({"gradient_accumulation_steps": 2}, 2)]
)
def test_averages_of_weights(options, steps_of_update):
    flow, history = trained({"ema_momentum": 0.5} | options, steps=3 * steps_of_update)
    average, *updates = history[steps_of_update::steps_of_update]
    for weights in updates:
        average = [0.5 * a + 0.5 * w for a, w in zip(average, weights, strict=True)]
    with averaged_weights(flow):
        for weight, expected in zip(flow.trainable_variables, average, strict=True):
            np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-6)
    for weight, own in zip(flow.trainable_variables, history[-1], strict=True):
        np.testing.assert_array_equal(weight, own)


def test_accumulated_gradients_change_weights_at_every_second_step():
    _, history = trained({"gradient_accumulation_steps": 2})
    moved = [np.abs(a[0] - b[0]).max() > 0 for a, b in itertools.pairwise(history)]
    assert moved == [False, True, False, True]


@pytest.mark.parametrize(
    ("warmup_steps", "rate"), [(0, 0.1), pytest.param(4, 0.025, marks=pytest.mark.slow)]
)
def test_weight_decay_is_decoupled_and_scaled_by_the_learning_rate(warmup_steps, rate):
    options = {"warmup_steps": warmup_steps, "clip_norm": 1.0}
    _, plain = trained(options, steps=1)
    _, decayed = trained({"weight_decay": 0.5} | options, steps=1)
    for start, p, d in zip(plain[0], plain[1], decayed[1], strict=True):
        np.testing.assert_allclose(d, p - rate * 0.5 * start, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("beta_2", [0.999, 0.9])
def test_beta_2(beta_2):
    """By hand, in two steps: m and v start at 0, and are divided by 1 - beta^t."""
    optimizer, weight = make_optimizer(0.1, beta_2=beta_2), keras.Variable([0.0])
    for gradient in (1.0, 3.0):
        optimizer.apply_gradients([(tf.constant([gradient]), weight)])
    mean = (0.9 * 0.1 * 1.0 + 0.1 * 3.0) / (1 - 0.9**2)
    square = (beta_2 * 1.0 + 9.0) * (1 - beta_2) / (1 - beta_2**2)
    np.testing.assert_allclose(weight, [-0.1 - 0.1 * mean / square**0.5], rtol=1e-5)


@pytest.mark.parametrize("beta_2", [1.0, -0.1, True, "0.99"])
def test_beta_2_is_in_0_to_1(beta_2):
    message = r"beta_2 must be a number of at least 0 and below 1\. Received: beta_2="
    with pytest.raises(ValueError, match=message):
        make_optimizer(0.1, beta_2=beta_2)


def test_clipping_is_by_the_norm_of_all_gradients():
    gradients = [tf.constant([3.0]), tf.constant([4.0])]
    clipped = make_optimizer(0.1, clip_norm=1.0)._clip_gradients(gradients)
    np.testing.assert_allclose(clipped, [[0.6], [0.8]], rtol=1e-6)


@pytest.mark.parametrize("options", [{"ema_momentum": 0.9}, {"weight_decay": 0.1}])
def test_on_two_devices_as_on_one(options):
    ends = []
    for devices in (["CPU:0"], ["CPU:0", "CPU:1"]):
        with make_strategy(devices).scope():
            flow, _ = trained(options)
        ends.append(flow.get_weights())
    for one, two in zip(*ends, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("policy", "tolerance"), [("mixed_float16", 5e-6), ("mixed_bfloat16", 2e-5)]
)
@pytest.mark.slow
def test_half_precision(run, tmp_path, policy, tolerance):
    """Of a likelihood of which an epoch changes 1e-2."""
    plain = run("train.epochs = 2", "train.learning_rate = 1e-4")
    half = run(
        "train.epochs = 2",
        "train.learning_rate = 1e-4",
        f'train.dtype_policy = "{policy}"',
        run_dir=tmp_path / "half",
    )
    assert half["test_nll"] == pytest.approx(plain["test_nll"], rel=tolerance)
    assert keras.config.dtype_policy().name == "float32"
