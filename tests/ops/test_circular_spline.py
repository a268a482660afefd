"""Splines with parameters for every element, and circular ones, against plain numpy."""

import numpy as np
import pytest
import tensorflow as tf

from snf_tf import ops
from tests.ops.reference_spline import splines

FUNCTIONS = {
    3: (ops.rational_quadratic_spline, ops.rational_quadratic_spline_inverse),
    4: (ops.circular_spline, ops.circular_spline_inverse),
}


def parameters(derivatives, shape=(40, 3), scale=2.0, dtype="float64"):
    random = np.random.RandomState(0)
    return [tf.constant(scale * random.randn(*shape, n), dtype) for n in (4, 4, derivatives)]


@pytest.mark.parametrize("derivatives", FUNCTIONS)
def test_values_are_those_of_numpy(derivatives):
    x, given = np.random.uniform(-9, 9, (40, 3)), parameters(derivatives)
    forward, inverse = FUNCTIONS[derivatives]
    z, log_slope = forward(tf.constant(x), *given, 2.5)
    expected = splines(x, *map(np.array, given), 2.5)
    np.testing.assert_allclose(z, expected[0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(log_slope, expected[1], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(inverse(z, *given, 2.5), x, rtol=1e-9, atol=1e-9)


def test_circular_splines_are_smooth_across_the_end():
    given = parameters(4, (3,))
    end, step = np.pi, 1e-8
    at = np.array([-end, end, end - step, end + step])[:, None] + np.zeros(3)
    z, log_slope = ops.circular_spline(tf.constant(at), *given, end)
    np.testing.assert_allclose(z[:2], at[:2], rtol=1e-12)
    np.testing.assert_allclose(log_slope, log_slope[:1] + 0 * log_slope, atol=1e-5)
    assert np.abs(log_slope).min() > 0.01
    slope = np.exp(log_slope[0])
    np.testing.assert_allclose((z[3] - z[2]) / (2 * step), slope, rtol=1e-5)
    np.testing.assert_allclose((z[1] - z[2]) / step, slope, rtol=1e-5)


@pytest.mark.parametrize("derivatives", FUNCTIONS)
def test_gradients_are_finite_at_knots_and_far_outside(derivatives):
    given = parameters(derivatives, (3,), dtype="float32")
    forward, inverse = FUNCTIONS[derivatives]
    knots = np.zeros((0, 3))
    if derivatives == 3:
        knots = np.concatenate(ops.spline_knots(*given, 2.5)[:2])
    x = np.concatenate([knots, np.outer([-1e6, -2.5, 0, 2.5, 1e6], np.ones(3))]).astype("float32")
    for function in (forward, inverse):
        with tf.GradientTape() as tape:
            tape.watch(watched := [tf.constant(x), *given])
            results = tf.nest.flatten(function(*watched, 2.5))
        for value in results + tape.gradient(results, watched):
            assert np.isfinite(value).all()


@pytest.mark.parametrize("derivatives", FUNCTIONS)
def test_float32_round_trips(derivatives):
    x = np.concatenate([np.linspace(-6, 6, 300), [-1e4, 1e4, 7777.7]]).astype("float32")[:, None]
    given = parameters(derivatives, (1,), 1.0, "float32")
    forward, inverse = FUNCTIONS[derivatives]
    back = inverse(forward(tf.constant(x), *given, 2.5)[0], *given, 2.5)
    np.testing.assert_array_less(np.abs(back - x), 1e-5 * np.maximum(1, np.abs(x)))


def test_circular_splines_of_no_number():
    x = tf.constant([[np.nan], [np.inf], [-np.inf]])
    z, log_slope = ops.circular_spline(x, *(tf.ones((1, 4)),) * 3, 1.0)
    assert np.isnan(z).all()
    assert np.isnan(log_slope).all()


@pytest.mark.parametrize("function", [f for pair in FUNCTIONS.values() for f in pair])
def test_other_numbers_of_derivatives_are_refused(function):
    given = parameters(5, (1,))
    with pytest.raises(ValueError, match="Received: 5 derivatives"):
        function(tf.zeros((2, 1), tf.float64), *given, 1.0)
