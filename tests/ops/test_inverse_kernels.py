"""Inverse kernels in closed form, against brute force in float64."""

import numpy as np
import pytest
import tensorflow as tf

from snf_tf import ops


def test_log_det_by_gradient():
    kernel, gradient = tf.random.normal((3, 3)), tf.random.normal((3, 3))
    with tf.GradientTape() as tape:
        tape.watch([kernel, gradient])
        log_det = ops.log_det_by_gradient(kernel, gradient, tf.ones((4, 2)))
        loss = tf.reduce_sum(tf.constant([1.0, -2.0, 3.0, 0.5]) * log_det)
    np.testing.assert_array_equal(log_det, np.zeros(4))
    found, of_gradient = tape.gradient(loss, [kernel, gradient])
    np.testing.assert_allclose(found, 2.5 * gradient, rtol=1e-6)
    assert of_gradient is None


@pytest.mark.parametrize("rows", [1, 5])
def test_projection(rows):
    """It inverts the batch, and changes as little as can be: in the span of the images alone."""
    random = np.random.RandomState(0)
    inverse, x, y = random.randn(7, 7), random.randn(rows, 7), random.randn(rows, 7)
    change = (
        ops.project_inverse(tf.constant(inverse), tf.constant(x), tf.constant(y), 1e-13) - inverse
    )
    np.testing.assert_allclose(change, np.linalg.pinv(y) @ (x - y @ inverse), rtol=1e-8, atol=1e-8)


def test_projections_find_the_inverse():
    random = np.random.RandomState(0)
    kernel = np.eye(8) + 0.1 * random.randn(8, 8)
    inverse = tf.constant(kernel.T)
    for _ in range(300):
        x = random.randn(3, 8)
        inverse = ops.project_inverse(inverse, tf.constant(x), tf.constant(x @ kernel), 1e-9)
    np.testing.assert_allclose(inverse, np.linalg.inv(kernel), atol=1e-6)


def test_unit_rows():
    """However short."""
    rows = np.float32([[3e-18, 4e-18], [0, 0], [30, 40]])
    np.testing.assert_allclose(ops.unit_rows(rows), [[0.6, 0.8], [0, 0], [0.6, 0.8]], rtol=1e-6)


def test_newton_schulz_squares_the_residual():
    random = np.random.RandomState(0)
    kernel, inverse = np.eye(6) + 0.05 * random.randn(6, 6), np.eye(6) + 0.05 * random.randn(6, 6)
    residual = np.eye(6) - kernel @ inverse
    swept = ops.newton_schulz_inverse(tf.constant(kernel), tf.constant(inverse))
    np.testing.assert_allclose(np.eye(6) - kernel @ swept, residual @ residual, atol=1e-14)


def test_inverse_residual_finds_the_norm_from_below():
    random = np.random.RandomState(0)
    kernel, inverse = random.randn(20, 20), random.randn(20, 20)
    left, values, _ = np.linalg.svd(np.eye(20) - kernel @ inverse)
    direction, norms = tf.ones((1, 20), tf.float64), []
    for _ in range(300):
        norm, direction = ops.inverse_residual(tf.constant(kernel), tf.constant(inverse), direction)
        norms.append(float(norm))
    assert norms == sorted(norms) or np.diff(norms).min() > -1e-9
    np.testing.assert_allclose(norms[-1], values[0], rtol=1e-6)
    np.testing.assert_allclose(abs(direction @ left[:, :1]), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("kernel_size", "size", "channels"),
    [((3, 3), (3, 3), 2), ((3, 5), (5, 7), 3), ((1, 1), (1, 1), 4), ((3, 1), (7, 3), 1)],
)
def test_least_squares(kernel_size, size, channels):
    kernel = 0.1 * np.random.RandomState(0).randn(*kernel_size, channels, channels)
    kernel[kernel_size[0] // 2, kernel_size[1] // 2] += np.eye(channels)
    # The kernel of both convolutions is linear in the second one's taps.
    height, width = (k + q - 1 for k, q in zip(kernel_size, size, strict=True))
    both = np.zeros((height, width, channels, *size, channels))
    for i, j in np.ndindex(*size):
        both[i : i + kernel_size[0], j : j + kernel_size[1], :, i, j] = kernel
    delta = np.zeros((height, width, channels, channels))
    delta[height // 2, width // 2] = np.eye(channels)
    expected = np.linalg.lstsq(
        both.reshape(height * width * channels, -1), delta.reshape(-1, channels), rcond=None
    )[0]
    found = ops.least_squares_inverse_kernel(tf.constant(kernel), size)
    np.testing.assert_allclose(found, expected.reshape(*size, channels, channels), atol=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (1, 3)])
def test_gradient_of_log_det(size):
    """Of a 1 x 1 convolution exact; of others as near as the inverse is; the exact one against the
    dense matrix.
    """
    image = (6, 5, 2)
    kernel = 0.02 * np.random.RandomState(0).randn(*size, 2, 2)
    kernel[size[0] // 2, size[1] // 2] += np.eye(2)
    kernel = tf.constant(kernel)
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        log_det = ops.conv2d_log_det_dense(kernel, image)
    exact = tape.gradient(log_det, kernel)
    inverse = ops.least_squares_inverse_kernel(kernel, tuple(2 * n - 1 for n in size))
    found = ops.conv2d_log_det_gradient(inverse, size, image[:2])
    assert ops.angle(found, exact) < (1e-6 if size == (1, 1) else 0.1)
    for compute in (
        ops.conv2d_exact_log_det_gradient,
        tf.function(lambda k, shape=image: ops.conv2d_exact_log_det_gradient(k, shape)),
    ):
        np.testing.assert_allclose(
            compute(kernel, image)
            if compute is ops.conv2d_exact_log_det_gradient
            else compute(kernel),
            exact,
            rtol=1e-9,
            atol=1e-9,
        )


def test_angle():
    a = tf.constant([[1.0, 0.0]])
    for degrees in (1e-6, 0.3, 90.0, 179.0, 180.0):
        b = 7.0 * np.array([[np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]])
        np.testing.assert_allclose(
            ops.angle(tf.cast(a, tf.float64), tf.constant(b)), degrees, rtol=1e-6
        )
    assert np.isnan(ops.angle(a, 0 * a))
