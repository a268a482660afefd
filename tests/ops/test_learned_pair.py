"""The gradient of a general pair: exact in expectation, its bias without a correction, halves."""

import numpy as np
import pytest
import tensorflow as tf

from snf_tf import ops

D = 8
pytestmark = pytest.mark.usefixtures("float64")


def network(x, a, b, c, e):
    """x + tanh(x a + b) c, and a linear map, so that the Jacobian is far from the identity."""
    return tf.matmul(x + tf.matmul(tf.tanh(tf.matmul(x, a) + b), c), e)


def make_values():
    r = np.random.RandomState(1)
    e = np.linalg.qr(r.randn(D, D))[0] @ np.diag(np.linspace(0.5, 1.5, D))
    return [tf.constant(v) for v in (0.4 * r.randn(D, 6), 0.3 * r.randn(6), 0.4 * r.randn(6, D), e)]


def inverse_of(values, x, size):
    """A g whose Jacobian at f(x) is off by E of a given norm, on average over x."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        z = network(x, *values)
    jacobian = tape.batch_jacobian(z, x).numpy()
    noise = np.random.RandomState(2).randn(D, D)
    off = np.eye(D) - size * noise / np.linalg.norm(noise, 2)
    # Row vectors: G^T on the right. One example, so that G J = off exactly.
    return tf.constant((off @ np.linalg.inv(jacobian[0])).T), off


def exact_gradients(values, x):
    with tf.GradientTape() as tape:
        tape.watch(values)
        with tf.GradientTape() as inner:
            inner.watch(x)
            z = network(x, *values)
        log_det = tf.linalg.slogdet(inner.batch_jacobian(z, x))[1]
    return tape.gradient(log_det, values)


def expected_gradients(values, x, matrix, estimate):
    """Sums the gradients of log_det over basis probes."""
    total = [tf.zeros_like(value) for value in values]
    for unit in np.eye(D):
        probe = tf.constant(unit[None])
        with tf.GradientTape() as tape:
            tape.watch(values)
            found = ops.learned_pair(
                network,
                tf.matmul,
                x,
                values,
                [matrix],
                lambda f, x, g, probe=probe: estimate(f, x, g, probe),
            )
        gradients = tape.gradient(found.log_det, values, unconnected_gradients="zero")
        total = [a + b for a, b in zip(total, gradients, strict=True)]
    return total


def relative(found, expected):
    off = sum(float(tf.reduce_sum((a - b) ** 2)) for a, b in zip(found, expected, strict=True))
    return (off / sum(float(tf.reduce_sum(b**2)) for b in expected)) ** 0.5


@pytest.mark.parametrize("size", [0.1, 0.5, 0.9])
def test_the_series_is_exact_in_expectation(size):
    """Sums over N of roulette have the coefficients 1 for every power."""
    values, x = make_values(), tf.constant(np.random.RandomState(3).randn(1, D))
    matrix, off = inverse_of(values, x, size)
    radius = np.abs(np.linalg.eigvals(np.eye(D) - off)).max()
    exact = exact_gradients(values, x)
    weights = ops.series_weights(tf.ones(int(-25 / np.log10(radius)), tf.float64))

    def series(f, x, g, probe):
        return ops.power_series(f, x, probe, *weights, inverse=g)

    def krylov(f, x, g, probe):
        return ops.krylov_log_det(f, x, probe, D, inverse=g).value

    def paper(f, x, g, probe):
        return ops.inverse_log_det(f, x, g, probe, tf.float64)

    assert relative(expected_gradients(values, x, matrix, series), exact) < 1e-9
    assert relative(expected_gradients(values, x, matrix, krylov), exact) < 1e-9
    bias = relative(expected_gradients(values, x, matrix, paper), exact)
    assert 0.1 * size < bias < 3 * size


def test_linear_maps_have_the_gradients_of_the_dense_layer():
    """Halves of both kernels, the error, and x, in expectation over basis probes."""
    r = np.random.RandomState(0)
    kernel, other, x, dz = (tf.constant(r.randn(*s)) for s in ((4, 4), (4, 4), (3, 4), (3, 4)))
    dl, de = tf.constant(r.randn(3)), tf.constant(r.randn(3))
    zeros = tf.zeros(4, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch([x, kernel, other])
        outputs = ops.self_normalizing_matmul(x, kernel, other, zeros)
    cotangents = [dz, dl, de]
    expected = tape.gradient(list(outputs), [x, kernel, other], cotangents)
    total = 0.0
    for unit in np.eye(4):
        probe = tf.constant(np.tile(unit, (3, 1)))
        with tf.GradientTape() as tape:
            tape.watch([x, kernel, other])
            pair = ops.learned_pair(
                tf.matmul,
                tf.matmul,
                x,
                [kernel],
                [other],
                lambda f, x, g, probe=probe: ops.inverse_log_det(f, x, g, probe, x.dtype),
                probe,
            )
        # Of the four probes only log_det differs.
        found = tape.gradient(list(pair), [x, kernel, other], [dz / 4, dl, de / 4])
        total = [a + b for a, b in zip(total or [0.0] * 3, found, strict=True)]
    np.testing.assert_allclose(pair.z, outputs[0])
    np.testing.assert_allclose(pair.error, outputs[2])
    for one, reference in zip(total, expected, strict=True):
        np.testing.assert_allclose(one, reference, rtol=1e-10, atol=1e-12)


def test_the_identity_as_inverse_is_a_residual_block():
    """Sample by sample, the gradient of Residual Flows' Theorem 2."""
    r = np.random.RandomState(0)
    a, x = tf.constant(0.3 * r.randn(5, 5)), tf.constant(r.randn(6, 5))
    probe = tf.constant(r.choice([-1.0, 1.0], (6, 5)))
    coefficients = tf.constant([1.0, 1.0, 1.0, 2.0], tf.float64)

    def residual(x, a):
        return tf.tanh(tf.matmul(x, a))

    def log_det(f, x, g):
        return ops.power_series(f, x, probe, *ops.series_weights(coefficients), inverse=g)

    with tf.GradientTape(persistent=True) as tape:
        tape.watch([a, x])
        pair = ops.learned_pair(lambda x, a: x + residual(x, a), tf.identity, x, [a], [], log_det)
        neumann = ops.series_log_det(lambda x: residual(x, a), x, probe, coefficients)
    for value in (a, x):
        found, expected = (tape.gradient(y, value) for y in (pair.log_det, neumann))
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)


def test_the_jacobian_error():
    """|G J v - v|^2, and its gradient to G."""
    r = np.random.RandomState(0)
    kernel, other, x, v = (tf.constant(r.randn(*s)) for s in ((4, 4), (4, 4), (3, 4), (3, 4)))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([kernel, other])
        found = ops.jacobian_error(
            lambda x: tf.sinh(tf.matmul(x, kernel)),
            x,
            lambda z: tf.matmul(tf.asinh(z), other),
            v,
            tf.float64,
        )
        back = tf.matmul(tf.matmul(v, tf.stop_gradient(kernel)), other)
        expected = tf.reduce_sum((back - v) ** 2, axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(
        tape.gradient(found, other), tape.gradient(expected, other), rtol=1e-9
    )
    assert tape.gradient(found, kernel) is None
