"""Activations, splines and their inverses: in- and outside of their bounds, for large values."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from snf_tf import ops

VALUES = np.concatenate([np.linspace(-30, 30, 2001), [-1e4, 1e4, -1e-9, 1e-9, 0.0, -1.1, 1.1]])


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
@pytest.mark.parametrize("alpha", [1e-3, 0.01, 0.3, 1.0, 5.0])
def test_smooth_leaky_relu_inverse(alpha, dtype):
    z = tf.constant(VALUES, dtype)
    x = ops.smooth_leaky_relu_inverse(z, alpha)
    eps = np.finfo(dtype.as_numpy_dtype).eps
    np.testing.assert_allclose(ops.smooth_leaky_relu(x, alpha)[0], z, rtol=8 * eps, atol=8 * eps)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.1), (10.0, 0.01), (0.1, 2.0), (1.0, 1e-4)])
def test_smooth_tanh_inverse(alpha, beta, dtype):
    z = tf.constant(VALUES, dtype)
    x = ops.smooth_tanh_inverse(z, alpha, beta)
    eps = np.finfo(dtype.as_numpy_dtype).eps
    np.testing.assert_allclose(ops.smooth_tanh(x, alpha, beta)[0], z, rtol=8 * eps, atol=8 * eps)


def test_inverse_takes_a_handful_of_steps():
    # A step evaluates the function once; one more before and one after the loop.
    evaluations = []

    def function(x):
        evaluations.append(x)
        return 0.3 * x + 0.7 * tf.math.softplus(x), 0.3 + 0.7 * tf.sigmoid(x)

    z = tf.constant(VALUES)
    start = tf.where(z < 0, z / 0.3, z)
    x = ops.monotone_inverse(function, z, start, start - 3, start)
    assert len(evaluations) <= 8
    np.testing.assert_allclose(function(x)[0], z, rtol=1e-14, atol=1e-14)


def test_inverse_of_not_a_number_is_not_a_number():
    assert np.isnan(ops.smooth_leaky_relu_inverse(tf.constant([np.nan]), 0.3)[0])


def test_bisection_saves_newton_from_a_bad_start():
    def function(x):
        return tf.math.atan(x) + 1e-3 * x, 1 / (1 + x * x) + 1e-3

    z = tf.constant([1.2], tf.float64)
    x = ops.monotone_inverse(function, z, z * 0 - 90.0, z * 0 - 100.0, z * 0 + 200.0)
    np.testing.assert_allclose(function(x)[0], z, rtol=1e-14)


def test_log_slopes_are_those_of_autodiff():
    x = tf.constant(np.linspace(-5.05, 5, 201))
    for function in (
        lambda x: ops.leaky_relu(x, 0.2),
        lambda x: ops.smooth_leaky_relu(x, 0.2),
        lambda x: ops.smooth_tanh(x, 1.3, 0.2),
    ):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value, log_slope = function(x)
        np.testing.assert_allclose(
            log_slope, np.log(tape.gradient(value, x)), rtol=1e-9, atol=1e-12
        )


@pytest.fixture
def spline_parameters():
    random = np.random.RandomState(0)
    return [tf.constant(random.randn(3, 2, count)) for count in (5, 5, 4)]


def reference_spline(widths, heights, derivatives, bound):
    sizes = [2 * bound * (1e-3 + (1 - 5e-3) * tf.nn.softmax(u)) for u in (widths, heights)]
    slopes = 1e-3 + tf.math.softplus(derivatives + np.log(np.exp(1 - 1e-3) - 1))
    return tfp.bijectors.RationalQuadraticSpline(
        *sizes, slopes, range_min=tf.constant(-bound, tf.float64)
    )


@pytest.mark.parametrize("bound", [10.0, 2.0])
def test_spline_is_that_of_tfp(spline_parameters, bound):
    x = tf.constant(np.random.RandomState(1).uniform(-12, 12, (500, 3, 2)))
    value, log_slope = ops.rational_quadratic_spline(x, *spline_parameters, bound)
    reference = reference_spline(*spline_parameters, bound)
    np.testing.assert_allclose(value, reference.forward(x), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(
        log_slope, reference.forward_log_det_jacobian(x), rtol=1e-9, atol=1e-9
    )
    inverse = ops.rational_quadratic_spline_inverse(value, *spline_parameters, bound)
    np.testing.assert_allclose(inverse, x, rtol=1e-10, atol=1e-10)
    outside = np.abs(x) > bound
    assert outside.any()
    np.testing.assert_array_equal(value.numpy()[outside], x.numpy()[outside])
    np.testing.assert_array_equal(log_slope.numpy()[outside], 0)


def test_spline_gradients_are_those_of_tfp(spline_parameters):
    x = tf.constant(np.random.RandomState(1).uniform(-12, 12, (50, 3, 2)))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, *spline_parameters])
        value, log_slope = ops.rational_quadratic_spline(x, *spline_parameters, 10.0)
        loss = tf.reduce_sum(value**2) - tf.reduce_sum(log_slope)
        reference = reference_spline(*spline_parameters, 10.0)
        reference_loss = tf.reduce_sum(reference.forward(x) ** 2) - tf.reduce_sum(
            reference.forward_log_det_jacobian(x)
        )
    for actual, expected in zip(
        tape.gradient(loss, [x, *spline_parameters]),
        tape.gradient(reference_loss, [x, *spline_parameters]),
        strict=True,
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-8, atol=1e-9)


def test_zero_parameters_are_the_identity():
    x = tf.constant(np.linspace(-11, 11, 101)[:, None])
    value, log_slope = ops.rational_quadratic_spline(
        x, *(tf.zeros((1, count), tf.float64) for count in (5, 5, 4)), 10.0
    )
    np.testing.assert_allclose(value, x, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(log_slope, 0 * x, atol=1e-12)


@pytest.mark.parametrize("at", ["knots", "bounds"])
def test_spline_at_its_knots(spline_parameters, at):
    knots_x, knots_y, slopes = ops.spline_knots(*spline_parameters, 10.0)
    for k in range(1, 5) if at == "knots" else (0, 5):
        value, log_slope = ops.rational_quadratic_spline(knots_x[None, k], *spline_parameters, 10.0)
        np.testing.assert_allclose(value[0], knots_y[k], rtol=1e-12)
        np.testing.assert_allclose(log_slope[0], np.log(slopes[k]), atol=1e-12)


def test_gradient_of_the_inverse_spline(spline_parameters):
    """By the implicit function: f(g(z)) = z."""
    z = tf.constant(np.random.RandomState(1).uniform(-12, 12, (50, 3, 2)))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([z, *spline_parameters])
        x = ops.rational_quadratic_spline_inverse(z, *spline_parameters, 10.0)
    fixed = tf.constant(x.numpy())
    with tf.GradientTape(persistent=True) as forward:
        forward.watch([fixed, *spline_parameters])
        value, log_slope = ops.rational_quadratic_spline(fixed, *spline_parameters, 10.0)
        weighted = -tf.reduce_sum(value * tf.stop_gradient(tf.exp(-log_slope)))
    np.testing.assert_allclose(tape.gradient(x, z), tf.exp(-log_slope), rtol=1e-8)
    for parameter in spline_parameters:
        np.testing.assert_allclose(
            tape.gradient(x, parameter), forward.gradient(weighted, parameter), rtol=1e-7, atol=1e-9
        )


def spline_case(dtype, rows=7, bins=5, has_rows=False, event=(3, 2)):
    random = np.random.RandomState(2)
    x = random.uniform(-4, 4, (rows, *event))
    shape = (rows, *event) if has_rows else event
    parameters = [random.randn(*shape, count) for count in (bins, bins, bins - 1)]
    return tf.constant(x, dtype), [tf.constant(parameter, dtype) for parameter in parameters]


def with_gradients(function, x, parameters):
    """Returns the results of a spline function, and gradients of their sum with weights."""
    with tf.GradientTape() as tape:
        tape.watch([x, *parameters])
        results = tf.nest.flatten(function(x, *parameters, 3.0))
        weights = np.cos(np.arange(np.prod(x.shape[1:]))).reshape(x.shape[1:])
        loss = sum(tf.reduce_sum(tf.constant(weights, x.dtype) * result) for result in results)
    return results + tape.gradient(loss, [x, *parameters])


FUNCTIONS = [ops.rational_quadratic_spline, ops.rational_quadratic_spline_inverse]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_splines_with_parameters_for_every_row(function, dtype):
    x, parameters = spline_case(dtype, has_rows=True)
    results = with_gradients(function, x, parameters)
    by_row = [
        with_gradients(function, x[row : row + 1], [parameter[row] for parameter in parameters])
        for row in range(len(x))
    ]
    of_parameters = len(results) - 3
    for index, result in enumerate(results):
        join = tf.stack if index >= of_parameters else lambda rows: tf.concat(rows, axis=0)
        expected = join([row[index] for row in by_row])
        # XLA, which computes one of both alone, rounds otherwise.
        tolerance = 1e-10 if dtype == "float64" else 3e-5
        np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("has_rows", [False, True])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_float32_splines_are_those_of_float64(function, has_rows):
    expected = with_gradients(function, *spline_case("float64", 40, 16, has_rows))
    for value, reference in zip(
        with_gradients(function, *spline_case("float32", 40, 16, has_rows)), expected, strict=True
    ):
        assert value.dtype == tf.float32
        scale = np.abs(reference).max()
        np.testing.assert_allclose(value, reference, rtol=1e-3, atol=2e-4 * scale)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("has_rows", [False, True])
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.slow
def test_splines_under_xla(function, has_rows, dtype):
    x, parameters = spline_case(dtype, has_rows=has_rows)
    expected = with_gradients(function, x, parameters)
    tolerance = 1e-10 if dtype == "float64" else 1e-4
    for jit in (False, True):
        compiled = tf.function(lambda: with_gradients(function, x, parameters), jit_compile=jit)
        for value, reference in zip(compiled(), expected, strict=True):
            np.testing.assert_allclose(value, reference, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_second_gradients_of_splines(function, graph):
    """Against differences of first gradients."""
    x, parameters = spline_case("float64", rows=3)
    directions = [tf.constant(np.random.randn(*value.shape)) for value in (x, *parameters)]

    def first(step):
        moved, *others = (
            value + step * direction
            for value, direction in zip((x, *parameters), directions, strict=True)
        )
        gradients = with_gradients(function, moved, others)[-4:]
        return sum(tf.reduce_sum(tf.sin(gradient)) for gradient in gradients)

    def second():
        step = tf.zeros((), tf.float64)
        with tf.GradientTape() as tape:
            tape.watch(step)
            value = first(step)
        return tape.gradient(value, step)

    difference = (first(1e-6) - first(-1e-6)) / 2e-6
    actual = tf.function(second)() if graph else second()
    np.testing.assert_allclose(actual, difference, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_splines_of_extreme_values(function, dtype):
    largest = np.finfo(dtype).max
    x = np.array([3, -3, 3.5, -1e30, largest, -largest, np.inf, -np.inf, np.nan], dtype)[:, None]
    _, parameters = spline_case(dtype, event=(1,))
    results = with_gradients(function, tf.constant(x), parameters)
    np.testing.assert_array_equal(results[0], x)
    if function is ops.rational_quadratic_spline:
        np.testing.assert_array_equal(results[1][:-1], 0 * results[1][:-1])
        assert np.isnan(results[1][-1])
    # The parameters have no part in what lies outside.
    for gradient in with_gradients(function, tf.constant(x[:-3]), parameters)[-3:]:
        np.testing.assert_array_equal(gradient, 0 * gradient)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bound", [0.1, 3.0])
def test_knots_at_the_ends_are_exact(dtype, bound):
    _, parameters = spline_case(dtype, bins=16, has_rows=True)
    x, y, slopes = ops.spline_knots(*parameters, bound)
    assert x.shape == y.shape == slopes.shape == (17, 7, 3, 2)
    for knots in (x, y):
        np.testing.assert_array_equal(knots[0], np.full((7, 3, 2), -bound, dtype))
        np.testing.assert_array_equal(knots[-1], np.full((7, 3, 2), bound, dtype))
        assert (np.diff(knots, axis=0) > 0).all()
    for end in (slopes[0], slopes[-1]):
        np.testing.assert_array_equal(end, np.ones((7, 3, 2)))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_graphs_of_splines_do_not_grow_with_the_bins(function):
    counts = []
    for bins in (9, 30):
        x, parameters = spline_case("float32", bins=bins)
        graph = tf.function(lambda x, *p: with_gradients(function, x, p))
        definition = graph.get_concrete_function(x, *parameters).graph.as_graph_def()
        counts.append(
            len(definition.node) + sum(len(f.node_def) for f in definition.library.function)
        )
    assert counts[0] == counts[1] < 1200


@pytest.mark.parametrize("function", FUNCTIONS)
def test_splines_refuse_parameters_of_other_shapes(function):
    x, parameters = spline_case("float32", has_rows=True)
    with pytest.raises(ValueError, match=r"Received: a parameter of shape \(6, 3, 2, 5\)"):
        function(x, *(parameter[:6] for parameter in parameters), 3.0)
