"""Norms against dense matrices and brute force."""

import math

import numpy as np
import pytest
import tensorflow as tf

from snf_tf import ops

INF = math.inf
CLOSED = [(1, 1), (1, 2), (1, INF), (2, INF), (INF, INF), (2, 2), (1, 3), (3, INF)]


def norm_from_matrix(matrix, p, q):
    """The norm of x -> x @ matrix by its definition, for the closed forms."""
    if p == 1:
        return max(np.linalg.norm(row, q) for row in matrix)
    if q == INF:
        dual = {1: INF, 2: 2, 3: 1.5, INF: 1}[p]
        return max(np.linalg.norm(column, dual) for column in matrix.T)
    return np.linalg.svd(matrix, compute_uv=False)[0]


@pytest.mark.parametrize(("p", "q"), CLOSED)
def test_closed_forms(p, q):
    kernel = np.random.randn(5, 4)
    with tf.GradientTape() as tape:
        variable = tf.Variable(kernel)
        norm = ops.operator_norm(variable, float(p), float(q))
    assert float(norm) == pytest.approx(norm_from_matrix(kernel, p, q), rel=1e-12)
    gradient = tape.gradient(norm, variable)
    # Euler: a norm is homogeneous of degree 1.
    assert float(tf.reduce_sum(gradient * kernel)) == pytest.approx(float(norm), rel=1e-9)
    step = 1e-6 * np.random.randn(5, 4)
    changed = norm_from_matrix(kernel + step, p, q) - norm_from_matrix(kernel - step, p, q)
    assert 2 * np.sum(gradient * step) == pytest.approx(changed, rel=1e-4, abs=1e-10)
    assert ops.operator_norm_bound(kernel, float(p), float(q)) >= norm_from_matrix(kernel, p, q)


def test_vectors_attain_the_norm():
    """dual_vector gives Hoelder's equality, in every order."""
    y = np.random.randn(7)
    for r in (1.0, 1.5, 2.0, 2.5, 4.0, INF):
        x = ops.dual_vector(tf.constant(y), r)
        assert float(ops.vector_norm(x, r)) == pytest.approx(1.0, rel=1e-12)
        attained = float(tf.reduce_sum(x * y))
        assert attained == pytest.approx(np.linalg.norm(y, ops.dual_order(r)), rel=1e-12)
    learned = ops.dual_vector(tf.constant(y), tf.constant(1.7, tf.float64))
    np.testing.assert_allclose(learned, ops.dual_vector(tf.constant(y), 1.7), rtol=1e-12)


def test_the_power_method_takes_the_steps_it_says():
    kernel, v = np.random.randn(4, 6), np.random.randn(4)
    found = ops.power_method(
        lambda v: tf.linalg.matvec(kernel, v, transpose_a=True),
        lambda u: tf.linalg.matvec(kernel, u),
        tf.zeros(6, tf.float64),
        tf.constant(v),
        max_steps=3,
    )
    for _ in range(3):
        u = kernel.T @ v / np.linalg.norm(kernel.T @ v)
        v = kernel @ u / np.linalg.norm(kernel @ u)
    np.testing.assert_allclose(found.u, u, rtol=1e-12)
    np.testing.assert_allclose(found.v, v, rtol=1e-12)
    assert float(found.value) == pytest.approx(u @ kernel.T @ v, rel=1e-12)
    assert int(found.steps) == 3


@pytest.mark.parametrize(
    ("p", "q"), [(1.5, 1.5), (2.5, 2.5), (1.7, 2.3), (2.3, 1.7), (1.2, 4.0), (4.0, 1.2), (3.0, 2.0)]
)
def test_bounds_enclose_the_norm(p, q):
    for _ in range(10):
        kernel = np.random.randn(6, 5)
        lower = float(ops.operator_norm_lower_bound(kernel, p, q))
        assert lower <= ops.operator_norm_bound(kernel, p, q)
        x = np.random.randn(2000, 6)
        found = np.linalg.norm(x @ kernel, q, axis=1) / np.linalg.norm(x, p, axis=1)
        assert found.max() <= lower * (1 + 1e-9)


def matrix_of(kernel, height, width):
    """The matrix of the zero-padded convolution, by its definition."""
    rows, columns, inputs, outputs = kernel.shape
    matrix = np.zeros((height, width, inputs, height, width, outputs))
    for y, x, i, j in np.ndindex(height, width, rows, columns):
        source = y + i - rows // 2, x + j - columns // 2
        if 0 <= source[0] < height and 0 <= source[1] < width:
            matrix[source][:, y, x] += kernel[i, j]
    return matrix.reshape(height * width * inputs, -1)


SHAPES = [
    *[(3, 3, 2, 3, 6, 6), (3, 3, 3, 2, 5, 8), (5, 5, 1, 2, 5, 5), (1, 1, 4, 3, 4, 4)],
    *[(3, 1, 2, 2, 4, 7), (7, 7, 1, 1, 3, 3), (3, 3, 1, 2, 14, 14), (3, 3, 1, 1, 16, 14)],
]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_bound_of_a_convolution(shape):
    height, width = shape[4:]
    for draw in range(200 // len(SHAPES)):
        kernel = np.random.RandomState(draw).randn(*shape[:4])
        norm = np.linalg.norm(matrix_of(kernel, height, width), 2)
        bound = ops.conv2d_norm_bound(kernel, (height, width))
        assert norm <= bound <= 1.1 * norm
        if draw == 0:
            for p in (1.0, INF):
                expected = norm_from_matrix(matrix_of(kernel, height, width), p, p)
                found = ops.conv2d_operator_norm(tf.constant(kernel), (height, width), p, p)
                assert float(found) == pytest.approx(expected, rel=1e-12)


def test_the_circular_bound_where_the_matrix_is_too_large(monkeypatch):
    """The bound of the Fourier transform alone; the proof by a factorization is left out."""
    monkeypatch.setattr("snf_tf.ops.conv_norms._PIXELS", 0)
    for draw in range(20):
        for shape, size in (((3, 3, 2, 2), (6, 5)), ((5, 3, 1, 2), (4, 4)), ((3, 3, 1, 1), (3, 8))):
            kernel = np.random.RandomState(draw).randn(*shape)
            norm = np.linalg.norm(matrix_of(kernel, *size), 2)
            assert norm <= ops.conv2d_norm_bound(kernel, size) <= 2.0 * norm


def test_a_large_matrix_is_proved_by_a_factorization(monkeypatch):
    monkeypatch.setattr("snf_tf.ops.conv_norms._EIGENVALUES", 10)
    kernel = np.random.randn(3, 3, 2, 3)
    norm = np.linalg.norm(matrix_of(kernel, 6, 6), 2)
    assert norm <= ops.conv2d_norm_bound(kernel, (6, 6)) <= (1 + 1e-6) * norm


@pytest.mark.parametrize("p", [1.6, 2.4])
def test_mixed_bounds_of_convolutions(p):
    kernel = np.random.randn(3, 3, 2, 2)
    matrix = matrix_of(kernel, 4, 5)
    x = np.random.randn(3000, len(matrix))
    found = np.linalg.norm(x @ matrix, p, axis=1) / np.linalg.norm(x, p, axis=1)
    lower = float(ops.operator_norm_lower_bound(matrix, p, p))
    assert found.max() <= lower <= ops.conv2d_mixed_norm_bound(kernel, (4, 5), p, p)


def test_almost_orthogonal_layers():
    dense = ops.aol_dense_kernel(tf.constant(np.random.randn(5, 9)))
    assert np.linalg.norm(dense, 2) <= 1.0
    kernel = np.random.randn(3, 3, 2, 4)
    rescaled = ops.aol_conv2d_kernel(tf.constant(kernel)).numpy()
    assert np.linalg.norm(matrix_of(rescaled, 6, 7), 2) <= 1.0
    # By the formula: correlations of the kernel with itself at every shift.
    sums = np.zeros(2)
    for i in range(2):
        for j, dy, dx in np.ndindex(2, 5, 5):
            padded = np.zeros((7, 7, 4))
            padded[2:5, 2:5] = kernel[:, :, j]
            window = padded[dy : dy + 3, dx : dx + 3]
            sums[i] += abs(np.sum(window * kernel[:, :, i]))
    np.testing.assert_allclose(rescaled, kernel / np.sqrt(sums)[:, None], rtol=1e-12)
    assert not np.any(np.isnan(ops.aol_dense_kernel(tf.zeros((2, 2)))))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.operator_norm(np.eye(2), 1.5, 2.0), "closed forms"),
        (lambda: ops.operator_norm(np.eye(2), 0.5, 2.0), "at least 1"),
        (lambda: ops.operator_norm_bound(np.eye(2), 2.0, "x"), "at least 1"),
        (lambda: ops.conv2d_operator_norm(np.ones((1, 1, 1, 1)), (2, 2), 2.0, 2.0), "p must be 1"),
        (lambda: ops.conv2d_norm_bound(np.ones((2, 2, 1, 1)), (4, 4)), "odd kh and kw"),
        (lambda: ops.conv2d_norm_bound(np.ones((3, 3)), (4, 4)), "odd kh and kw"),
        (lambda: ops.conv2d_norm_bound(np.ones((3, 3, 1, 1)), (4, 0)), "image_size"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(ValueError, match=message):
        call()
