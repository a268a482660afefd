"""The convolution exponential, against the exponential of its matrix."""

import keras
import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf

from snf_tf import Flow, layers, ops
from snf_tf.training import make_strategy
from tests.conftest import with_policy
from tests.layers.test_glow_layers import built, matrix_of

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize(("scale", "bound"), [(0.05, 0.9), (1.0, 0.9), (1.0, 10.0)])
def test_exponential_is_that_of_the_matrix(scale, bound):
    shape = (4, 5, 2)
    layer = built(layers.ConvolutionExponential(3, bound=bound), shape, scale)
    kernel = layer.scaled_kernel()
    matrix = np.array(ops.conv2d_matrix(kernel, shape))
    actual = matrix_of(lambda x: layer(x)[0] - layer.bias, shape)
    np.testing.assert_allclose(
        actual, scipy.linalg.expm(matrix), rtol=1e-10, atol=1e-12 * np.abs(actual).max()
    )
    norm = np.linalg.norm(np.array(ops.conv2d_matrix(tf.convert_to_tensor(layer.kernel), shape)), 2)
    assert np.linalg.norm(matrix, 2) < 1.02 * bound
    if norm < bound:
        np.testing.assert_array_equal(kernel, layer.kernel)


def test_the_singular_vector_of_an_exponential_follows_its_kernel():
    layer = built(layers.ConvolutionExponential(3), (4, 5, 2))
    x, norms = np.random.randn(2, 4, 5, 2), []
    for _ in range(20):
        matrix = ops.conv2d_matrix(layer.scaled_kernel(training=True), layer.event_shape)
        norms.append(np.linalg.norm(np.array(matrix), 2))
    assert norms[0] < 1.5 * layer.bound
    np.testing.assert_allclose(norms[-1], layer.bound, rtol=5e-3)
    before = layer.get_weights()
    z, _ = layer(x)
    np.testing.assert_allclose(layer.inverse(z), x, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(layer(x)[0], z)
    for weight, expected in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)
    layer(x, training=True)
    assert np.abs(layer.singular_vector - before[-1]).max() > 0


def test_an_exponential_reads_weights_without_a_singular_vector():
    layer = built(layers.ConvolutionExponential(3), (4, 4, 2))
    kernel, bias = np.random.randn(3, 3, 2, 2), np.random.randn(2)
    layer.load_own_variables({"0": kernel, "1": bias})
    np.testing.assert_array_equal(layer.kernel, kernel)
    np.testing.assert_array_equal(layer.bias, bias)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-8)])
def test_an_exponential_on_two_devices_as_on_one(dtype, tolerance):
    with_policy(dtype)
    x = np.random.RandomState(0).randn(200, 4, 4, 2).astype(dtype)
    ends = []
    for devices in (["CPU:0"], ["CPU:0", "CPU:1"]):
        with make_strategy(devices).scope():
            layer = layers.ConvolutionExponential(
                3, bound=0.1, kernel_initializer=keras.initializers.RandomNormal(0, 0.5, seed=0)
            )
            flow = Flow([layer, layers.Flatten()], event_shape=(4, 4, 2))
            flow.compile(keras.optimizers.SGD(0.1))
        flow.fit(tf.data.Dataset.from_tensor_slices(x).batch(10), verbose=0)
        ends.append(flow.get_weights())
        assert np.abs(np.array(layer.bias)).max() > 0
        if len(devices) == 2:
            one, two = layer.singular_vector.value.values
            np.testing.assert_array_equal(one, two)
            np.testing.assert_allclose(np.linalg.norm(one), 1, rtol=1e-5)
    for one, two in zip(*ends, strict=True):
        np.testing.assert_allclose(two, one, rtol=tolerance, atol=tolerance)


def test_exponential_of_a_zero_kernel_has_a_gradient():
    layer = layers.ConvolutionExponential(3, kernel_initializer="zeros")
    x = np.random.randn(2, 4, 4, 1)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.sin(layer(x)[0]))
    assert np.isfinite(tape.gradient(loss, layer.kernel.value)).all()


def test_rows_of_an_exponential_do_not_meet():
    layer = built(layers.ConvolutionExponential(3), (4, 4, 2))
    x = np.random.randn(3, 4, 4, 2)
    expected = layer(x)[0][1:]
    for bad in (np.nan, np.inf, 1e8):
        x[0, 0, 0, 0] = bad
        np.testing.assert_allclose(layer(x)[0][1:], expected, rtol=1e-12, atol=1e-14)
