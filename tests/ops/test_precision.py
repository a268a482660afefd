"""Exact operations where a device rounds products of float32 to 10 bits."""

import numpy as np
import pytest
import tensorflow as tf

from snf_tf import ops
from snf_tf.ops import precision
from tests.tensor_float_32 import emulated

IMAGE = (9, 8, 3)


@pytest.fixture
def _tensor_float_32():
    with emulated():
        yield


def kernel_of(size, channels, scale=0.06):
    kernel = scale * np.random.RandomState(0).randn(size, size, channels, channels)
    kernel[size // 2, size // 2] += 1.5 * np.eye(channels)
    return tf.constant(kernel, tf.float32)


def error(found, expected):
    return np.linalg.norm(np.subtract(found, expected)) / np.linalg.norm(expected)


def value_and_gradients(function, *inputs):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = function(*inputs)
        loss = tf.reduce_sum(tf.sin(value))
    return value, *tape.gradient(loss, inputs)


def assert_same_as_wide(function, reference, *inputs, tolerance=5e-6):
    """In float32, a function is what a reference is in float64, and has its gradients."""
    found = value_and_gradients(function, *inputs)
    expected = value_and_gradients(reference, *[tf.cast(v, tf.float64) for v in inputs])
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == tf.float32
        assert error(a, b) < tolerance


@pytest.mark.usefixtures("_tensor_float_32")
@pytest.mark.parametrize(
    ("precise", "plain", "shapes"),
    [
        (ops.precise_matmul, tf.matmul, [(7, 300), (300, 300)]),
        (ops.precise_conv2d, ops.conv2d, [(2, *IMAGE), (3, 3, 3, 3)]),
    ],
)
def test_products(precise, plain, shapes):
    inputs = [tf.random.normal(shape) for shape in shapes]
    wide = plain(*[tf.cast(v, tf.float64) for v in inputs])
    assert error(plain(*inputs), wide) > 1e-4
    assert_same_as_wide(precise, plain, *inputs)
    np.testing.assert_allclose(tf.function(precise)(*inputs), wide, rtol=1e-5, atol=1e-5)


def test_products_are_plain_where_none_is_rounded():
    a, b = tf.random.normal((7, 300)), tf.random.normal((300, 300))
    graph = tf.function(ops.precise_matmul).get_concrete_function(a, b).graph
    assert "Cast" not in {operation.type for operation in graph.get_operations()}


@pytest.mark.parametrize(
    ("gpus", "is_enabled", "expected"),
    [
        ([], True, False),
        ([{"compute_capability": (7, 5)}], True, False),
        ([{"compute_capability": (7, 5)}, {"compute_capability": (8, 0)}], True, True),
        ([{"compute_capability": (9, 0)}], False, False),
        ([{}], True, True),
    ],
)
def test_which_devices_round(monkeypatch, gpus, is_enabled, expected):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    config = tf.config.experimental
    monkeypatch.setattr(config, "get_device_details", lambda gpu: gpu)
    monkeypatch.setattr(config, "tensor_float_32_execution_enabled", lambda: is_enabled)
    assert precision._rounds_float32() is expected


@pytest.mark.usefixtures("_tensor_float_32")
def test_convolutions():
    kernel, z = kernel_of(3, 3), tf.random.normal((2, *IMAGE))
    matrix = ops.conv2d_matrix(tf.cast(kernel, tf.float64), IMAGE)
    np.testing.assert_array_equal(ops.conv2d_matrix(kernel, IMAGE), tf.cast(matrix, tf.float32))
    for log_det in (ops.conv2d_log_det, ops.conv2d_log_det_dense):
        assert_same_as_wide(
            lambda k, f=log_det: f(k, IMAGE), lambda k: ops.conv2d_log_det_dense(k, IMAGE), kernel
        )
    assert_same_as_wide(ops.conv2d_solve, ops.conv2d_solve_dense, z, kernel)


@pytest.mark.usefixtures("_tensor_float_32")
def test_refined_solves():
    """By refinement: a product that is rounded would never get there."""
    kernel, z = kernel_of(3, 3), tf.random.normal((2, *IMAGE))
    found = ops.refined_conv2d_solve(z, kernel, ops.least_squares_inverse_kernel(kernel, (5, 5)))
    wide_kernel, wide_z = tf.cast(kernel, tf.float64), tf.cast(z, tf.float64)
    assert found.converged
    assert found.steps > 0
    assert error(found.value, ops.conv2d_solve_dense(wide_z, wide_kernel)) < 2e-6

    matrix = np.eye(300) + 0.3 * np.random.RandomState(0).randn(300, 300) / np.sqrt(300)
    kernel, y = tf.constant(matrix, tf.float32), tf.random.normal((2, 300))
    inverse = tf.constant(np.linalg.inv(matrix), tf.float32)
    expected = tf.cast(y, tf.float64) @ tf.linalg.inv(tf.cast(kernel, tf.float64))
    for scale, refines in ((1, True), (0, False)):
        found = ops.refined_matmul_solve(y, kernel, scale * inverse)
        assert found.converged
        assert (found.steps > 0) == refines
        assert error(found.value, expected) < 2e-6
