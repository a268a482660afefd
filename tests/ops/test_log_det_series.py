"""Estimators of log|det(I + J)| against the whole Jacobian."""

import numpy as np
import pytest
import tensorflow as tf

from snf_tf import ops

D, BATCH = 4, 3


def problem(radius=0.6, dtype=tf.float64):
    """A two-layer g with Jacobians of about a given spectral radius; x and its weights."""
    first, second = np.random.randn(2, D, D)
    x = np.random.randn(BATCH, D)

    def jacobians(scale):
        slopes = 1 - np.tanh(x @ first) ** 2
        return np.stack([(first * slope) @ (scale * second) for slope in slopes])

    largest = np.abs(np.linalg.eigvals(jacobians(1.0))).max()
    second *= radius / largest
    weights = [tf.Variable(first, dtype=dtype), tf.Variable(second, dtype=dtype)]
    return tf.constant(x, dtype), weights, jacobians(1.0).transpose(0, 2, 1)


def g(x, first, second):
    return tf.matmul(tf.tanh(tf.matmul(x, first)), second)


def exact(x, weights):
    with tf.GradientTape() as tape:
        value = ops.brute_force_log_det(lambda x: g(x, *weights), x)
    return value, tape.gradient(value, weights)


def basis(i, dtype=tf.float64):
    return tf.one_hot(tf.fill([BATCH], i), D, dtype=dtype)


def over_basis_probes(estimate, weights):
    """The expectation over the probe, by D unit vectors: value and gradient."""
    value, gradients = 0.0, [0.0] * len(weights)
    for i in range(D):
        with tf.GradientTape() as tape:
            found = estimate(basis(i))
        value += found
        pairs = zip(gradients, tape.gradient(found, weights), strict=True)
        gradients = [a + b for a, b in pairs]
    return value, gradients


def test_brute_force():
    x, weights, jacobians = problem()
    for size in (1, 2, 4):
        sub = [weight[:size, :size] for weight in weights]
        found = ops.brute_force_log_det(lambda x: g(x, *sub), x[:, :size])  # noqa: B023
        with tf.GradientTape() as tape:
            start = x[:, :size]
            tape.watch(start)
            y = g(start, *sub)
        expected = np.linalg.slogdet(np.eye(size) + tape.batch_jacobian(y, start).numpy())[1]
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(
        ops.brute_force_log_det(lambda x: g(x, *weights), x),
        np.linalg.slogdet(np.eye(D) + jacobians)[1],
        rtol=1e-12,
    )
    monotone = ops.brute_force_log_det(lambda x: g(x, *weights), x, terms=ops.MONOTONE)
    logs = [np.linalg.slogdet(np.eye(D) + sign * jacobians)[1] for sign in (-1, 1)]
    np.testing.assert_allclose(monotone, logs[0] - logs[1], rtol=1e-10)


@pytest.mark.parametrize("size", [5, 64, 130])
def test_brute_force_of_more_dimensions(size):
    matrix = 0.1 * np.random.randn(size, size) / np.sqrt(size)
    x = tf.constant(np.random.randn(2, size))
    variable = tf.Variable(matrix)
    with tf.GradientTape() as tape:
        found = ops.brute_force_log_det(lambda x: tf.matmul(x, variable), x)
    np.testing.assert_allclose(found, [np.linalg.slogdet(np.eye(size) + matrix)[1]] * 2, rtol=1e-10)
    gradient = tape.gradient(found, variable)
    np.testing.assert_allclose(gradient, 2 * np.linalg.inv(np.eye(size) + matrix).T, atol=1e-10)


@pytest.mark.parametrize("n", [1, 3, 5, 10])
@pytest.mark.parametrize("in_graph", [False, True])
def test_value_and_both_gradients(n, in_graph):
    """For given coefficients, against powers of the Jacobian and its derivatives."""
    x, weights, jacobians = problem()
    probe = tf.constant(np.random.randn(BATCH, D))
    coefficients = tf.constant(np.random.rand(n) + 1)

    def estimate(gradient):
        with tf.GradientTape() as tape:
            found = ops.series_log_det(lambda x: g(x, *weights), x, probe, coefficients, gradient)
        return found, tape.gradient(found, weights)

    run = tf.function(estimate) if in_graph else estimate
    powers = [np.linalg.matrix_power(jacobians, k) for k in range(n + 1)]
    expected = sum(
        (-1) ** (k + 1)
        / k
        * float(coefficients[k - 1])
        * np.einsum("bi,bij,bj->b", probe, p, probe)
        for k, p in enumerate(powers)
        if k
    )

    def by_autodiff(kind):
        """The same by whole Jacobians, whose derivatives autodiff knows."""
        with tf.GradientTape() as outer:
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = g(x, *weights)
            jacobian = tape.batch_jacobian(y, x)
            if kind == "neumann":
                factors = [1.0] + [(-1) ** k * float(c) for k, c in enumerate(coefficients, 1)]
                bracket = sum(f * p for f, p in zip(factors, powers, strict=True))
                found = tf.einsum("bi,bij,bjk,bk->", probe, bracket, jacobian, probe)
            else:
                power, found = jacobian, 0.0
                for k, c in enumerate(coefficients, 1):
                    terms = tf.einsum("bi,bij,bj->", probe, power, probe)
                    found += (-1) ** (k + 1) / k * c * terms
                    power = tf.matmul(jacobian, power)
        return outer.gradient(found, weights)

    for kind in ("neumann", "series"):
        value, gradients = run(kind)
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        for found, reference in zip(gradients, by_autodiff(kind), strict=True):
            np.testing.assert_allclose(found, reference, rtol=1e-9, atol=1e-12)


def test_neumann_at_n_terms_is_the_series_at_n_plus_1():
    x, weights, _ = problem(0.9)
    pairs = []
    for kind, n in (("neumann", 6), ("series", 7)):
        ones = tf.ones(n, tf.float64)
        pairs.append(
            over_basis_probes(
                lambda v, kind=kind, ones=ones: ops.series_log_det(
                    lambda x: g(x, *weights), x, v, ones, kind
                ),
                weights,
            )[1]
        )
    for one, other in zip(*pairs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("radius", [0.6, 0.9])
def test_the_sum_over_n_and_probes_is_exact(radius):
    """Roulette's expectation, by its probabilities, for Geometric(0.1): the sum ends at 600."""
    x, weights, _ = problem(radius)
    value, gradients = exact(x, weights)
    p, longest = 0.1, 500
    # The mean of the coefficients over N is 1 up to the longest, by P(N >= k) / P(N >= k).
    ends = p * (1 - p) ** np.arange(longest)
    ends[-1] += 1.0 - ends.sum()
    reached = ends[::-1].cumsum()[::-1]
    coefficients = tf.constant(reached / (1 - p) ** np.arange(longest))
    found = over_basis_probes(
        lambda v: ops.series_log_det(lambda x: g(x, *weights), x, v, coefficients), weights
    )
    np.testing.assert_allclose(found[0], value, rtol=1e-9, atol=1e-12)
    for one, other in zip(found[1], gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-11)


def test_linear_in_the_cotangents():
    x, weights, _ = problem()
    probe, ones = tf.constant(np.random.randn(BATCH, D)), tf.ones(5, tf.float64)
    factors = tf.constant([0.5, -2.0, 3.0], tf.float64)
    parts = []
    for i in range(BATCH):
        with tf.GradientTape() as tape:
            found = ops.series_log_det(
                lambda x: g(x, *weights), x[i : i + 1], probe[i : i + 1], ones
            )
        parts.append([factors[i] * d for d in tape.gradient(found, weights)])
    with tf.GradientTape() as tape:
        found = ops.series_log_det(lambda x: g(x, *weights), x, probe, ones)
    for whole, *single in zip(tape.gradient(found, weights, factors), *parts, strict=True):
        np.testing.assert_allclose(whole, sum(single), rtol=1e-10)


@pytest.mark.parametrize("factors", [[2.0, 2.0, 2.0], [1.0, -2.0, 0.5], [0.0, 0.0, 0.0]])
@pytest.mark.parametrize("in_graph", [False, True])
def test_early_gradients(factors, in_graph):
    x, weights, _ = problem()
    probe, ones = tf.constant(np.random.randn(BATCH, D)), tf.ones(5, tf.float64)

    def log_det(function, x):
        return ops.series_log_det(function, x, probe, ones)

    def gradients(early):
        with tf.GradientTape() as tape:
            tape.watch(x)
            if early:
                y, found = ops.early_gradients(g, x, weights, log_det)
            else:
                y, found = g(x, *weights), log_det(lambda x: g(x, *weights), x)
            loss = tf.reduce_sum(tf.constant(factors, tf.float64) * found) + tf.reduce_sum(y**2)
        return tape.gradient(loss, [x, *weights])

    run = tf.function(gradients) if in_graph else gradients
    for one, other in zip(run(True), run(False), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("error", [0.1, 0.5])
def test_with_an_approximate_inverse(error):
    """The gradient of log|det J| for any f, by an inverse with |E| as given."""
    x, _, _ = problem()
    matrix = tf.Variable(np.eye(D) + 0.3 * np.random.randn(D, D))
    noise = np.random.randn(D, D)
    inverse = tf.constant(np.linalg.inv(matrix) + 0.0)
    inverse += error * tf.matmul(inverse, noise / np.linalg.norm(noise, 2))
    ones = tf.ones(200, tf.float64)
    value, (gradient,) = over_basis_probes(
        lambda v: ops.series_log_det(
            lambda x: tf.matmul(x, matrix), x, v, ones, inverse=lambda z: tf.matmul(z, inverse)
        ),
        [matrix],
    )
    np.testing.assert_allclose(
        value, [np.linalg.slogdet(matrix.numpy() @ inverse.numpy())[1]] * BATCH, rtol=1e-8
    )
    np.testing.assert_allclose(gradient, BATCH * np.linalg.inv(matrix).T, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("terms", [ops.RESIDUAL, ops.MONOTONE])
def test_krylov_is_exact_in_the_whole_space(terms):
    x, weights, _ = problem(0.9)
    with tf.GradientTape() as tape:
        value = ops.brute_force_log_det(lambda x: g(x, *weights), x, terms=terms)
    expected = tape.gradient(value, weights)
    found, gradients = over_basis_probes(
        lambda v: ops.krylov_log_det(lambda x: g(x, *weights), x, v, D, terms=terms).value, weights
    )
    np.testing.assert_allclose(found, value, rtol=1e-9)
    for one, other in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-10)


def test_krylov_says_its_residual():
    x, weights, jacobians = problem(0.9)
    probe = np.random.randn(BATCH, D)
    for m in range(1, D + 3):
        found = ops.krylov_log_det(lambda x: g(x, *weights), x, tf.constant(probe), m)
        for i in range(BATCH):
            powers = [probe[i]]
            for _ in range(min(m, D) - 1):
                powers.append(jacobians[i].T @ powers[-1])
            images = [v + jacobians[i].T @ v for v in powers]
            solution = np.linalg.lstsq(np.stack(images, 1), probe[i], rcond=None)[0]
            rest = probe[i] - np.stack(images, 1) @ solution
            size = np.linalg.norm(rest) / np.linalg.norm(probe[i])
            assert float(found.residual[i]) == pytest.approx(size, rel=1e-6, abs=1e-9)


def test_float32_agrees_with_float64():
    np.random.seed(3)
    x, weights, _ = problem(0.8)
    probe = np.random.choice([-1.0, 1.0], (BATCH, D))
    for estimate in (
        lambda x, w, v: ops.series_log_det(lambda x: g(x, *w), x, v, tf.ones(20, x.dtype)),
        lambda x, w, v: ops.krylov_log_det(lambda x: g(x, *w), x, v, 3).value,
    ):
        wide = estimate(x, weights, tf.constant(probe))
        narrow = [tf.cast(weight, tf.float32) for weight in weights]
        found = estimate(tf.cast(x, tf.float32), narrow, tf.constant(probe, tf.float32))
        np.testing.assert_allclose(found, wide, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: ops.series_log_det(tf.identity, x, x, [1.0], "other"), "neumann"),
        (lambda x: ops.series_log_det(tf.identity, x, x, tf.ones((0,))), "n >= 1"),
        (lambda x: ops.series_log_det(lambda x: x[:, :1], x, x, [1.0]), "keep the shape"),
        (lambda x: ops.series_log_det(tf.identity, x, x, [1.0], "series", tf.identity), "inverse"),
        (lambda x: ops.krylov_log_det(tf.identity, x, x, 0), "products"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(ValueError, match=message):
        call(tf.ones((2, 3)))


@pytest.mark.usefixtures("float64")
def test_lanczos_of_a_map_far_from_the_identity():
    """As many steps as dimensions: the sum over basis probes is exact; fewer are close."""
    random = np.random.RandomState(0)
    first, second = random.randn(6, 6), random.randn(6, 6)

    def f(x):
        return tf.matmul(tf.matmul(x, first) + 0.5 * tf.sin(x), second)

    x = tf.constant(random.randn(1, 6))
    with tf.GradientTape() as tape:
        tape.watch(x)
        z = f(x)
    expected = np.linalg.slogdet(tape.batch_jacobian(z, x)[0])[1]

    def total(steps):
        probes = [tf.constant(unit[None]) for unit in np.eye(6)]
        return sum(float(ops.lanczos_log_det(f, x, probe, steps)[0]) for probe in probes)

    assert abs(total(6) - expected) < 1e-9
    assert 1e-6 < abs(total(5) - expected) < 2.0
