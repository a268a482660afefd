"""What single layers promise beyond the common contract."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from snf_tf import layers, ops


def test_squeeze_order():
    x = np.random.randn(1, 4, 6, 3).astype("float32")
    z, _ = layers.Squeeze()(x)
    for c, dy, dx in np.ndindex(3, 2, 2):
        np.testing.assert_array_equal(z[0, 1, 2, 4 * c + 2 * dy + dx], x[0, 2 + dy, 4 + dx, c])


def test_initial_kernels():
    dense = layers.SelfNormalizingDense()
    dense.build((None, 200))
    noise = dense.kernel - np.eye(200)
    # Glorot normal: variance 2 / (fan in + fan out).
    np.testing.assert_allclose(np.std(noise), 0.01 * math.sqrt(2 / 400), rtol=0.02)
    np.testing.assert_array_equal(dense.inverse_kernel, np.transpose(dense.kernel))
    np.testing.assert_array_equal(dense.bias, np.zeros(200))
    conv = layers.SelfNormalizingConv2D(3, 5)
    conv.build((None, 8, 8, 4))
    np.testing.assert_allclose(conv.kernel[1, 1], np.eye(4), atol=0.02)
    np.testing.assert_array_equal(
        conv.inverse_kernel, ops.flip(ops.resize_kernel(tf.convert_to_tensor(conv.kernel), (5, 5)))
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: layers.SelfNormalizingDense(2.0), (5,)),
        (lambda: layers.SelfNormalizingConv2D(3, 5, 2.0), (4, 3, 2)),
    ],
)
def test_penalty(make, shape):
    layer = make()
    x = tf.random.normal((6, *shape), dtype=tf.float64)
    layer.build((None, *shape))
    layer.inverse_kernel.assign(np.random.randn(*layer.inverse_kernel.shape))
    layer.reconstruction_weight.assign(3.0)
    z, _ = layer(x, training=True)
    error = np.sum((layer.inverse(z, exact=False) - x) ** 2, axis=tuple(range(1, x.ndim)))
    np.testing.assert_allclose(layer.losses[0], 3 * np.mean(error), rtol=1e-12)
    layer(x)
    assert layer.losses == []
    assert layer.reconstruction_weight.path in [
        weight.path for weight in layer.non_trainable_weights
    ]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "layer_class", [layers.ExactDense, layers.SelfNormalizingDense, layers.RelativeGradientDense]
)
def test_exact_gradient_of_dense_layers(layer_class):
    layer = layer_class()
    layer.build((None, 5))
    layer.kernel.assign(np.random.randn(5, 5))
    x = np.random.randn(3, 5)
    weights = np.array([1.0, -2.0, 0.5])
    with tf.GradientTape() as tape:
        _, log_det = layer(x)
        loss = tf.reduce_sum(weights * log_det)
    gradient = tape.gradient(loss, layer.kernel.value)
    np.testing.assert_allclose(gradient, weights.sum() * np.linalg.inv(layer.kernel).T, rtol=1e-9)


def test_dequantize_noise_is_a_function_of_the_seed():
    x = np.random.randint(0, 256, (10, 5)).astype("uint8")
    layer = layers.Dequantize()
    z = layer(x, seed=4)[0]
    np.testing.assert_array_equal(tf.floor(z), x)
    np.testing.assert_array_equal(layer(x[3:6], seed=ops.row_seed(4, first_row=3))[0], z[3:6])
    assert np.max(np.abs(layer(x, seed=5)[0] - z)) > 0.1
    np.testing.assert_array_equal(layer(x)[0], layer(x, seed=0)[0])


@pytest.mark.parametrize("bad", [[[-1.0, 3.0]], [[256.0, 3.0]], [[0.5, 3.0]], [[np.nan, 3.0]]])
def test_dequantize_refuses_what_are_no_bins(bad):
    layer = layers.Dequantize()
    with pytest.raises(ValueError, match=r"integer values in 0\.\.255"):
        layer(tf.constant(bad))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"integer values in 0\.\.255"):
        tf.function(layer)(tf.constant(bad))


def test_dequantize_with_few_bins_checks_bytes():
    with pytest.raises(ValueError, match=r"0\.\.31.*between 0 and 32"):
        layers.Dequantize(bins=32).check_data(tf.constant([[0, 32]], tf.uint8))


def test_decoded_images_lie_in_their_range():
    layer = layers.Dequantize()
    layer.build((None, 2))
    x = layer.inverse(tf.constant([[-1.0, 300.0]]))
    assert x.numpy().tolist() == [[0.0, np.nextafter(np.float32(256), np.float32(0))]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.SelfNormalizingConv2D(4), "kernel_size must be an odd"),
        (lambda: layers.SelfNormalizingConv2D(3, 2), "inverse_kernel_size must be an odd"),
        (lambda: layers.ExactConv2D((3, 0)), "kernel_size must be an odd"),
        (lambda: layers.ExactConv2D((3, 3, 3)), "kernel_size must be an odd"),
        (lambda: layers.ExactConv2D("3"), "kernel_size must be an odd"),
        (lambda: layers.Dequantize(bins=0), "bins must be an integer of at least 1"),
        (lambda: layers.Scale(float("nan")), "scale must be a finite number"),
        (lambda: layers.SelfNormalizingDense(-1.0), "weight must be a number of at least 0"),
        (
            lambda: layers.SelfNormalizingDense(inverse_method="guessed"),
            "must be one of 'learned', 'projected'",
        ),
        (
            lambda: layers.SelfNormalizingDense(inverse_method=layers.LeastSquares()),
            "must be one of 'learned', 'projected'",
        ),
        (
            lambda: layers.SelfNormalizingDense(1.0, inverse_method="projected"),
            "give one of reconstruction_weight",
        ),
        (
            lambda: layers.SelfNormalizingConv2D(3, inverse_method="projected"),
            "must be one of 'learned', 'least_squares'",
        ),
        (
            lambda: layers.SelfNormalizingConv2D(5, 3, inverse_method="least_squares").build(
                (None, 8, 8, 1)
            ),
            "must be as large as the kernel",
        ),
        (lambda: layers.Projected(damping=0.0), "damping must be a number above 0"),
        (lambda: layers.NewtonSchulz(0.0), "tolerance must be a number above 0"),
        (lambda: layers.LeastSquares(check_every=0), "check_every must be an integer of"),
        (lambda: layers.LeakyReLU(0.0), "alpha must be a number above 0"),
        (lambda: layers.SmoothTanh(beta=-1.0), "beta must be a number above 0"),
        (lambda: layers.SplineActivation(bins=1), "bins must be an integer of at least 2"),
        (lambda: layers.SplineActivation(bound=0), "bound must be a number above 0"),
        (lambda: layers.Scale(0.0), "scale must be a finite number, and not 0"),
        (lambda: layers.Logit(0.5), "alpha must be a number of at least 0 and below 0.5"),
        (lambda: layers.Squeeze().build((None, 3, 4, 1)), "even height and width"),
        (lambda: layers.SelfNormalizingDense().build((None, 4, 4)), "put Flatten before it"),
        (lambda: layers.ExactConv2D(3).build((None, 4)), "takes images of shape"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.usefixtures("mixed_float16")
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.SelfNormalizingDense(dtype="mixed_float16"), (16,)),
        (layers.SelfNormalizingConv2D(3, dtype="mixed_float16"), (5, 4, 3)),
        (layers.SplineActivation(dtype="mixed_float16"), (4,)),
        (layers.SmoothLeakyReLU(dtype="mixed_float16"), (4,)),
    ],
)
def test_half_precision_keeps_log_dets_in_float32(layer, shape):
    x = tf.random.normal((3, *shape))
    z, log_det = layer(x, training=True)
    assert (z.dtype, log_det.dtype) == (tf.float16, tf.float32)
    z, log_det = layer(x)
    assert (z.dtype, log_det.dtype) == (tf.float32, tf.float32)
    np.testing.assert_allclose(layer.inverse(z), x, atol=1e-5)


def test_preprocessing_is_not_done_in_half_precision():
    flow_layers = [layers.Dequantize(), layers.Scale(), layers.Logit()]
    for layer in flow_layers:
        layer.dtype_policy = keras.DTypePolicy("mixed_float16")
    x = np.full((2, 3), 255, "uint8")
    for layer in flow_layers:
        x, _ = layer(x)
    assert x.dtype == tf.float32
    assert np.isfinite(x).all()


def test_dequantized_pixels_never_reach_the_next_integer():
    x = tf.fill((1000, 1000), 200.0)
    z, _ = layers.Dequantize()(x)
    np.testing.assert_array_equal(tf.floor(z), x)


def test_logit_keeps_its_digits_near_one():
    x = np.nextafter(np.ones(1, "float32"), np.zeros(1, "float32"))[None]
    single, double = (
        layers.Logit(dtype=dtype)(x.astype(dtype)) for dtype in ("float32", "float64")
    )
    np.testing.assert_allclose(single[0], double[0], rtol=1e-6)
    np.testing.assert_allclose(single[1], double[1], rtol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 2.0**15])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (layers.ExactDense, (64,)),
        (layers.SelfNormalizingDense, (64,)),
        (layers.RelativeGradientDense, (64,)),
        (lambda **options: layers.ExactConv2D(3, **options), (6, 6, 4)),
        (lambda **options: layers.SelfNormalizingConv2D(3, **options), (6, 6, 4)),
    ],
)
def test_half_precision_gradients_of_scaled_losses(make, shape, training, scale):
    """A scaled mean nll, unequal weights of the examples, and the penalty, in mixed_float16 against
    float64.
    """
    x = np.random.randn(64, *shape).astype("float16")
    weights = np.random.uniform(0, 2, 64)
    gradients = []
    for dtype in ("float64", "mixed_float16"):
        keras.utils.set_random_seed(0)
        layer = make(dtype=dtype, kernel_initializer=layers.NoisyIdentity(gain=0.0))
        layer.build((None, *shape))
        for weight in layer.trainable_weights:
            weight.assign(
                weight + 0.1 * np.random.RandomState(len(weight.shape)).randn(*weight.shape)
            )
        with tf.GradientTape() as tape:
            z, log_det = layer(
                x.astype("float64" if dtype == "float64" else "float16"), training=training
            )
            nll = (
                0.5 * tf.reduce_sum(tf.reshape(tf.cast(z, log_det.dtype), (64, -1)) ** 2, axis=1)
                - log_det
            )
            loss = scale * (tf.reduce_mean(weights * nll) + sum(layer.losses))
        gradients.append(tape.gradient(loss, [weight.value for weight in layer.trainable_weights]))
    for reference, half in zip(*gradients, strict=True):
        if reference is not None:
            assert np.linalg.norm(half.numpy() - reference.numpy()) < 1e-2 * np.linalg.norm(
                reference
            )
