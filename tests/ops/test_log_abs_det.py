"""log|det| and its gradient against autodiff of slogdet; a singular matrix is told in words."""

import numpy as np
import pytest
import tensorflow as tf

from snf_tf import layers, ops


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_value_and_gradient(dtype):
    matrix = tf.constant(np.random.randn(5, 5), dtype)
    results = []
    for function in (ops.log_abs_det, lambda m: tf.linalg.slogdet(m)[1]):
        with tf.GradientTape() as tape:
            tape.watch(matrix)
            value = function(matrix)
        results.append((value, tape.gradient(value, matrix)))
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4 if dtype == tf.float32 else 1e-10)


@pytest.mark.parametrize("graph", [True, False])
def test_a_singular_kernel_in_a_loop_of_ones_own(graph):
    layer = layers.ExactDense()
    layer.build((None, 3))
    layer.kernel.assign(tf.zeros((3, 3)))

    def step(x):
        with tf.GradientTape() as tape:
            _, log_det = layer(x, training=True)
            loss = -tf.reduce_mean(log_det)
        return tape.gradient(loss, layer.trainable_variables)

    with pytest.raises(tf.errors.InvalidArgumentError, match="the kernel is singular"):
        (tf.function(step) if graph else step)(tf.ones((2, 3)))
