"""Log-determinants and solves of convolutions by block cyclic reduction, against the dense matrix,
in float64.
"""

import numpy as np
import pytest
import tensorflow as tf

from snf_tf import ops
from snf_tf.ops import banded, block_tridiagonal, conv_blocks

SIZES = [(1, 1), (3, 3), (5, 5), (7, 7), (3, 1), (1, 3), (5, 3), (3, 7), (1, 5)]
IMAGES = [(1, 1, 3), (6, 4, 1), (5, 7, 2), (2, 9, 1), (8, 3, 2), (4, 3, 8)]


@pytest.fixture(params=[0, 128], ids=["reduced", "whole"], autouse=True)
def whole(request, monkeypatch):
    """The size from which a system is reduced; small images would never be."""
    monkeypatch.setattr(block_tridiagonal, "_WHOLE", request.param)
    # Graphs that were traced before have the other size.
    for name in ("_log_det_and_gradient", "_solution"):
        monkeypatch.setattr(banded, f"{name}_in_graph", tf.function(getattr(banded, name)))
    monkeypatch.setattr(banded, "_log_det_gradient", banded._log_det_gradient.__wrapped__)
    return request.param


@pytest.fixture
def _no_fallback(monkeypatch):
    """The dense matrix, which would hide a wrong reduction, gives NaN."""

    def dense(z, kernel):
        nothing = np.nan * tf.reduce_sum(kernel)
        return nothing, nothing * z

    monkeypatch.setattr(banded, "_log_det_and_solution_dense", dense)


def kernel_of(size, channels, seed=0, scale=0.4):
    kernel = scale * np.random.RandomState(seed).randn(*size, channels, channels)
    kernel[size[0] // 2, size[1] // 2] += np.eye(channels)
    return tf.constant(kernel)


def value_and_gradients(function, *inputs):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = function(*inputs)
        loss = tf.reduce_sum(tf.sin(value))
    return value, tape.gradient(loss, inputs)


def assert_same(actual, expected, tolerance=1e-9):
    for a, b in zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(
            a, b, rtol=tolerance, atol=tolerance * (1 + np.abs(b).max(initial=0))
        )


@pytest.mark.usefixtures("_no_fallback")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("image", IMAGES)
def test_against_the_dense_matrix(size, image):
    kernel = kernel_of(size, image[2], scale=0.3)
    assert_same(
        value_and_gradients(lambda k: ops.conv2d_log_det(k, image), kernel),
        value_and_gradients(lambda k: ops.conv2d_log_det_dense(k, image), kernel),
    )
    z = tf.constant(np.random.RandomState(1).randn(3, *image))
    assert_same(
        value_and_gradients(ops.conv2d_solve, z, kernel),
        value_and_gradients(ops.conv2d_solve_dense, z, kernel),
    )


@pytest.mark.usefixtures("_no_fallback")
@pytest.mark.parametrize("seed", range(12))
def test_float32_loses_no_digits(seed):
    """Where the dense matrix would in float32: kernels near the identity and far from it."""
    image, size = IMAGES[1 + seed % 5], SIZES[1 + seed % 7]
    scale = 0.03 * 10 ** (seed / 11)
    kernel = tf.cast(kernel_of(size, image[2], seed, scale), tf.float32)
    z = tf.constant(np.random.RandomState(seed).randn(3, *image), tf.float32)

    def compute(log_det, solve, kernel, z):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            value = log_det(kernel, image)
        return value, tape.gradient(value, kernel), solve(z, kernel)

    run = compute if seed % 2 else tf.function(compute)
    found = run(ops.conv2d_log_det, ops.conv2d_solve, kernel, z)
    wide = tf.cast(kernel, tf.float64), tf.cast(z, tf.float64)
    expected = compute(ops.conv2d_log_det_dense, ops.conv2d_solve_dense, *wide)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == tf.float32
        assert np.linalg.norm(np.subtract(a, b)) < 2e-7 * np.linalg.norm(b)


@pytest.mark.parametrize("height", [4, 6])
@pytest.mark.parametrize("graph", [False, True])
def test_upper_and_lower_tap_alone(height, graph):
    """Invertible, but every block on the diagonal is 0: elimination needs pivots."""
    kernel = np.zeros((3, 3, 1, 1))
    kernel[0, 1], kernel[2, 1] = 1.0, 2.0
    kernel = tf.constant(kernel)

    def compute(kernel, z):
        return (
            *value_and_gradients(lambda k: ops.conv2d_log_det(k, (height, 3, 1)), kernel),
            *value_and_gradients(ops.conv2d_solve, z, kernel),
        )

    log_det, gradient, x, _ = (tf.function(compute) if graph else compute)(
        kernel, tf.ones((2, height, 3, 1), tf.float64)
    )
    # Pairs of rows are swapped: half of the factors are 1, half 2.
    np.testing.assert_allclose(log_det, 3 * height / 2 * np.log(2), rtol=1e-12)
    assert np.isfinite(gradient[0]).all()
    np.testing.assert_allclose(ops.conv2d(x, kernel), np.ones((2, height, 3, 1)), rtol=1e-12)


@pytest.mark.parametrize("image", [(4, 4, 1), (5, 6, 1)])
def test_small_pivots_are_found_out(image, whole):
    """Where the reduction loses digits, the dense matrix takes over."""
    kernel = np.zeros((3, 3, 1, 1))
    kernel[0, 1], kernel[1, 1], kernel[2, 1], kernel[1, 0] = 1.0, 1e-11, 2.0, 1e-11
    kernel = tf.constant(kernel)
    probe = tf.constant(np.random.RandomState(0).standard_normal((1, *image)))
    _, x = conv_blocks.log_det_and_solution(probe, kernel)
    if image[0] % 2 == 0 and not whole:
        assert not banded._solves(x, probe, kernel)
    np.testing.assert_allclose(
        ops.conv2d_log_det(kernel, image), ops.conv2d_log_det_dense(kernel, image), rtol=1e-9
    )


@pytest.mark.parametrize("distance", [1e-3, 1e-6, 1e-9])
def test_near_singular_kernels_err_as_the_condition_number_says(distance):
    image = (6, 5, 1)
    # The 1-D kernel (1, c, 1) is singular on 6 pixels for c = 2 cos(pi / 7); its neighbours nearly
    # so.
    kernel = np.zeros((3, 3, 1, 1))
    kernel[:, 1, 0, 0] = 1.0, 2 * np.cos(np.pi / 7) + distance, 1.0
    kernel = tf.constant(kernel)
    condition = np.linalg.cond(ops.conv2d_matrix(kernel, image))
    assert condition > 1 / distance
    x = np.random.RandomState(2).randn(1, *image)
    solved = ops.conv2d_solve(ops.conv2d(tf.constant(x), kernel), kernel)
    assert np.abs(solved - x).max() < 1e-14 * condition
    # The log-determinant in closed form: of eigenvalues c + 2 cos(pi j / 7).
    eigenvalues = kernel[1, 1, 0, 0].numpy() + 2 * np.cos(np.pi * np.arange(1, 7) / 7)
    exact = 5 * np.log(np.abs(eigenvalues)).sum()
    assert abs(ops.conv2d_log_det(kernel, image) - exact) < 1e-14 * condition


def test_singular_and_broken_kernels_give_what_the_dense_matrix_gives():
    for value in (0.0, np.nan):
        kernel = tf.fill((3, 3, 2, 2), tf.constant(value, tf.float64))
        np.testing.assert_array_equal(
            ops.conv2d_log_det(kernel, (4, 5, 2)), ops.conv2d_log_det_dense(kernel, (4, 5, 2))
        )


def test_empty_batch_and_float32():
    kernel = tf.cast(kernel_of((3, 3), 2, scale=0.1), tf.float32)
    assert ops.conv2d_solve(tf.zeros((0, 4, 5, 2)), kernel).shape == (0, 4, 5, 2)
    z = tf.random.normal((2, 28, 28, 2))
    np.testing.assert_allclose(ops.conv2d(ops.conv2d_solve(z, kernel), kernel), z, atol=1e-4)


def largest_tensor(concrete, with_fallback):
    """The size of the largest tensor of a graph and of the functions that it calls, with or without
    the branches that are taken when a check fails.
    """
    graph = concrete.graph.as_graph_def(add_shapes=True)
    functions = {function.signature.name: function for function in graph.library.function}

    def largest(nodes):
        sizes = [0]
        for node in nodes:
            shapes = node.attr["_output_shapes"].list.shape
            sizes += [np.prod([n.size for n in shape.dim], dtype=int) for shape in shapes]
            for name, value in node.attr.items():
                called = functions.get(value.func.name)
                if called and (with_fallback or name != "else_branch"):
                    sizes.append(largest(called.node_def))
        return max(sizes)

    return largest(graph.node)


def test_a_graph_without_the_gradient_computes_it_on_demand():
    kernel, image = kernel_of((3, 3), 2, scale=0.3), (5, 4, 2)

    def log_det(kernel):
        return ops.conv2d_log_det(kernel, image, with_gradient=False)

    function = tf.function(lambda k: value_and_gradients(log_det, k))
    expected = value_and_gradients(lambda k: ops.conv2d_log_det_dense(k, image), kernel)
    assert_same(function(kernel), expected)


TALL = (20, 4, 2)


@pytest.mark.parametrize(
    "function",
    [
        lambda z, k: value_and_gradients(lambda k: ops.conv2d_log_det(k, TALL), k),
        lambda z, k: ops.conv2d_exact_log_det_gradient(k, TALL),
        lambda z, k: value_and_gradients(ops.conv2d_solve, z, k),
    ],
    ids=["log_det", "gradient", "solve"],
)
def test_no_large_matrix_outside_of_the_fallback(function, whole):
    """The graph holds blocks of W C, not the (H W C)^2 matrix, but for the branch that is taken
    when a check fails.
    """
    specs = tf.TensorSpec((3, *TALL), tf.float64), tf.TensorSpec((3, 3, 2, 2), tf.float64)
    concrete = tf.function(function).get_concrete_function(*specs)
    assert largest_tensor(concrete, with_fallback=False) <= max(20 * (4 * 2) ** 2, whole**2)
    assert largest_tensor(concrete, with_fallback=True) >= (20 * 4 * 2) ** 2
