"""Fixed points, and the inverse of x + g(x)."""

import numpy as np
import pytest
import tensorflow as tf

from snf_tf import ops


def contraction(size, lipschitz, dtype=tf.float64):
    matrix = np.random.randn(size, size)
    return tf.constant(lipschitz * matrix / np.linalg.norm(matrix, 2), dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(tf.float32, 2e-5), (tf.float64, 1e-12)])
@pytest.mark.parametrize("lipschitz", [0.5, 0.98])
def test_the_inverse_to_rounding(dtype, tolerance, lipschitz):
    matrix = contraction(20, lipschitz, dtype)
    x = tf.constant(3 * np.random.randn(50, 20), dtype)
    z = x + tf.matmul(tf.tanh(x), matrix)
    found = ops.residual_inverse(lambda x, m: tf.matmul(tf.tanh(x), m), z, [matrix], lipschitz)
    assert bool(found.converged)
    np.testing.assert_allclose(found.value, x, atol=tolerance)


def test_the_error_is_bounded():
    matrix = contraction(10, 0.9)
    x = tf.constant(np.random.randn(30, 10))
    z = x + tf.matmul(x, matrix)
    for tolerance in (1e-2, 1e-4, 1e-6):
        found = ops.fixed_point(lambda x: z - tf.matmul(x, matrix), z, 0.9, tolerance)
        assert np.linalg.norm(found.value - x, axis=1).max() <= tolerance
        assert (found.error <= tolerance).numpy().all()


def test_acceleration_saves_steps():
    """J symmetric: plain iteration takes many times as many steps."""
    matrix = contraction(50, 1.0)
    matrix = 0.5 * (matrix + tf.transpose(matrix))
    matrix *= 0.95 / tf.reduce_max(tf.abs(tf.linalg.eigvalsh(matrix)))
    z = tf.constant(np.random.randn(20, 50))
    found = ops.fixed_point(lambda x: z - tf.matmul(x, matrix), z, 0.95, 1e-6)
    x, steps = z, 0
    while np.linalg.norm(z - tf.matmul(x, matrix) - x, axis=1).max() * 0.95 / 0.05 > 1e-6:
        x, steps = z - tf.matmul(x, matrix), steps + 1
    assert int(found.steps) < 0.3 * steps


def test_acceleration_does_not_leap():
    """A contraction that is far from linear: without safeguards some points go to 1e12."""
    random = np.random.RandomState(0)
    forth = random.randn(2, 64)
    forth /= np.linalg.norm(forth, 2)
    back = tf.constant(0.95 / 3 * np.linalg.pinv(forth), tf.float32)
    forth = tf.constant(3 * forth, tf.float32)
    z = tf.constant(4 * random.randn(1000, 2), tf.float32)
    found = ops.fixed_point(lambda x: z + tf.matmul(tf.sin(tf.matmul(x, forth)), back), z, 0.95)
    assert bool(found.converged)
    assert int(found.steps) < 60


def test_examples_do_not_touch_each_other():
    matrix = contraction(8, 0.9)
    z = tf.constant(np.random.randn(5, 8) * np.array([[1e-3], [1.0], [10.0], [0.0], [100.0]]))
    whole = ops.fixed_point(lambda x: z - tf.matmul(tf.sin(x), matrix), z, 0.9).value
    for i in range(5):
        row = z[i : i + 1]
        single = ops.fixed_point(lambda x, row=row: row - tf.matmul(tf.sin(x), matrix), row, 0.9)
        np.testing.assert_allclose(whole[i : i + 1], single.value, rtol=1e-13, atol=1e-15)


def test_no_convergence_is_told():
    z = tf.ones((2, 3), tf.float64)
    # No contraction: 1 = 2 x has a solution, but iteration diverges; 1 + x = x has none.
    found = ops.fixed_point(lambda x: x + 1.0, z, 0.9, max_steps=50)
    assert not bool(found.converged)
    assert int(found.steps) == 50
    # In float32 the steps leap so far that their residual is below the rounding errors of x.
    narrow = tf.fill((2, 3), tf.constant(2.0**0.5))
    far = ops.fixed_point(lambda x: x + narrow, narrow, 0.9)
    assert not bool(far.converged)
    lost = ops.fixed_point(lambda x: x * np.nan, z, 0.9)
    assert not bool(lost.converged)
    assert int(lost.steps) < 5


def test_slow_examples_fall_back_to_damping():
    """A rotation by almost 180 degrees, not contractive: damping alone converges."""
    matrix = tf.constant([[-1.02, 0.1], [-0.1, -1.02]], tf.float64)
    z = tf.constant(np.random.randn(4, 2))
    found = ops.fixed_point(lambda x: z + tf.matmul(x, matrix), z, 0.9, 1e-8, max_steps=3000)
    assert bool(found.converged)


def test_gradients_of_every_order():
    matrix = contraction(3, 0.6)
    z = tf.constant(np.random.randn(2, 3))

    def inverse(z, matrix):
        g = lambda x, m: tf.matmul(tf.tanh(x), m)  # noqa: E731
        return ops.residual_inverse(g, z, [matrix], 0.6).value

    with tf.GradientTape(persistent=True) as outer:
        outer.watch([z, matrix])
        with tf.GradientTape() as tape:
            tape.watch([z, matrix])
            loss = tf.reduce_sum(inverse(z, matrix) ** 3)
        first = tape.gradient(loss, [z, matrix])
        second = tf.reduce_sum(first[0] ** 2)
    step = 1e-5
    for values, gradient in ((z, first[0]), (matrix, first[1])):
        direction = np.random.randn(*values.shape)
        arguments = lambda s: (  # noqa: E731
            (z + s * direction, matrix) if values is z else (z, matrix + s * direction)  # noqa: B023
        )
        ends = [float(tf.reduce_sum(inverse(*arguments(s)) ** 3)) for s in (step, -step)]
        slope = (ends[0] - ends[1]) / (2 * step)
        assert float(tf.reduce_sum(gradient * direction)) == pytest.approx(slope, rel=1e-6)

    def gradient_size(matrix):
        with tf.GradientTape() as tape:
            tape.watch(z)
            loss = tf.reduce_sum(inverse(z, matrix) ** 3)
        return float(tf.reduce_sum(tape.gradient(loss, z) ** 2))

    direction = np.random.randn(3, 3)
    ends = [gradient_size(matrix + s * direction) for s in (step, -step)]
    found = tf.reduce_sum(outer.gradient(second, matrix) * direction)
    assert float(found) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5)


def test_bad_constants():
    with pytest.raises(ValueError, match="lipschitz must be a number of at least 0 and below 1"):
        ops.fixed_point(tf.identity, tf.ones((1, 1)), 1.0)
