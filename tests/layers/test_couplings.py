"""Couplings: transforms, masks and conditioners, and the linear layers between them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers, networks
from snf_tf.testing import check_bijection
from tests.ops.reference_spline import splines

TRANSFORMS = {
    "additive": layers.Additive(),
    "affine": layers.Affine("tanh"),
    "rational_quadratic": layers.RationalQuadratic(4, 2.0),
    "circular": layers.CircularRationalQuadratic(4, 0.0, 5.0),
    "logistic_mixture": layers.LogisticMixture(4),
}


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    ("make", "shape", "sizes"),
    [
        (layers.Channels, (5,), (3, 2)),
        (layers.Channels, (2, 3, 4), (12, 12)),
        (layers.Alternate, (5,), (3, 2)),
        (layers.Alternate, (2, 3, 3), (12, 6)),
        (layers.RandomPermutation, (7,), (4, 3)),
        (lambda flip: layers.RandomPermutation(3, flip), (2, 3), (4, 2)),
        (layers.Stripes, (4, 3, 1), (6, 6)),
        (layers.Checkerboard, (3, 4, 3), (18, 18)),
    ],
)
def test_masks_give_every_element_to_one_part(make, shape, sizes, flip):
    mask = make(flip=flip)
    x = tf.reshape(tf.range(2.0 * np.prod(shape)), (2, *shape))
    x1, x2 = mask.split(x)
    assert (x1.shape[1:], x2.shape[1:]) == mask.shapes(shape)
    assert (x1[0].numpy().size, x2[0].numpy().size) == sizes[:: -1 if flip else 1]
    np.testing.assert_array_equal(mask.merge(x1, x2), x)
    both = np.concatenate([np.ravel(x1[0]), np.ravel(x2[0])])
    np.testing.assert_array_equal(np.sort(both), np.ravel(x[0]))


def test_what_masks_choose():
    x = tf.range(5.0)[None]
    assert layers.Alternate(flip=True).split(x)[0].numpy().tolist() == [[1.0, 3.0]]
    halves = {tuple(layers.RandomPermutation(seed).split(x)[0][0].numpy()) for seed in range(20)}
    assert len(halves) > 5
    rows, _ = layers.Stripes().split(tf.reshape(tf.range(8.0), (1, 4, 2, 1)))
    assert rows[0, :, 0, 0].numpy().tolist() == [0.0, 4.0]


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_start_near_the_identity(name):
    transform = TRANSFORMS[name]
    x = tf.constant(np.random.uniform(-20, 20, (50, 3)))
    z, log_slope = transform.forward(
        x, tf.zeros((50, 3, transform.count_of_parameters), tf.float64)
    )
    tolerance = 0.3 if name == "logistic_mixture" else 1e-12
    np.testing.assert_allclose(z, x, atol=tolerance)
    np.testing.assert_allclose(log_slope, 0 * x, atol=tolerance)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_float32_round_trips_of_large_inputs(name):
    transform = TRANSFORMS[name]
    x = tf.constant([[0.1, -7.0], [33.0, -999.0], [1e4, -1e4], [1e5, -1e5]])
    parameters = tf.random.normal((4, 2, transform.count_of_parameters), seed=1)
    back = transform.inverse(transform.forward(x, parameters)[0], parameters)
    np.testing.assert_array_less(np.abs(back - x), 1e-4 * np.maximum(1, np.abs(x) / 100))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("circular", [False, True])
def test_spline_couplings_are_those_of_numpy(circular):
    transform = (
        layers.CircularRationalQuadratic(4, 1.0, 6.0)
        if circular
        else layers.RationalQuadratic(4, 2.5)
    )
    layer = layers.Coupling(transform, "alternate", keras.layers.Dense(2 * (11 + circular)))
    layer.build((None, 5))
    for weight in layer.trainable_weights:
        weight.assign(np.random.randn(*weight.shape))
    x = np.random.uniform(-4, 4, (6, 5))
    h = x[:, ::2] @ np.array(layer.conditioner.kernel) + np.array(layer.conditioner.bias)
    parameters = np.moveaxis(h.reshape(6, -1, 2), 1, 2)
    center = 3.5 if circular else 0.0
    parts = np.split(parameters, [4, 8], axis=-1)
    value, log_slope = splines(x[:, 1::2] - center, *parts, 2.5)
    z, log_det = layer(x)
    np.testing.assert_allclose(z[:, 1::2], value + center, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(z[:, ::2], x[:, ::2])
    np.testing.assert_allclose(log_det, log_slope.sum(axis=1), rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("float64")
def test_logistic_mixture_is_that_of_numpy():
    x, parameters = np.random.randn(7, 2), np.random.randn(7, 2, 11)
    logits, means, h, rest = np.split(parameters, [3, 6, 9], axis=-1)
    pi = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    u = (x[..., None] - means - [-1, 0, 1]) / np.exp(5 * np.tanh(h / 5))
    cdf = (pi / (1 + np.exp(-u))).sum(axis=-1)
    expected = (np.log(cdf / (1 - cdf)) + rest[..., 0]) * np.exp(2 * np.tanh(rest[..., 1] / 2))
    z, _ = layers.LogisticMixture(3).forward(tf.constant(x), tf.constant(parameters))
    np.testing.assert_allclose(z, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("transform", ["additive", "affine"])
@pytest.mark.parametrize(
    "masks",
    [
        [layers.Alternate(), layers.Alternate(flip=True)] * 2,
        [layers.RandomPermutation(seed, flip) for seed in (1, 2) for flip in (False, True)],
        [layers.Channels(), layers.Channels(flip=True)] * 2,
    ],
    ids=lambda masks: type(masks[0]).__name__,
)
def test_couplings_of_vectors_mix_all_features(transform, masks):
    """NICE and Real NVP of an odd number of features."""
    flow = snf_tf.Flow([layers.Coupling(transform, mask, width=16) for mask in masks], (7,))
    for weight in flow.trainable_weights:
        weight.assign(weight + 0.3 * np.random.randn(*weight.shape))
    x = tf.constant(np.random.randn(4, 7))
    with tf.GradientTape() as tape:
        tape.watch(x)
        z, log_det = flow(x)
    jacobian = tape.batch_jacobian(z, x)
    assert (np.abs(jacobian).max(axis=0) > 0).all()
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], atol=1e-9)
    assert flow.log_det_is_constant == (transform == "additive")
    np.testing.assert_allclose(flow.inverse(z), x, rtol=1e-8, atol=1e-8)


@pytest.mark.usefixtures("float64")
def test_lu_linear_is_the_product_of_its_factors():
    initial = np.random.randn(6, 6)
    layer = layers.LULinear(lambda shape, dtype: tf.constant(initial, dtype))
    layer.build((None, 6))
    np.testing.assert_allclose(layer.kernel, initial, rtol=1e-9, atol=1e-12)
    for weight in layer.trainable_weights:
        weight.assign(np.random.randn(*weight.shape))
    lower = np.tril(layer.lower, -1) + np.eye(6)
    upper = np.triu(layer.upper, 1) + np.diag(layer.sign * np.exp(layer.log_scale))
    assert (np.array(layer.order) != np.arange(6)).any()
    kernel = np.eye(6)[:, np.array(layer.order)] @ lower @ upper
    x = np.random.randn(3, 6)
    z, log_det = layer(x)
    np.testing.assert_allclose(layer.kernel, kernel, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(z, x @ kernel + layer.bias, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(kernel)[1] + np.zeros(3), rtol=1e-9)
    np.testing.assert_allclose(layer.inverse(z), x, rtol=1e-9)


def test_permute():
    x = np.arange(12.0).reshape(2, 2, 3)
    z, log_det = layers.Permute([2, 0, 1])(x)
    np.testing.assert_array_equal(z, x[..., [2, 0, 1]])
    np.testing.assert_array_equal(log_det, [0, 0])
    orders = {
        tuple(layers.Permute(seed=seed)(np.arange(5.0)[None])[0][0].numpy()) for seed in (1, 2)
    }
    assert len(orders) == 2


CONDITIONERS = {
    "default": lambda: None,
    "mlp": lambda: networks.ResidualMLP(width=6),
    "mlp-outputs": lambda: networks.ResidualMLP(outputs=4),
    "functional": lambda: keras.Sequential([networks.JoinContext(), keras.layers.Dense(4)]),
}
IMAGE_CONDITIONERS = {
    "default": lambda: None,
    "gated": lambda: networks.GatedConvNetwork(width=4, blocks=1, heads=2),
    "gated-0": lambda: networks.GatedConvNetwork(width=3, blocks=2, heads=0),
}


def conditional(make, shape, context_shape):
    layer = layers.Coupling(
        conditioner=make(), width=6, context_shape=context_shape, dtype="float64"
    )
    layer.build((None, *shape))
    for weight in layer.trainable_weights:
        weight.assign(weight + 0.3 * np.random.randn(*weight.shape))
    return layer


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("make", "shape", "context_shape"),
    [(make, (5,), shape) for make in CONDITIONERS.values() for shape in [(3,)]]
    + [(CONDITIONERS["default"], (5,), (2, 2))]
    + [(make, (2, 3, 4), (3,)) for make in IMAGE_CONDITIONERS.values()]
    + [(IMAGE_CONDITIONERS["gated"], (2, 3, 4), (2, 3, 1))],
)
def test_conditioners_take_a_context(make, shape, context_shape):
    layer = conditional(make, shape, context_shape)
    assert not layer.unbuilt_parts()
    x, context = np.random.randn(4, *shape), np.random.randn(4, *context_shape)
    z, _ = layer(x, context=context)
    np.testing.assert_allclose(layer.inverse(z, context=context), x, rtol=1e-9, atol=1e-9)
    for index in np.ndindex(*context_shape):
        other = context.copy()
        other[(slice(None), *index)] += 1
        assert np.abs(layer(x, context=other)[0] - z).max() > 1e-6


@pytest.mark.usefixtures("float64")
def test_a_coupling_with_a_context_keeps_the_contract():
    context = tf.constant(np.random.randn(3, 2))
    layer = conditional(CONDITIONERS["default"], (3,), (2,))
    check_bijection(layer, tf.constant(np.random.randn(3, 3)), context)


def test_a_conditional_flow_is_built_trained_and_saved(tmp_path):
    flow = snf_tf.Flow(
        [
            layers.LULinear(),
            layers.Coupling(
                "rational_quadratic", "alternate", networks.ResidualMLP(width=8), context_shape=(2,)
            ),
            layers.Permute(seed=1),
            layers.AffineCoupling(width=8, context_shape=(2,)),
        ],
        (3,),
    )
    count = len(flow.trainable_weights)
    x, context = (np.random.randn(60, n).astype("float32") for n in (3, 2))
    flow.compile(optimizer=keras.optimizers.Adam(1e-2))
    flow.fit(x, context=context, epochs=2, verbose=0)
    assert len(flow.trainable_weights) == count
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    np.testing.assert_allclose(
        loaded.log_prob(x, context=context), flow.log_prob(x, context=context), rtol=1e-6
    )


@pytest.mark.parametrize("make", [*CONDITIONERS.values()][:2])
def test_couplings_begin_as_the_identity(make):
    x = np.random.randn(4, 5).astype("float32")
    layer = layers.Coupling("rational_quadratic", "random_permutation", make(), width=8)
    z, log_det = layer(x)
    np.testing.assert_allclose(z, x, atol=1e-5)
    np.testing.assert_allclose(log_det, np.zeros(4), atol=1e-5)


@pytest.mark.usefixtures("mixed_float16")
@pytest.mark.parametrize(
    "network",
    [
        lambda: networks.GatedConvNetwork(width=4, blocks=1, heads=2),
        lambda: None,
    ],
)
def test_half_precision(network):
    layer = layers.Coupling("logistic_mixture", "stripes", network(), width=4, context_shape=(2,))
    x, context = tf.random.normal((3, 4, 3, 2)), tf.random.normal((3, 2))
    z, log_det = layer(x, context=context, training=True)
    assert (z.dtype, log_det.dtype) == (tf.float16, tf.float32)
    z, _ = layer(x, context=context)
    np.testing.assert_allclose(layer.inverse(z, context=context), x, atol=1e-4)


X = np.zeros((2, 5), "float32")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.RationalQuadratic(bins=1), "bins must be an integer of at least 2"),
        (lambda: layers.RationalQuadratic(bound=-1.0), "bound must be a number above 0"),
        (lambda: layers.CircularRationalQuadratic(low=1.0, high=1.0), "low must be less than high"),
        (lambda: layers.LogisticMixture(0), "components must be"),
        (lambda: layers.RandomPermutation(seed=-1), "seed must be"),
        (lambda: layers.Coupling(mask="stripes").build((None, 3, 4, 2)), "of even height"),
        (lambda: layers.Coupling(mask="alternate").build((None, 1)), "2 elements at least"),
        (lambda: layers.Permute([0, 2]), "each once"),
        (lambda: layers.Permute([1, 0]).build((None, 3)), "permutes 2 elements"),
        (lambda: layers.LULinear("zeros").build((None, 3)), "singular"),
        (lambda: layers.LULinear().build((None, 3, 3)), "put Flatten before it"),
        (lambda: layers.Coupling()(X, context=X), "takes no context.*context_shape"),
        (lambda: layers.Coupling(context_shape=(2,))(X), r"\(2,\) in every call.*no context"),
        (lambda: layers.Coupling(context_shape=(2,))(X, context=X), r"of shape \(2, 5\)"),
        (lambda: networks.ResidualMLP()(X), "no coupling that sets outputs"),
        (lambda: networks.ResidualMLP(width=0), "width must be"),
        (lambda: networks.GatedConvNetwork(4)(X), "takes images"),
        (lambda: networks.GatedConvNetwork(width=4, heads=3), "divides width"),
        (lambda: networks.JoinContext()([X, X[:, 0]]), r"vectors \(batch, C\)"),
        (
            lambda: networks.JoinContext()([np.zeros((2, 4, 4, 1)), np.zeros((2, 2, 4, 1))]),
            "multiples of them",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
