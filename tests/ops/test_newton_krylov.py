"""Roots of maps far from contractions, and Krylov spaces of linear systems."""

import numpy as np
import pytest
import tensorflow as tf

from snf_tf import ops
from snf_tf.ops.newton_krylov import least_residual

D = 6


def make_map(dtype=tf.float64):
    matrix = tf.constant(np.random.RandomState(0).randn(D, D), dtype)

    def f(x):
        return x + tf.matmul(20.0 * tf.tanh(tf.matmul(x, matrix)), matrix, transpose_b=True)

    return f


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_roots_where_the_fixed_point_fails(dtype):
    """By a preconditioner that is far from the inverse, and by none."""
    f = make_map(dtype)
    x = tf.constant(np.random.RandomState(1).randn(20, D), dtype)
    z = f(x)
    tolerance = 1e-4 if dtype == "float32" else 1e-9
    for inverse in (lambda z: z, lambda z: 0.1 * z + tf.sin(z)):
        root = ops.newton_krylov(f, z, tf.zeros_like(z), inverse, tolerance)
        assert root.converged
        assert 0 < root.steps <= 50
        np.testing.assert_allclose(root.residual, tf.norm(f(root.value) - z, axis=1), rtol=1e-6)
        np.testing.assert_allclose(root.value, x, atol=3e-3 if dtype == "float32" else 1e-8)


def test_a_map_without_a_root():
    """Rows are independent: one that has no root stops, and is told by its residual."""
    z = tf.constant([[4.0], [-1.0], [9.0]], tf.float64)
    root = ops.newton_krylov(lambda x: x**2, z, tf.ones_like(z), lambda z: z, 1e-12)
    assert not root.converged
    np.testing.assert_allclose(tf.gather(root.value, [0, 2])[:, 0], [2.0, 3.0], rtol=1e-12)
    assert 0.9 < root.residual[1] <= 2.0
    assert np.isfinite(root.value).all()


@pytest.mark.parametrize("matrix", ["random", "skew"])
def test_linear_systems(matrix):
    """A skew-symmetric matrix leaves the first residual as large as it was."""
    a = np.random.RandomState(2).randn(D, D)
    a = a - a.T if matrix == "skew" else a
    y = np.random.RandomState(3).randn(4, D)
    found = least_residual(lambda x: tf.matmul(x, a.T), tf.constant(y), 1e-12)
    assert found.converged
    assert found.steps <= D
    np.testing.assert_allclose(found.value, np.linalg.solve(a, y.T).T, rtol=1e-8, atol=1e-10)
    # Three products: the least residual of the Krylov space.
    found = least_residual(lambda x: tf.matmul(x, a.T), tf.constant(y), 1e-12, products=3)
    for row, residual in zip(y, found.residual, strict=True):
        space = np.stack([a @ row, a @ a @ row, a @ a @ a @ row], 1)
        least = row - space @ np.linalg.lstsq(space, row, rcond=None)[0]
        np.testing.assert_allclose(residual, np.linalg.norm(least), rtol=1e-7)
