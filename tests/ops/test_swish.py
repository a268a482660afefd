"""Swish: derivatives up to the third order, by those of TensorFlow."""

import numpy as np
import pytest
import tensorflow as tf

from snf_tf import ops


def derivatives(function, x, slope, weights):
    """Returns the value, and all derivatives of weighted sums up to the third order."""
    with tf.GradientTape(persistent=True) as third:
        third.watch([x, slope])
        with tf.GradientTape(persistent=True) as second:
            second.watch([x, slope])
            with tf.GradientTape(persistent=True) as first:
                first.watch([x, slope])
                y = function(x, slope)
            by_x, by_slope = (first.gradient(y, v, weights) for v in (x, slope))
        pairs = [(by_x, weights), (by_slope, None)]
        twice = [second.gradient(g, v, w) for g, w in pairs for v in (x, slope)]
    return [y, by_x, by_slope, *twice, *(third.gradient(g, v) for g in twice for v in (x, slope))]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("wrap", [lambda f: f, tf.function], ids=["eager", "graph"])
@pytest.mark.parametrize("slope", [0.0, 0.7, 3.0])
def test_derivatives(wrap, slope):
    x, weights = (tf.constant(np.random.randn(5, 3)) for _ in range(2))
    slope = tf.constant(slope, tf.float64)

    def plain(x, slope):
        return 0.9 * x * tf.sigmoid(slope * x)

    found = wrap(lambda: derivatives(lambda x, s: ops.swish(x, s, 0.9), x, slope, weights))()
    expected = wrap(lambda: derivatives(plain, x, slope, weights))()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)
