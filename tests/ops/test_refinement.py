"""Exact inverses by refinement, against elimination in float64."""

import numpy as np
import pytest
import tensorflow as tf

from snf_tf import ops

D = 256
IMAGE = (12, 10, 3)


def matrices(error, dtype="float64"):
    """A kernel, and its inverse up to a relative error."""
    random = np.random.RandomState(0)
    kernel = np.eye(D) + 0.3 * random.randn(D, D) / np.sqrt(D)
    inverse = np.linalg.inv(kernel) @ (np.eye(D) + error * random.randn(D, D) / np.sqrt(D))
    return kernel, tf.constant(kernel, dtype), tf.constant(inverse, dtype)


def filters(dtype="float64"):
    kernel = 0.04 * np.random.RandomState(0).randn(3, 3, 3, 3)
    kernel[1, 1] += np.eye(3)
    return tf.constant(kernel, dtype), ops.least_squares_inverse_kernel(
        tf.constant(kernel, dtype), (5, 5)
    )


@pytest.mark.parametrize("error", [0.0, 0.01, 0.2])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float64", 1e-13)])
def test_dense(error, dtype, tolerance):
    exact, kernel, inverse = matrices(error, dtype)
    y = np.random.RandomState(1).randn(2, D)
    x, steps, *_ = ops.refined_matmul_solve(tf.constant(y, dtype), kernel, inverse)
    # To float64's last digits it takes more steps than elimination is worth.
    assert steps > 0 or (dtype, error) == ("float64", 0.2)
    expected = y @ np.linalg.inv(exact)
    assert np.linalg.norm(x - expected) < tolerance * np.linalg.norm(expected)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float64", 1e-13)])
def test_convolution(dtype, tolerance):
    kernel, inverse = filters(dtype)
    z = tf.constant(np.random.RandomState(1).randn(4, *IMAGE), dtype)
    x, steps, *_ = tf.function(ops.refined_conv2d_solve)(z, kernel, inverse)
    assert steps > 0
    expected = ops.conv2d_solve_dense(tf.cast(z, "float64"), tf.cast(kernel, "float64")).numpy()
    assert np.linalg.norm(x - expected) < tolerance * np.linalg.norm(expected)


@pytest.mark.parametrize("scale", [0.5, 0.7, 1.3])
def test_an_inverse_of_the_wrong_length(scale):
    """Steps of the best length make good for it; one of length 1 would not, and must not end it."""
    exact, kernel, inverse = matrices(3e-4, "float32")
    y = np.random.RandomState(1).randn(2, D)
    x, *_ = ops.refined_matmul_solve(tf.constant(y, "float32"), kernel, scale * inverse)
    expected = y @ np.linalg.inv(exact)
    assert np.linalg.norm(x - expected) < 4e-6 * np.linalg.norm(expected)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("inverse_of", ["nothing", "its negative", "not finite"])
def test_without_an_inverse_it_is_elimination(graph, inverse_of):
    exact, kernel, inverse = matrices(0.0)
    inverse = {"nothing": 0 * inverse, "its negative": -inverse, "not finite": np.nan * inverse}[
        inverse_of
    ]
    y = tf.constant(np.random.RandomState(1).randn(2, D))
    solve = tf.function(ops.refined_matmul_solve) if graph else ops.refined_matmul_solve
    x, steps, *_ = solve(y, kernel, inverse)
    # An inverse of the wrong sign has the right directions.
    assert steps == 0 or inverse_of == "its negative"
    np.testing.assert_allclose(x, y @ np.linalg.inv(exact), rtol=1e-11, atol=1e-11)
    kernel, inverse = filters()
    z = tf.constant(np.random.RandomState(1).randn(2, *IMAGE))
    solve = tf.function(ops.refined_conv2d_solve) if graph else ops.refined_conv2d_solve
    x, steps, *_ = solve(z, kernel, 0 * inverse)
    assert steps == 0
    np.testing.assert_allclose(x, ops.conv2d_solve_dense(z, kernel), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_batches(rows):
    """An empty one, and one for which elimination is faster."""
    exact, kernel, inverse = matrices(0.01)
    y = np.random.RandomState(1).randn(rows, D)
    solve = tf.function(
        ops.refined_matmul_solve,
        input_signature=[
            tf.TensorSpec((None, D), tf.float64),
            *[tf.TensorSpec((D, D), tf.float64)] * 2,
        ],
    )
    x, steps, *_ = solve(y, kernel, inverse)
    assert (steps == 0) == (rows == 1000)
    np.testing.assert_allclose(x, y @ np.linalg.inv(exact), rtol=1e-11, atol=1e-11)


def gradients(function, z, kernel):
    with tf.GradientTape() as tape:
        tape.watch([z, kernel])
        loss = tf.reduce_sum(tf.sin(function(z, kernel)))
    return tape.gradient(loss, [z, kernel])


@pytest.mark.parametrize("graph", [False, True])
def test_gradients(graph):
    _, kernel, inverse = matrices(0.01)
    y = tf.constant(np.random.RandomState(1).randn(2, D))
    cases = [(ops.refined_matmul_solve, lambda y, k: y @ tf.linalg.inv(k), y, kernel, inverse)]
    z = tf.constant(np.random.RandomState(1).randn(2, *IMAGE))
    cases.append((ops.refined_conv2d_solve, ops.conv2d_solve_dense, z, *filters()))
    for solve, reference, z, kernel, inverse in cases:

        def ours(z, kernel, solve=solve, inverse=inverse):
            return gradients(lambda z, k: solve(z, k, inverse)[0], z, kernel)

        found = (tf.function(ours) if graph else ours)(z, kernel)
        for a, b in zip(found, gradients(reference, z, kernel), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
