"""The gradients of dense layers against formulas written out in numpy."""

import numpy as np
import pytest
import tensorflow as tf

from snf_tf import ops

B, D = 6, 5


@pytest.fixture
def numbers():
    """x, kernel, inverse_kernel, bias, and cotangents dz, dl, de; kernel and inverse_kernel are not
    inverse to each other.
    """
    random = np.random.RandomState(1)
    return [random.randn(*shape) for shape in ((B, D), (D, D), (D, D), (D,), (B, D), (B,), (B,))]


def gradients(function, inputs, cotangents):
    inputs = [tf.constant(value) for value in inputs]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = function(*inputs)
    return tape.gradient(outputs, inputs, [tf.constant(value, tf.float64) for value in cotangents])


def test_values(numbers):
    x, kernel, inverse, bias, *_ = numbers
    z, log_det, error = ops.self_normalizing_matmul(*map(tf.constant, (x, kernel, inverse, bias)))
    np.testing.assert_allclose(z, x @ kernel + bias, rtol=1e-12)
    np.testing.assert_array_equal(log_det, np.zeros(B))
    np.testing.assert_allclose(error, np.sum((x @ kernel @ inverse - x) ** 2, axis=1), rtol=1e-12)


def test_self_normalizing_gradient(numbers):
    x, k, r, bias, dz, dl, de = numbers
    y = x @ k
    e = y @ r - x
    dx = dz @ k.T
    expected = [
        dx,
        0.5 * (x.T @ dz + dl.sum() * r.T) + 2 * x.T @ (de[:, None] * e @ r.T),  # Eqs. 10, 17
        0.5 * (-y.T @ dx - dl.sum() * k.T) + 2 * y.T @ (de[:, None] * e),  # Eqs. 11, 20
        dz.sum(0),
    ]
    for value, reference in zip(
        gradients(ops.self_normalizing_matmul, (x, k, r, bias), (dz, dl, de)), expected, strict=True
    ):
        np.testing.assert_allclose(value, reference, rtol=1e-11, atol=1e-11)


def test_penalty_gradient_is_that_of_autodiff(numbers):
    x, k, r, bias, dz, dl, de = numbers

    def plain(k, r):
        return tf.reduce_sum((x @ k @ r - x) ** 2, axis=1)

    expected = gradients(plain, (k, r), (de,))
    actual = gradients(ops.self_normalizing_matmul, (x, k, r, bias), (0 * dz, 0 * dl, de))
    np.testing.assert_allclose(actual[0], np.zeros((B, D)))
    for value, reference in zip(actual[1:3], expected, strict=True):
        np.testing.assert_allclose(value, reference, rtol=1e-11)


def test_with_a_true_inverse_it_is_half_of_the_exact_gradient(numbers):
    x, k, _, bias, dz, dl, de = numbers
    actual = gradients(
        ops.self_normalizing_matmul, (x, k, np.linalg.inv(k), bias), (dz, dl, 0 * de)
    )[1]

    def exact(k):
        return x @ k, tf.fill([B], tf.linalg.slogdet(k)[1])

    np.testing.assert_allclose(actual, 0.5 * gradients(exact, (k,), (dz, dl))[0], rtol=1e-9)


def test_relative_gradient_is_the_exact_one_postconditioned(numbers):
    x, k, _, bias, dz, dl, _ = numbers

    def exact(x, k, bias):
        return x @ k + bias, tf.fill([B], tf.linalg.slogdet(k)[1])

    dx, dk, d_bias = gradients(exact, (x, k, bias), (dz, dl))
    actual = gradients(ops.relative_gradient_matmul, (x, k, bias), (dz, dl))
    for value, reference in zip(actual, (dx, k @ k.T @ dk, d_bias), strict=True):
        np.testing.assert_allclose(value, reference, rtol=1e-10)


def test_six_products(numbers):
    x, k, r, bias, *cotangents = map(tf.constant, numbers)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch([x, k, r, bias])
            outputs = ops.self_normalizing_matmul(x, k, r, bias)
        return tape.gradient(outputs, [x, k, r, bias], cotangents)

    names = [operation.type for operation in step.get_concrete_function().graph.get_operations()]
    assert names.count("MatMul") == 6
