"""Fixed points of triangular functions, against the solution in order."""

import numpy as np
import pytest
import tensorflow as tf

from snf_tf import ops

# Hidden units see their own place, outputs do not.
COMPARE = (np.less_equal, np.less)


def problem(size, scale=1.0, seed=0):
    """x -> b + tanh(x A) B, A and B strictly triangular in a random order of the dimensions."""
    random = np.random.RandomState(seed)
    place = random.permutation(size)
    values = [random.randn(5, size), *(scale * random.randn(2, size, size))]
    return place, [tf.constant(value) for value in values]


def function(place, shift, a, b):
    seen, earlier = (tf.cast(compare(place[:, None], place), a.dtype) for compare in COMPARE)
    return lambda x: shift + tf.tanh(x @ (seen * a)) @ (earlier * b)


def in_order(place, values):
    shift, a, b = (value.numpy() for value in values)
    seen, earlier = (compare(place[:, None], place) for compare in COMPARE)
    x = np.zeros_like(shift)
    for d in np.argsort(place):
        x[:, d] = (shift + np.tanh(x @ (seen * a)) @ (earlier * b))[:, d]
    return x


@pytest.mark.parametrize("size", [1, 2, 8, 40])
def test_solution_in_order(size):
    place, values = problem(size)
    found = ops.triangular_fixed_point(function(place, *values), tf.zeros((5, size), tf.float64))
    np.testing.assert_allclose(found.value, in_order(place, values), rtol=1e-9, atol=1e-9)
    assert bool(found.converged)
    assert int(found.steps) <= size
    assert found.residual.shape == (5,)


def test_it_stops_when_nothing_changes():
    place, values = problem(40, scale=0.01)
    found = ops.triangular_fixed_point(function(place, *values), values[0])
    assert int(found.steps) < 12


def test_gradients_are_those_through_all_sweeps():
    size = 7
    place, values = problem(size)
    cotangent = tf.constant(np.random.randn(5, size))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(values)
        found = ops.triangular_fixed_point(
            function(place, *values), tf.zeros((5, size), tf.float64)
        )
        unrolled = tf.zeros((5, size), tf.float64)
        for _ in range(size):
            unrolled = function(place, *values)(unrolled)
        losses = [tf.reduce_sum(cotangent * x) for x in (found.value, unrolled)]
    for one, other in zip(*(tape.gradient(loss, values) for loss in losses), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("jit", [False, True])
def test_graphs(jit):
    place, values = problem(6)

    @tf.function(jit_compile=jit)
    def solve(*values):
        with tf.GradientTape() as tape:
            tape.watch(values)
            found = ops.triangular_fixed_point(function(place, *values), values[0])
        return found.value, found.converged, tape.gradient(found.value, values)

    x, converged, gradients = solve(*values)
    np.testing.assert_allclose(x, in_order(place, values), rtol=1e-9, atol=1e-9)
    assert bool(converged)
    with tf.GradientTape() as tape:
        tape.watch(values)
        found = ops.triangular_fixed_point(function(place, *values), values[0])
    for one, other in zip(gradients, tape.gradient(found.value, values), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_sweeps_survive_what_overflows_before_it_is_right():
    """The second dimension is infinite until the first one is right."""

    def overflows(x):
        first = tf.ones_like(x[:, :1])
        second = tf.exp(1e4 * (x[:, :1] - 1.0))
        third = 0.0 * x[:, :1] + second
        return tf.concat([first + 0.0 * x[:, 1:2], second, third], axis=1)

    found = ops.triangular_fixed_point(overflows, tf.fill((2, 3), 5.0))
    np.testing.assert_allclose(found.value, np.ones((2, 3)))
    assert bool(found.converged)


def test_what_is_not_triangular_does_not_converge():
    found = ops.triangular_fixed_point(lambda x: 1.0 - 2.0 * x[:, ::-1], tf.ones((2, 4)))
    assert not bool(found.converged)
    assert int(found.steps) == 4


def test_what_is_not_finite_does_not_converge():
    found = ops.triangular_fixed_point(lambda x: tf.zeros_like(x) + np.inf, tf.ones((2, 3)))
    assert not bool(found.converged)
