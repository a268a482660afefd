"""The layers of Glow and of the convolutions that SNF compares with, against independent formulas,
in float64.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from snf_tf import Flow, layers

pytestmark = pytest.mark.usefixtures("float64")


def built(layer, shape, scale=1.0):
    if not layer.built:
        layer.build((None, *shape))
    for weight in layer.trainable_weights:
        weight.assign(scale * np.random.randn(*weight.shape))
    return layer


def matrix_of(function, shape):
    """The matrix of a linear function of images, on row vectors."""
    size = int(np.prod(shape))
    return np.reshape(
        function(tf.reshape(tf.eye(size, dtype=tf.float64), (size, *shape))), (size, size)
    )


def test_act_norm_is_initialized_by_data():
    layer = layers.ActNorm()
    layer.build((None, 5, 4, 3))
    x = 7 + np.random.randn(8, 5, 4, 3) * [1, 10, 0.1]
    with pytest.raises(ValueError, match="must be initialized first"):
        layer(x)
    with pytest.raises(ValueError, match="must be initialized first"):
        layer.inverse(x)
    with pytest.raises(ValueError, match="must be initialized first"):
        tf.function(layer)(x)
    with pytest.raises(ValueError, match=r"two examples or more, .*Received: x of shape \(1,"):
        layer.initialize(x[:1])
    with pytest.raises(ValueError, match=r"same value everywhere.*channels \[1\] have"):
        layer.initialize(x * [1, 0, 1])
    layer.initialize(x)
    z, log_det = layer(x)
    np.testing.assert_allclose(np.mean(z, (0, 1, 2)), np.zeros(3), atol=1e-12)
    np.testing.assert_allclose(np.var(z, (0, 1, 2)), np.ones(3), rtol=1e-12)
    np.testing.assert_allclose(
        log_det, np.full(8, -20 * np.log(x.std((0, 1, 2))).sum()), rtol=1e-12
    )


def test_plu_is_the_product_of_its_factors():
    plain, plu = layers.InvertibleConv1x1(), layers.InvertibleConv1x1("plu")
    initial = np.random.randn(1, 1, 5, 5)
    for layer in (plain, plu):
        layer.kernel_initializer = lambda shape, dtype: tf.constant(initial, dtype)
        layer.build((None, 3, 4, 5))
    np.testing.assert_allclose(plu.kernel, initial, rtol=1e-12, atol=1e-12)
    x = np.random.randn(2, 3, 4, 5)
    for value, reference in zip(plu(x), plain(x), strict=True):
        np.testing.assert_allclose(value, reference, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(plain(x)[0], x @ initial[0, 0], rtol=1e-12, atol=1e-12)
    built(plu, (3, 4, 5))
    lower, upper = (
        np.tril(plu.lower, -1) + np.eye(5),
        np.triu(plu.upper, 1) + np.diag(plu.sign * np.exp(plu.log_scale)),
    )
    np.testing.assert_allclose(
        plu.kernel[0, 0], np.array(plu.permutation) @ lower @ upper, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("reflections", [1, 3, None])
def test_householder_is_the_product_of_its_reflections(reflections):
    layer = built(layers.HouseholderConv1x1(reflections), (2, 2, 4))
    product = np.eye(4)
    for v in np.array(layer.vectors):
        product = product @ (np.eye(4) - 2 * np.outer(v, v) / (v @ v))
    np.testing.assert_allclose(layer.kernel[0, 0], product, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_emerging_is_two_autoregressive_convolutions(kernel_size):
    height, width, channels, reach = 4, 3, 2, kernel_size // 2
    layer = built(layers.EmergingConv2D(kernel_size), (height, width, channels), 0.5)
    maps = []
    for kernel, direction in (
        (np.array(layer.kernel)[::-1, ::-1], -1),
        (np.array(layer.reverse_kernel), 1),
    ):
        matrix = np.zeros((height, width, channels) * 2)
        for i, j, a, b in np.ndindex(height, width, reach + 1, reach + 1):
            k, m = i + direction * a, j + direction * b
            if 0 <= k < height and 0 <= m < width:
                own = np.triu if direction < 0 else np.tril
                matrix[k, m, :, i, j, :] = own(kernel[a, b]) if a == b == 0 else kernel[a, b]
        maps.append(matrix.reshape((height * width * channels,) * 2))
    assert not np.tril(maps[0], -1).any()
    assert not np.triu(maps[1], 1).any()
    actual = matrix_of(lambda x: layer(x)[0] - layer.bias, (height, width, channels))
    np.testing.assert_allclose(actual, maps[0] @ maps[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("scale", "function"),
    [
        ("sigmoid", lambda h: 1 / (1 + np.exp(-h - 2))),
        ("tanh", lambda h: np.exp(2 * np.tanh(h / 2))),
        ("exp", np.exp),
    ],
)
def test_coupling(scale, function):
    layer = built(layers.AffineCoupling(keras.layers.Dense(6), scale=scale), (2, 2, 6))
    x = np.random.randn(3, 2, 2, 6)
    x1, x2 = np.split(x, 2, axis=-1)
    shift, h = np.split(
        x1 @ np.array(layer.conditioner.kernel) + np.array(layer.conditioner.bias), 2, axis=-1
    )
    z, log_det = layer(x)
    np.testing.assert_allclose(
        z, np.concatenate([x1, (x2 + shift) * function(h)], axis=-1), rtol=1e-12
    )
    np.testing.assert_allclose(log_det, np.log(function(h)).sum((1, 2, 3)), rtol=1e-10)


def test_coupling_with_a_context():
    inputs = keras.Input((3,)), keras.Input((2,))
    conditioner = keras.Model(
        list(inputs), keras.layers.Dense(6)(keras.layers.Concatenate()(inputs))
    )
    layer = layers.AffineCoupling(conditioner)
    x, context = np.random.randn(4, 6), np.random.randn(4, 2)
    z, _ = layer(x, context=context)
    np.testing.assert_allclose(layer.inverse(z, context=context), x, rtol=1e-10)
    assert np.abs(layer(x, context=context + 1)[0] - z).max() > 1e-3


def test_default_coupling_starts_without_shift():
    x = np.random.randn(3, 4, 4, 2)
    z, _ = layers.AffineCoupling(width=5, scale="tanh")(x)
    np.testing.assert_array_equal(z, x)


def test_factor_out_is_a_gaussian_prior():
    layer = built(layers.FactorOut(layers.InvertibleConv1x1()), (4, 4, 2), 0.3)
    x = np.random.randn(3, 4, 4, 2)
    x1, x2 = np.split(x, 2, axis=-1)
    network = layer.prior.conditioner
    shift, h = np.split(
        np.array(network.convolution(x1)) * np.exp(3 * np.array(network.log_scale)), 2, axis=-1
    )  # sigma = exp(-h), mu = -shift
    z, log_det = layer(x)
    z1, inner_log_det = layer.inner(x1)
    np.testing.assert_allclose(
        z,
        np.concatenate([np.reshape(z1, (3, 16)), ((x2 + shift) * np.exp(h)).reshape(3, 16)], 1),
        rtol=1e-12,
    )
    np.testing.assert_allclose(log_det, inner_log_det + h.sum((1, 2, 3)), rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (layers.AffineCoupling, (4, 4, 1), "2 elements at least"),
        (lambda: layers.FactorOut(layers.ActNorm()), (4, 4, 3), "even number of channels"),
        (
            lambda: layers.FactorOut(Flow([layers.Squeeze()], (4, 4, 1))),
            (4, 4, 4),
            r"gets events of shape \(4, 4, 2\)",
        ),
        (layers.Squeeze, (4, 5, 3), "even height and width"),
        (layers.InvertibleConv1x1, (4,), "takes images"),
        (layers.EmergingConv2D, (4,), "takes images"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(make, shape, message):
    with pytest.raises(ValueError, match=message):
        make().build((None, *shape))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: layers.AffineCoupling(scale="softplus"),
            "scale must be one of 'sigmoid', 'tanh', 'exp'",
        ),
        (lambda: layers.AffineCoupling(width=0), "width must be an integer of at least 1"),
        (lambda: layers.InvertibleConv1x1("lu"), "parameterization must be"),
        (lambda: layers.HouseholderConv1x1(0), "reflections must be"),
        (lambda: layers.EmergingConv2D(4), "odd integer of at least 3"),
        (
            lambda: layers.ConvolutionExponential(3, bound=0),
            "bound must be a number above 0 and at most 10",
        ),
        (lambda: layers.AffineCoupling("relu"), "conditioner must be a Keras layer"),
        (lambda: layers.FactorOut(keras.layers.Dense(3)), "inner must be a Flow or a layer"),
        (lambda: layers.FactorOut(layers.Dequantize()), "Random layers belong before FactorOut"),
        (lambda: layers.AffineCoupling(keras.layers.Dense(5))(np.ones((2, 4))), "must map x1"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_context_goes_to_those_who_take_it():
    x, context = np.random.randn(3, 4, 4, 4), np.random.randn(3, 4, 4, 2)
    with pytest.raises(ValueError, match="takes no context"):
        layers.AffineCoupling(width=4)(x, context=context)
    inputs = keras.Input((4, 4, 1)), keras.Input((4, 4, 2))
    conditioner = keras.Model(
        list(inputs), keras.layers.Conv2D(2, 3, padding="same")(keras.layers.Concatenate()(inputs))
    )
    flow = Flow([layers.FactorOut(layers.AffineCoupling(conditioner))], (4, 4, 4))
    z = flow.encode(x, context=context)
    np.testing.assert_allclose(flow.decode(z, context=context), x, rtol=1e-10, atol=1e-10)
    assert np.abs(flow.encode(x, context=context + 1) - z).max() > 1e-3


def test_act_norm_of_float32_images_far_from_zero():
    keras.config.set_dtype_policy("float32")
    layer = layers.ActNorm()
    with pytest.raises(ValueError, match=r"channels \[0, 2\] have"):
        layer.initialize(
            np.stack([np.full((7, 9, 9), c) for c in (0.1, 0, 1000.1)], axis=-1)
            + np.random.randn(7, 9, 9, 1) * [0, 1, 0]
        )
    with pytest.raises(ValueError, match="must be finite"):
        layer.initialize(np.full((7, 9, 9, 3), np.nan))


def test_fit_waits_for_initialization():
    flow = Flow([layers.ActNorm()], (4,))
    flow.compile(optimizer="sgd", jit_compile=True)
    with pytest.raises(ValueError, match=r"Call flow\.initialize"):
        flow.fit(np.random.randn(10, 4), verbose=0)
    with pytest.raises(ValueError, match="one batch, next"):
        flow.initialize(tf.data.Dataset.from_tensors(np.zeros((3, 4))))
