"""The gradients of convolutions against autodiff of their dense matrices, which knows of no flip
and no multiplicity.
"""

import numpy as np
import pytest
import tensorflow as tf

from snf_tf import ops
from tests.ops.test_dense import gradients

B, C = 3, 4


@pytest.mark.parametrize(
    ("size", "inverse_size", "image"),
    [
        ((1, 1), (1, 1), (6, 6)),
        ((3, 3), (3, 3), (6, 6)),
        ((5, 5), (5, 5), (6, 6)),
        ((3, 3), (7, 7), (6, 5)),
        ((7, 7), (3, 3), (4, 6)),
        ((3, 3), (7, 7), (2, 3)),
        ((3, 1), (1, 5), (4, 5)),
    ],
)
def test_self_normalizing_gradient(size, inverse_size, image):
    random = np.random.RandomState(2)
    shape = (*image, C)
    x, dz = random.randn(2, B, *shape)
    k, r, bias = random.randn(*size, C, C), random.randn(*inverse_size, C, C), random.randn(C)
    dl, de = random.randn(2, B)
    actual = gradients(ops.self_normalizing_conv2d, (x, k, r, bias), (dz, dl, de))

    def forward(x, k):
        return tf.nn.conv2d(x, k, 1, "SAME")

    y = forward(x, k)
    dx = gradients(lambda x: forward(x, tf.constant(k)), (x,), (dz,))[0]

    def surrogate(k, r):
        matrix, inverse = ops.conv2d_matrix(k, shape), ops.conv2d_matrix(r, shape)
        error = tf.reduce_sum((forward(forward(x, k), r) - x) ** 2, axis=[1, 2, 3])
        frozen, frozen_inverse = tf.stop_gradient(matrix), tf.stop_gradient(inverse)
        return (
            0.5 * tf.reduce_sum(dz * forward(x, k))
            + 0.5 * dl.sum() * tf.reduce_sum(matrix * tf.transpose(frozen_inverse))
            - 0.5 * tf.reduce_sum(dx * forward(y, r))
            - 0.5 * dl.sum() * tf.reduce_sum(inverse * tf.transpose(frozen))
            + tf.reduce_sum(de * error)
        )

    d_kernel, d_inverse = gradients(surrogate, (k, r), (1.0,))
    for value, reference in zip(actual, (dx, d_kernel, d_inverse, dz.sum((0, 1, 2))), strict=True):
        np.testing.assert_allclose(value, reference, rtol=1e-10, atol=1e-9)


def test_matrix_of_a_convolution_by_loops():
    random = np.random.RandomState(3)
    height, width = 3, 4
    kernel = random.randn(3, 5, 2, 2)
    expected = np.zeros((height, width, 2, height, width, 2))
    for i, j in np.ndindex(height, width):
        for p, q in np.ndindex(height, width):
            if abs(p - i) <= 1 and abs(q - j) <= 2:
                # The output at (i, j) sees the input at (p, q) through the tap at their offset.
                expected[p, q, :, i, j, :] = kernel[p - i + 1, q - j + 2]
    matrix = ops.conv2d_matrix(tf.constant(kernel), (height, width, 2))
    np.testing.assert_allclose(matrix, expected.reshape(24, 24), rtol=1e-12)


def test_flip_is_the_transposed_convolution():
    kernel = tf.random.normal((3, 5, 2, 2), dtype=tf.float64)
    np.testing.assert_allclose(
        ops.conv2d_matrix(ops.flip(kernel), (3, 4, 2)),
        tf.transpose(ops.conv2d_matrix(kernel, (3, 4, 2))),
        rtol=1e-12,
    )


@pytest.mark.parametrize(("size", "image"), [((3, 3), (6, 5)), ((7, 5), (2, 3)), ((1, 1), (4, 4))])
def test_multiplicity_counts_taps(size, image):
    ones = ops.conv2d_matrix(tf.ones((*size, 1, 1), tf.float64), (*image, 1))
    taps = gradients(
        lambda k: ops.conv2d_matrix(k, (*image, 1)), (np.ones((*size, 1, 1)),), (ones,)
    )[0]
    np.testing.assert_array_equal(ops.multiplicity(size, image), taps)


def test_multiplicity_of_taps_that_never_touch_the_image():
    assert ops.multiplicity((7, 7), (2, 2))[0, 0, 0, 0] == 0


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (7, 3)])
def test_resize_kernel_crops_and_pads_the_centre(size):
    kernel = tf.random.normal((3, 3, 2, 2))
    resized = ops.resize_kernel(kernel, size)
    assert resized.shape[:2] == size
    np.testing.assert_array_equal(resized[size[0] // 2, size[1] // 2], kernel[1, 1])
    np.testing.assert_allclose(
        tf.reduce_sum(tf.abs(ops.resize_kernel(resized, (3, 3)))),
        tf.reduce_sum(tf.abs(resized)),
        rtol=1e-6,
    )


def test_exact_gradient_of_the_log_det():
    random = np.random.RandomState(4)
    kernel = random.randn(3, 3, 2, 2)
    shape = (4, 3, 2)
    actual = gradients(lambda k: ops.conv2d_log_det(k, shape), (kernel,), (1.0,))[0]
    step = 1e-6
    for index in [(0, 0, 0, 0), (1, 1, 0, 1), (2, 1, 1, 1)]:
        change = np.zeros_like(kernel)
        change[index] = step
        difference = [
            np.linalg.slogdet(ops.conv2d_matrix(tf.constant(kernel + sign * change), shape))[1]
            for sign in (1, -1)
        ]
        np.testing.assert_allclose(
            actual[index], (difference[0] - difference[1]) / (2 * step), rtol=1e-5, atol=1e-7
        )
