"""Autoregressive flows in both directions, against plain numpy and autodiff."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers, networks, serving
from snf_tf.layers.transforms import TRANSFORMS

DIRECTIONS = ["forward", "inverse"]


def made(size=5, direction="forward", scale=0.5, dtype="float64", **options):
    layer = layers.Autoregressive(direction=direction, widths=(16, 16), dtype=dtype, **options)
    layer.build((None, size))
    for weight in layer.trainable_weights:
        weight.assign(scale * np.random.randn(*weight.shape))
    return layer


def in_order(layer, z, context=None):
    """Solves for one dimension after another; returns x and log|det dx/dz|."""
    x, log_det = np.zeros_like(z), np.zeros(len(z))
    for d in np.argsort(layer.network.degrees):
        parameters = layer.network(x if context is None else [x, context]).numpy()[:, d]
        scale = 1 / (1 + np.exp(-parameters[:, 1] - 2))
        x[:, d] = z[:, d] / scale - parameters[:, 0]
        log_det -= np.log(scale)
    return x, log_det


@pytest.mark.parametrize("order", ["natural", "random"])
@pytest.mark.parametrize("context_shape", [None, (3,)])
def test_reference(order, context_shape):
    maf, iaf = (made(5, d, order=order, context_shape=context_shape) for d in DIRECTIONS)
    iaf.set_weights(maf.get_weights())
    z = np.random.randn(6, 5)
    context = None if context_shape is None else np.random.randn(6, *context_shape)
    x, log_det = in_order(maf, z, context)
    np.testing.assert_allclose(maf.inverse(z, context=context), x, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(maf(x, context=context)[0], z, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(maf(x, context=context)[1], -log_det, rtol=1e-9, atol=1e-9)
    # The other direction is the inverse of the layer.
    found = iaf(z, context=context)
    np.testing.assert_allclose(found[0], x, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found[1], log_det, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(iaf.inverse(x, context=context), z, rtol=1e-9, atol=1e-9)


def test_random_orders_follow_the_seed():
    orders = [made(20, order="random", seed=seed).network.degrees.tolist() for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    layer = layers.Autoregressive(order="random", seed=5)
    assert layers.Autoregressive.from_config(layer.get_config()).seed == 5


@pytest.mark.parametrize("training", [False, True])
def test_gradients_of_the_solved_direction(training):
    """Of z and log_det, for weights, x and context: those through all sweeps."""
    layer = made(4, "inverse", context_shape=(2,))
    x, context = (tf.random.normal((3, size), dtype=tf.float64) for size in (4, 2))
    cotangent = tf.random.normal((3, 4), dtype=tf.float64)
    sources = [x, context, *(weight.value for weight in layer.trainable_weights)]
    transform = layer.transform

    def swept():
        z = tf.zeros_like(x)
        for _ in range(4):
            z = transform.inverse(x, layer.network([z, context]))
        return z, -tf.reduce_sum(transform.forward(z, layer.network([z, context]))[1], axis=1)

    gradients = []
    for solve in (lambda: layer(x, context=context, training=training), swept):
        with tf.GradientTape() as tape:
            tape.watch([x, context])
            z, log_det = solve()
            loss = tf.reduce_sum(z * cotangent) + tf.reduce_sum(tf.sin(log_det))
        gradients.append(tape.gradient(loss, sources))
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(
            tf.convert_to_tensor(one), tf.convert_to_tensor(other), rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform(name):
    """Round trips, and log-determinants of one pass against autodiff and the other direction."""
    options = {"order": "random", "widths": (16,), "dtype": "float64"}
    maf, iaf = (layers.Autoregressive(name, direction=d, **options) for d in DIRECTIONS)
    for layer in (maf, iaf):
        layer.build((None, 5))
    for weight in maf.trainable_weights:
        weight.assign(0.5 * np.random.randn(*weight.shape))
    iaf.set_weights(maf.get_weights())
    x = tf.random.uniform((4, 5), -1, 1, dtype=tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(x)
        z, log_det = maf(x)
    expected = tf.linalg.slogdet(tape.batch_jacobian(z, x))[1]
    np.testing.assert_allclose(log_det, expected, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(maf.inverse(z), x, rtol=1e-7, atol=1e-7)
    for value, reference in zip(iaf(z), (x, -log_det), strict=True):
        np.testing.assert_allclose(value, reference, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_float32_round_trips_in_64_dimensions(direction):
    layer = made(64, direction, scale=0.25, dtype="float32")
    x = tf.random.normal((100, 64))
    z, _ = layer(x)
    assert np.max(np.abs(layer.inverse(z) - x)) < 1e-4
    assert np.max(np.abs(layer(layer.inverse(x))[0] - x)) < 1e-4


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_xla(direction):
    layer = made(6, direction)
    x = tf.random.normal((3, 6), dtype=tf.float64)

    @tf.function(jit_compile=True)
    def compiled(x):
        return *layer(x, training=True), layer.inverse(x)

    for value, reference in zip(compiled(x), (*layer(x), layer.inverse(x)), strict=True):
        np.testing.assert_allclose(value, reference, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_half_precision_networks(policy, direction):
    """The solution in order is exact for a network of any precision."""
    layer = made(8, direction, scale=0.3, dtype=policy)
    x = tf.random.normal((20, 8))
    z, log_det = layer(x)
    assert (z.dtype, log_det.dtype) == (tf.float32, tf.float32)
    np.testing.assert_allclose(layer.inverse(z), x, rtol=1e-4, atol=1e-4)
    assert layer(x, training=True)[0].dtype == layer.compute_dtype


class Mixing(keras.layers.Layer):
    """A network that mixes dimensions by a matrix with a pattern."""

    def __init__(self, pattern, **kwargs):
        super().__init__(**kwargs)
        self.pattern = np.array(pattern, float)

    def build(self, input_shape):
        # As zero as many networks are at first.
        self.kernel = self.add_weight(shape=self.pattern.shape, initializer="zeros")

    def call(self, x):
        h = tf.matmul(x, tf.cast(self.pattern, x.dtype) * self.kernel, transpose_b=True)
        return h[..., None]


def test_networks_in_any_order_are_accepted():
    # Dimension 1, then 2, then 0.
    network = Mixing([[0, 1, 1], [0, 0, 0], [0, 1, 0]])
    layer = layers.Autoregressive("additive", network)
    layer.build((None, 3))
    network.kernel.assign(np.random.randn(3, 3))
    x = tf.random.normal((4, 3))
    np.testing.assert_allclose(layer.inverse(layer(x)[0]), x, atol=1e-5)
    assert float(layer.constant_log_det()) == 0.0


@pytest.mark.parametrize(
    "pattern", [np.eye(3), [[0, 0, 1], [1, 0, 0], [0, 1, 0]], np.tril(np.ones((3, 3)))]
)
def test_networks_that_are_not_autoregressive_are_refused(pattern):
    with pytest.raises(ValueError, match="depends on itself"):
        layers.Autoregressive("additive", Mixing(pattern)).build((None, 3))


@pytest.mark.parametrize("in_graph", [False, True])
def test_an_inverse_that_overflows_is_refused(in_graph):
    layer = made(4, scale=50.0, dtype="float32")
    inverse = tf.function(layer.inverse) if in_graph else layer.inverse
    error = tf.errors.InvalidArgumentError if in_graph else ValueError
    with pytest.raises(error, match="must converge"):
        inverse(1e3 * tf.random.normal((3, 4)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Autoregressive(direction="backward"), "direction must be"),
        (lambda: layers.Autoregressive("cubic"), "transform must be one of"),
        (lambda: layers.Autoregressive(network=3), "must be a Keras layer"),
        (lambda: layers.Autoregressive().build((None, 2, 2, 1)), "put Flatten before"),
        (
            lambda: layers.Autoregressive(network=networks.MADE(3)).build((None, 4)),
            r"\(4, 2\)",
        ),
        (lambda: made(context_shape=(2,))(tf.zeros((3, 5))), "takes a context of shape"),
        (
            lambda: made(context_shape=(2,))(tf.zeros((3, 5)), context=tf.zeros((3, 1))),
            "takes a context of shape",
        ),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def autoregressive_flow():
    bijections = [
        layers.Autoregressive(widths=(8,)),
        layers.Autoregressive("additive", networks.MADE(None, (8, 8), "reversed", residual=True)),
        layers.Autoregressive(direction="inverse", widths=(8,), order="random"),
    ]
    flow = snf_tf.Flow(bijections, event_shape=(4,))
    for weight in flow.trainable_weights:
        weight.assign(0.3 * np.random.randn(*weight.shape))
    return flow


@pytest.mark.slow
def test_files(tmp_path):
    flow, x = autoregressive_flow(), np.random.randn(5, 4).astype("float32")
    expected = flow.log_prob(x)
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    np.testing.assert_array_equal(loaded.log_prob(x), expected)
    serving.export(flow, tmp_path / "model")
    model = tf.saved_model.load(str(tmp_path / "model"))
    np.testing.assert_allclose(model.log_prob(x), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(model.sample(3, seed=1), flow.sample(3, seed=1))


def test_training_lowers_the_nll():
    flow = autoregressive_flow()
    x = np.random.randn(500, 4).astype("float32")
    x[:, 1] += x[:, 0] ** 2
    before = flow.evaluate(x)["nll"]
    flow.compile(keras.optimizers.Adam(1e-2))
    flow.fit(x, epochs=3, batch_size=50, verbose=0)
    assert flow.evaluate(x)["nll"] < before - 0.5
