"""Mixtures of logistics against plain numpy, in the tails, and inverted."""

import numpy as np
import pytest
import tensorflow as tf

from snf_tf import ops


def components(count=5, scale=1.0, rows=200, dtype="float64"):
    random = np.random.RandomState(0)
    return [tf.constant(scale * random.randn(rows, count), dtype) for _ in range(3)]


def test_values_are_those_of_numpy():
    x = np.random.uniform(-4, 4, 200)
    logits, means, log_scales = map(np.array, components())
    pi = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    sigmoid = 1 / (1 + np.exp(-(x[:, None] - means) / np.exp(log_scales)))
    cdf = (pi * sigmoid).sum(axis=1)
    pdf = (pi * sigmoid * (1 - sigmoid) / np.exp(log_scales)).sum(axis=1)
    value, log_slope = ops.logistic_mixture(tf.constant(x), logits, means, log_scales)
    np.testing.assert_allclose(value, np.log(cdf / (1 - cdf)), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(log_slope, np.log(pdf / (cdf * (1 - cdf))), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_tails_are_straight_lines(sign):
    """Far out, all that counts is the widest component."""
    logits, means, log_scales = components(dtype="float32")
    x = tf.fill((200,), sign * 1e6)
    with tf.GradientTape() as tape:
        tape.watch([x, logits, means, log_scales])
        value, log_slope = ops.logistic_mixture(x, logits, means, log_scales)
        back = ops.logistic_mixture_inverse(value, logits, means, log_scales)
        loss = tf.reduce_sum(value / 1e6) + tf.reduce_sum(log_slope) + tf.reduce_sum(back / 1e6)
    widest = tf.reduce_max(log_scales, axis=1)
    np.testing.assert_allclose(value, x * tf.exp(-widest), rtol=1e-4)
    np.testing.assert_allclose(log_slope, -widest, atol=1e-4)
    np.testing.assert_allclose(back, x, rtol=1e-5)
    for gradient in tape.gradient(loss, [x, logits, means, log_scales]):
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize(("scale", "error"), [(0.1, 2e-6), (1.0, 5e-6), (2.0, 1e-4)])
def test_inverse_in_float32(scale, error):
    given = components(32, scale, 5000, "float32")
    x = tf.constant(np.random.RandomState(1).randn(5000).astype("float32") * 10)
    z, _ = ops.logistic_mixture(x, *given)
    back = ops.logistic_mixture_inverse(z, *given)
    np.testing.assert_array_less(np.abs(back - x), error * (1 + np.abs(x)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inverse_does_not_run_in_a_circle(dtype):
    """Narrow components far apart: Newton's steps lead from one to the next and back."""
    logits, means, log_scales = components(32, 3.0, 20000, dtype)
    log_scales = tf.clip_by_value(log_scales, -5, 5)
    x = tf.constant(9 * np.random.RandomState(2).randn(20000), dtype)
    z, _ = ops.logistic_mixture(x, logits, means, log_scales)
    back = ops.logistic_mixture_inverse(z, logits, means, log_scales)
    again, _ = ops.logistic_mixture(back, logits, means, log_scales)
    tolerance = 8 * np.finfo(dtype).eps
    np.testing.assert_array_less(np.abs(again - z), tolerance * (1 + np.abs(z)))


def test_gradient_of_the_inverse():
    """By the implicit function: f(g(z)) = z."""
    given = components()
    z = tf.constant(np.random.uniform(-4, 4, 200))
    with tf.GradientTape() as tape:
        tape.watch([z, *given])
        x = ops.logistic_mixture_inverse(z, *given)
    fixed = tf.constant(x.numpy())
    with tf.GradientTape() as forward:
        forward.watch(given)
        value, log_slope = ops.logistic_mixture(fixed, *given)
        loss = -tf.reduce_sum(value * tf.stop_gradient(tf.exp(-log_slope)))
    expected = [tf.exp(-log_slope), *forward.gradient(loss, given)]
    for actual, reference in zip(tape.gradient(x, [z, *given]), expected, strict=True):
        np.testing.assert_allclose(actual, reference, rtol=1e-8, atol=1e-12)


def test_inverse_of_not_a_number_is_not_a_number():
    assert np.isnan(ops.logistic_mixture_inverse(tf.constant(np.full(200, np.nan)), *components()))[
        0
    ]
