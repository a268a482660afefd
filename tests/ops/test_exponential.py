"""The exponential of a convolution, and its norm, against matrices and the plain series."""

import re

import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf

from snf_tf import ops

SHAPE = (4, 5, 2)


def kernel_of_norm(norm, size=(3, 3), seed=0):
    kernel = np.random.RandomState(seed).randn(*size, SHAPE[2], SHAPE[2])
    return (
        kernel * norm / np.linalg.norm(np.array(ops.conv2d_matrix(tf.constant(kernel), SHAPE)), 2)
    )


def plain_series(x, kernel):
    term = total = x
    for index in range(1, 100):
        term = ops.conv2d(term, kernel) / index
        total += term
    return total


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float64", 2e-14)])
@pytest.mark.parametrize(("norm", "bound"), [(0.9, 0.9), (1.3, 0.9), (3.0, 3.0), (10.0, 10.0)])
def test_value_is_that_of_the_matrix(norm, bound, dtype, tolerance):
    kernel = kernel_of_norm(norm)
    x = np.random.randn(3, *SHAPE)
    for sign in (1, -1):
        matrix = np.array(ops.conv2d_matrix(tf.constant(sign * kernel), SHAPE))
        expected = (x.reshape(3, -1) @ scipy.linalg.expm(matrix)).reshape(x.shape)
        z = ops.exponential_conv2d(tf.constant(x, dtype), tf.constant(sign * kernel, dtype), bound)
        # Terms up to exp(norm) are added.
        np.testing.assert_allclose(z, expected, rtol=0, atol=tolerance * np.exp(norm) * 3)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("size", [(3, 3), (1, 5)])
@pytest.mark.parametrize("norm", [0.9, 3.0, 10.0])
def test_gradient_is_that_of_the_plain_series(norm, size, jit):
    kernel, (x, weights) = kernel_of_norm(norm, size), np.random.randn(2, 3, *SHAPE)

    def gradients(function, dtype):
        arguments = tf.constant(x, dtype), tf.constant(kernel, dtype)
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            loss = tf.reduce_sum(tf.constant(weights, dtype) * function(*arguments))
        return tape.gradient(loss, arguments)

    def ours(x, kernel):
        return ops.exponential_conv2d(x, kernel, norm)

    expected = gradients(plain_series, "float64")
    for dtype, tolerance in (("float64", 1e-10), ("float32", 2e-4)):
        actual = tf.function(lambda dtype=dtype: gradients(ours, dtype), jit_compile=jit)()
        for value, reference in zip(actual, expected, strict=True):
            scale = np.abs(reference).max()
            np.testing.assert_allclose(value, reference, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("graph", [False, True])
def test_second_gradient_is_that_of_the_plain_series(graph):
    x, kernel = tf.constant(np.random.randn(2, *SHAPE)), tf.constant(kernel_of_norm(0.9))

    def second(function):
        with tf.GradientTape() as outer:
            outer.watch([x, kernel])
            with tf.GradientTape() as tape:
                tape.watch([x, kernel])
                loss = tf.reduce_sum(tf.sin(function(x, kernel)))
            first = tape.gradient(loss, [x, kernel])
            norm = sum(tf.reduce_sum(tf.square(value)) for value in first)
        return outer.gradient(norm, [x, kernel])

    def ours():
        return second(lambda x, kernel: ops.exponential_conv2d(x, kernel, 0.9))

    for value, reference in zip(
        (tf.function(ours) if graph else ours)(), second(plain_series), strict=True
    ):
        np.testing.assert_allclose(value, reference, rtol=1e-9, atol=1e-9)


def peak_of_live_bytes(hlo):
    """Returns the largest number of bytes that live at once in the entry of a scheduled module."""
    assert "is_scheduled=true" in hlo
    widths = {"pred": 1, "f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8}
    lives, lines = {}, hlo[hlo.index("ENTRY") :].splitlines()
    for line, text in enumerate(lines):
        match = re.match(r"\s*(?:ROOT )?%([\w.\-]+) = (.*?) ([\w\-]+)\(", text)
        if not match:
            continue
        name, shapes, operation = match.groups()
        size = sum(
            widths[kind] * int(np.prod([int(n) for n in dimensions.split(",") if n]))
            for kind, dimensions in re.findall(r"(\w+)\[([\d,]*)\]", shapes)
        )
        # The others are views.
        if operation not in ("get-tuple-element", "bitcast", "tuple", "parameter", "constant"):
            lives[name] = [line, line, size]
        for used in re.findall(r"%([\w.\-]+)", text[match.end() :]):
            if used in lives:
                lives[used][1] = line
    return max(
        sum(size for first, last, size in lives.values() if first <= line <= last)
        for line in range(len(lines))
    )


def compiled_step(layers, x):
    """Returns the optimized module of a gradient step through exponentials."""
    kernels = [0.1 * tf.random.normal((3, 3, 2, 2)) for _ in range(layers)]

    @tf.function(jit_compile=True)
    def step(x, kernels):
        with tf.GradientTape() as tape:
            tape.watch(kernels)
            z = x
            for kernel in kernels:
                z = tf.sin(ops.exponential_conv2d(z, kernel, 0.9))
            loss = tf.reduce_sum(z)
        return tape.gradient(loss, kernels)

    return step.experimental_get_compiler_ir(x, kernels)(stage="optimized_hlo")


def test_a_compiled_step_keeps_one_image_a_layer():
    x = tf.random.normal((50, 16, 16, 2))
    one, five = (
        peak_of_live_bytes(compiled_step(layers, x)) / (4 * np.prod(x.shape)) for layers in (1, 5)
    )
    assert one < 2 * ops.exponential_terms(0.9, tf.float32)
    assert (five - one) / 4 < 2.5


def test_the_number_of_terms_is_fixed():
    assert ops.exponential_terms(0.9, tf.float32) < ops.exponential_terms(0.9, tf.float64) < 25
    assert ops.exponential_terms(0.9, tf.float64) < ops.exponential_terms(10.0, tf.float64) < 100

    @tf.function
    def function(x, kernel):
        vector = ops.conv2d_singular_vector(kernel, tf.zeros((1, *SHAPE)), 2)
        return ops.exponential_conv2d(x, kernel / ops.conv2d_norm(kernel, vector), 0.9)

    x, kernel = tf.zeros((2, *SHAPE)), tf.zeros((3, 3, 2, 2))
    types = {
        operation.type
        for operation in function.get_concrete_function(x, kernel).graph.get_operations()
    }
    assert not types & {"While", "StatelessWhile", "Assert", "If", "StatelessIf"}


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-14)])
@pytest.mark.parametrize("bound", [0.3, 0.9, 3.0, 10.0])
def test_the_series_is_exact_to_rounding_and_no_longer(bound, dtype, tolerance):
    """Term k of a shift alone stands in pixel k: `norm^k / k!`, at 1.5 times the bound."""
    norm, count = 1.5 * bound, ops.exponential_terms(bound, tf.as_dtype(dtype))
    width = 2 * count
    kernel, x = np.zeros((1, 3, 1, 1)), np.zeros((1, 1, width, 1))
    kernel[0, 0], x[:, :, 0] = norm, 1
    kernel, x = tf.constant(kernel, dtype), tf.constant(x, dtype)
    terms = np.cumprod([1.0, *(norm / k for k in range(1, width))])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(kernel)
        z = tf.reshape(ops.exponential_conv2d(x, kernel, bound), [-1])
        pixels = tf.unstack(z)
    np.testing.assert_allclose(z[:count], terms[:count], rtol=tolerance)
    # Rounding of the smallest `exp(T) x`.
    accuracy = np.finfo(dtype).eps / 2 * np.exp(-norm)
    assert terms[z.numpy() == 0].sum() <= accuracy
    assert terms[count - 1] > accuracy / 2
    for k in (1, count // 2, count - 1):
        slope = tape.gradient(pixels[k], kernel)[0, 0, 0, 0]
        np.testing.assert_allclose(slope, terms[k - 1], rtol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_norm_of_the_singular_vector(dtype):
    kernel = tf.constant(kernel_of_norm(3.0), dtype)
    vector = ops.conv2d_singular_vector(kernel, tf.zeros((1, *SHAPE), dtype), 200)
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        norm = ops.conv2d_norm(kernel, vector)
    np.testing.assert_allclose(norm, 3, rtol=1e-4)
    # The norm is homogeneous, of degree 1.
    np.testing.assert_allclose(tf.reduce_sum(tape.gradient(norm, kernel) * kernel), norm, rtol=1e-5)


def test_a_new_direction_is_found():
    """From a vector without any part in the channel whose kernel has grown."""
    first, second = np.zeros((2, 1, 1, 2, 2))
    first[0, 0, 0, 0], second[0, 0, 1, 1] = 1, 1
    vector = ops.conv2d_singular_vector(tf.constant(first), tf.zeros((1, *SHAPE), tf.float64), 20)
    for _ in range(5):
        vector = ops.conv2d_singular_vector(tf.constant(first + 2 * second), vector, 2)
    np.testing.assert_allclose(
        ops.conv2d_norm(tf.constant(first + 2 * second), vector), 2, rtol=1e-2
    )


def test_zero_kernels_do_no_harm():
    zero, kernel = tf.zeros((3, 3, 2, 2)), tf.constant(kernel_of_norm(1.0), tf.float32)
    vector = ops.conv2d_singular_vector(zero, tf.zeros((1, *SHAPE)), 20)
    np.testing.assert_array_equal(vector, tf.zeros((1, *SHAPE)))
    vector = ops.conv2d_singular_vector(kernel, vector, 200)
    np.testing.assert_allclose(ops.conv2d_norm(kernel, vector), 1, rtol=1e-3)
