"""Residual blocks: references, estimators through `fit`'s code path, inverses, what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from snf_tf import Flow, layers, networks

D = 3


def block(*arguments, widths=(6, 6), **options):
    """A block far from its start, with large kernels."""
    made = layers.ResidualBlock(networks.LipschitzNetwork(widths), *arguments, **options)
    made.build((None, D))
    for weight in made.network.trainable_weights:
        if "kernel" in weight.path:
            weight.assign(2 * np.random.randn(*weight.shape))
    return made


@pytest.mark.usefixtures("float64")
def test_a_block_of_given_weights():
    """g, z, exact log-det and its gradient against plain numpy and finite differences."""
    made = layers.ResidualBlock(networks.LipschitzNetwork((5,), activation="elu", coeff=0.9))
    made.build((None, 2))
    first, second = np.random.randn(2, 5), np.random.randn(5, 2)
    x = np.random.randn(4, 2)

    def reference(first, x=x):
        a, b = (k / max(1, np.linalg.norm(k, 2) / 0.9) for k in (first, second))
        h = np.where(x > 0, x, np.expm1(x)) @ a
        slopes = np.where(h > 0, 1, np.exp(h)), np.where(x > 0, 1, np.exp(x))
        y = np.where(h > 0, h, np.expm1(h)) @ b
        jacobians = np.einsum("bi,ih,bh,ho->boi", slopes[1], a, slopes[0], b)
        return y, jacobians, np.linalg.slogdet(np.eye(2) + jacobians)[1]

    dense = [part for part in made.network.parts() if isinstance(part, networks.SpectralDense)]
    for part, kernel in zip(dense, (first, second), strict=True):
        part.kernel.assign(kernel)
        part.update_norm(iterations=2000)
    with tf.GradientTape() as tape:
        z, log_det = made(tf.constant(x))
        total = tf.reduce_sum(log_det)
    y, _, expected = reference(first)
    np.testing.assert_allclose(z, x + y, rtol=1e-9)
    np.testing.assert_allclose(log_det, expected, rtol=1e-8, atol=1e-10)
    gradient = tape.gradient(total, dense[0].kernel)
    step = np.random.randn(2, 5)
    ends = [reference(first + s * step)[2].sum() for s in (1e-6, -1e-6)]
    slope = (ends[0] - ends[1]) / 2e-6
    assert float(tf.reduce_sum(gradient * step)) == pytest.approx(slope, rel=1e-5)
    np.testing.assert_allclose(made.inverse(z), x, atol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("log_det", "monotone", "early"),
    [
        pytest.param(layers.TruncatedSeries(200), False, True, marks=pytest.mark.slow),
        pytest.param(layers.TruncatedSeries(200), True, False, marks=pytest.mark.slow),
        pytest.param(layers.Krylov(D), True, True, marks=pytest.mark.slow),
        (layers.Krylov(D), False, False),
    ],
)
def test_training_gradients_are_exact_in_expectation(monkeypatch, log_det, monotone, early):
    """By basis probes in the place of random ones, through the training call."""
    made = block(log_det, monotone=monotone, backward_in_forward=early)
    made.prepare()
    exact = layers.ResidualBlock(made.network, "brute_force", monotone=monotone)
    exact.build((None, D))
    x = tf.constant(np.random.randn(4, D))
    weights = made.network.trainable_weights
    cotangents = tf.constant(np.random.randn(4))
    with tf.GradientTape() as tape:
        tape.watch(x)
        reference = exact(x)[1]
    expected = tape.gradient(reference, [x, *weights], cotangents)
    value, found = 0.0, [0.0] * len(expected)
    for i in range(D):
        monkeypatch.setitem(
            layers.residual_map.PROBES,
            "rademacher",
            lambda seed, shape, dtype, i=i: tf.one_hot(tf.fill(shape[:1], i), D, dtype=dtype),
        )
        # Another map: the shared one has been traced with other probes.
        fresh = layers.ResidualBlock(
            made.network, log_det, monotone=monotone, backward_in_forward=early
        )
        layers.residual_map._MAPS.clear()
        fresh.build((None, D))
        with keras.StatelessScope(), tf.GradientTape() as tape:
            tape.watch(x)
            estimate = fresh(x, training=True, seed=1)[1]
        value += estimate
        gradients = tape.gradient(estimate, [x, *weights], cotangents)
        found = [a + b for a, b in zip(found, gradients, strict=True)]
    np.testing.assert_allclose(value, reference, rtol=1e-6)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("monotone", [False, True])
def test_round_trips_at_the_largest_coeff(monotone):
    """1000 points in float32, through many blocks, with norms at the limit."""
    flow = Flow([block(monotone=monotone, widths=(32, 32)) for _ in range(8)], event_shape=(D,))
    x = 3 * np.random.randn(1000, D).astype("float32")
    error = np.abs(flow.decode(flow.encode(x)) - x).max()
    assert error < 1e-4
    bounds = [float(leaf.bound) for leaf in flow.leaves()]
    assert 0.93 < min(bounds) <= max(bounds) < 0.95


@pytest.mark.slow
def test_round_trips_after_training_and_loading(tmp_path):
    flow = Flow([block(widths=(32, 32)), block(widths=(32, 32))], event_shape=(D,))
    x = np.random.randn(1000, D).astype("float32") ** 3
    flow.compile(keras.optimizers.Adam(1e-2))
    flow.fit(x, batch_size=100, epochs=2, verbose=0)
    assert np.abs(flow.decode(flow.encode(x)) - x).max() < 1e-4
    flow.save(tmp_path / "flow.keras")
    flow.save_weights(tmp_path / "flow.weights.h5")
    loaded = keras.saving.load_model(tmp_path / "flow.keras")
    other = Flow([block(widths=(32, 32)), block(widths=(32, 32))], event_shape=(D,))
    other.load_weights(tmp_path / "flow.weights.h5")
    for copy in (loaded, other):
        assert np.abs(copy.decode(copy.encode(x)) - x).max() < 1e-4
        np.testing.assert_array_equal(copy.log_prob(x), flow.log_prob(x))


def test_norms_are_certified_after_any_change():
    made = block()
    x = tf.random.normal((50, D))
    made(x)
    kernel = made.network.chain[1].kernel
    kernel.assign(10 * np.random.randn(*kernel.shape))
    assert np.abs(made.inverse(made(x)[0]) - x).max() < 1e-4
    assert 0.0 < float(made.bound) < 0.95


def test_the_bound_is_refused_in_words():
    parts = [networks.SpectralDense(D, coeff=0.9), networks.SpectralDense(D, coeff=0.9)]
    made = layers.ResidualBlock(keras.Sequential(parts))
    made.build((None, D))
    x = tf.ones((2, D))
    made(x)
    # Norms that u and v do not see, as of a file that somebody made by hand.
    for part in parts:
        part.kernel.assign(5 * np.eye(D))
        part.certified_bounds.assign([1.3, 1.3])
        part.certified.assign(part._checksum())
    with pytest.raises(ValueError, match="not certified to be invertible") as error:
        made(x)
    assert "1.69" in str(error.value)
    with pytest.raises(ValueError, match="not certified to be invertible"):
        made.inverse(x)


def test_a_network_that_is_no_contraction_is_found_out():
    """The user's bound is wrong: the inverse says so instead of returning anything."""
    network = keras.layers.Dense(D)
    made = layers.ResidualBlock(network, lipschitz_bound=0.9)
    made.build((None, D))
    # x + g(x) = 0 for every x.
    network.kernel.assign(-np.eye(D))
    with pytest.raises(ValueError, match="must converge"):
        made.inverse(tf.ones((2, D)))
    monotone = layers.ResidualBlock(network, lipschitz_bound=0.9, monotone=True)
    monotone.build((None, D))
    with pytest.raises(ValueError, match="must converge"):
        monotone(tf.ones((2, D)))


def test_any_keras_network_with_a_stated_bound():
    network = keras.Sequential([keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(D)])
    made = layers.ResidualBlock(network, lipschitz_bound=0.9)
    made.build((None, D))
    for layer in network.layers:
        layer.kernel.assign(0.5 * layer.kernel / tf.norm(layer.kernel))
    x = tf.random.normal((20, D))
    z, log_det = made(x)
    np.testing.assert_allclose(made.inverse(z), x, atol=1e-5)
    copy = layers.ResidualBlock.from_config(made.get_config())
    copy.build((None, D))
    copy.set_weights(made.get_weights())
    np.testing.assert_array_equal(copy(x)[1], log_det)


def test_blocks_that_are_alike_share_one_trace():
    made = [block(), block(), block(monotone=True), block(layers.Krylov(2)), block(widths=(6, 7))]
    assert made[0]._map is made[1]._map
    assert len({id(one._map) for one in made}) == 4
    half = layers.ResidualBlock(networks.LipschitzNetwork((6, 6), dtype="mixed_bfloat16"))
    half.build((None, D))
    assert half._map is not made[0]._map
    x = tf.random.normal((4, D))
    # Each computes with its own weights.
    assert np.abs(made[0](x)[0] - made[1](x)[0]).max() > 1e-3


def test_a_changed_network_changes_its_block_alone():
    def made():
        network = keras.Sequential([keras.layers.Dense(8, "sigmoid"), keras.layers.Dense(D)])
        layer = layers.ResidualBlock(network, lipschitz_bound=0.9)
        layer.build((None, D))
        for part in network.layers:
            part.kernel.assign(0.5 * part.kernel / tf.norm(part.kernel))
        return layer

    def expected(layer, x):
        return x + layer.network(x)

    first, second = made(), made()
    x = tf.constant(np.random.randn(4, D), "float32")
    assert first._map is second._map
    np.testing.assert_allclose(first(x)[0], expected(first, x), rtol=1e-5)
    first.network.layers[0].activation = keras.activations.tanh
    # A new signature is traced after the change.
    for rows in (x, tf.concat([x, x], 0), x[:1]):
        for layer in (second, first):
            np.testing.assert_allclose(layer(rows)[0], expected(layer, rows), rtol=1e-5)
            np.testing.assert_allclose(layer.inverse(expected(layer, rows)), rows, atol=1e-4)
    assert first._map is not second._map


def test_probes_are_a_function_of_seed_and_row():
    made = block()
    x = tf.random.normal((6, D))

    def log_det(x, seed):
        with keras.StatelessScope():
            return made(x, training=True, seed=tf.constant(seed, tf.int64))[1].numpy()

    made(x, training=True)
    whole = log_det(x, [3, 5, 0])
    # The other half of the batch on another device.
    np.testing.assert_allclose(log_det(x[3:], [3, 5, 3]), whole[3:], rtol=1e-5, atol=1e-6)
    assert np.abs(log_det(x, [3, 6, 0]) - whole).max() > 1e-4
    first, second = (made(x, training=True)[1].numpy() for _ in range(2))
    assert np.abs(first - second).max() > 1e-4


@pytest.mark.slow
def test_learned_orders_train():
    network = networks.LipschitzNetwork((8, 8), norm="learned")
    flow = Flow([layers.ResidualBlock(network)], event_shape=(D,))
    for weight in network.trainable_weights:
        if "kernel" in weight.path:
            weight.assign(np.random.randn(*weight.shape))
    flow.compile(keras.optimizers.SGD(0.1))
    history = flow.fit(np.random.randn(200, D), batch_size=20, epochs=1, verbose=0).history
    assert any(float(order.s) != 0.0 for order in network.orders)
    assert np.isfinite(history["surrogate"]).all()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision(policy):
    keras.config.set_dtype_policy(policy)
    try:
        half = block()
    finally:
        keras.config.set_dtype_policy("float32")
    wide = block()
    wide.set_weights(half.get_weights())
    x = tf.random.normal((50, D))
    for one, other in zip(half(x), wide(x), strict=True):
        assert one.dtype == tf.float32
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    gradients = []
    for made in (half, wide):
        with keras.StatelessScope(), tf.GradientTape() as tape:
            z, log_det = made(x, training=True, seed=1)
            loss = tf.reduce_mean(log_det) + tf.reduce_mean(tf.cast(z, tf.float32) ** 2)
        weights = [weight.value for weight in made.trainable_weights]
        gradients.append(tf.concat([tf.reshape(g, [-1]) for g in tape.gradient(loss, weights)], 0))
    assert z.dtype == tf.float32
    assert tf.norm(gradients[0] - gradients[1]) < 2e-2 * tf.norm(gradients[1])


NETWORK = networks.LipschitzNetwork((4,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.ResidualBlock(tf.identity), "network must be a Keras layer"),
        (lambda: layers.ResidualBlock(NETWORK, "exact"), "log_det must be one of"),
        (lambda: layers.ResidualBlock(NETWORK, layers.Geometric()), "log_det must be one of"),
        (lambda: layers.ResidualBlock(NETWORK, probe="uniform"), "probe"),
        (lambda: layers.ResidualBlock(NETWORK, lipschitz_bound=1.0), "lipschitz_bound"),
        (lambda: layers.ResidualBlock(NETWORK, lipschitz_bound="1"), "lipschitz_bound"),
        (lambda: layers.ResidualBlock(keras.layers.Dense(D)).build((None, D)), "states no Lip"),
        (
            lambda: layers.ResidualBlock(networks.SpectralDense(2)).build((None, D)),
            "keep the shape",
        ),
        (lambda: block()(tf.ones((2, D + 1))), "x must be of shape"),
        (lambda: block().inverse(tf.ones((2, D + 1))), "inverse takes latents"),
        (lambda: Flow([block()], (D,)).log_prob(np.ones((2, D)), context=np.ones((2, 1))), "takes"),
        (lambda: Flow([block()], (D,)).log_prob(np.full((2, D), np.nan)), "must be finite"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make()
