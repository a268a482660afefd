"""Self normalizing pairs: weights and scales, inverses, what is refused, and the stop of `fit`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers, networks

D = 3


def pair(*arguments, spread=0.1, **options):
    made = layers.SelfNormalizingPair(
        networks.ResidualNetwork((8,)), networks.ResidualNetwork((8,)), *arguments, **options
    )
    made.build((None, D))
    for weight in made.trainable_weights:
        weight.assign(weight + spread * np.random.randn(*weight.shape))
    return made


def gradients(layer, x, dl, de=1.0, dtype=tf.float64):
    weights = [weight.value for weight in layer.trainable_weights]
    with keras.StatelessScope(collect_losses=True) as scope, tf.GradientTape() as tape:
        z, log_det = layer(x, training=True, seed=3)
        loss = tf.reduce_sum(
            tf.cast(dl, dtype) * (log_det - tf.reduce_sum(tf.cast(z, dtype) ** 2, axis=1))
        )
        loss += de * tf.add_n(scope.losses)
    return tf.concat([tf.reshape(g, [-1]) for g in tape.gradient(loss, weights)], 0).numpy()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("log_det", ["learned_inverse", "russian_roulette", "krylov"])
def test_gradients_are_linear_in_the_cotangents(log_det):
    """A batch is the sum of its examples, whatever their weights; scales pass through."""
    layer, x = pair(log_det), tf.constant(np.random.randn(4, D))
    weights = np.array([0.5, 2.0, 0.0, -1.0])
    whole = gradients(layer, x, weights, 0.0)
    parts = [gradients(layer, x, weights * unit, 0.0) for unit in np.eye(4)]
    np.testing.assert_allclose(sum(parts), whole, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        gradients(layer, x, 100.0 * weights, 0.0), 100.0 * whole, rtol=1e-9, atol=1e-10
    )
    assert np.abs(whole).max() > 1e-3


@pytest.fixture(params=["mixed_float16", "mixed_bfloat16"])
def half_and_wide(request):
    """Pairs of the same weights, in half precision and in float32."""
    keras.config.set_dtype_policy(request.param)
    try:
        half = pair("russian_roulette")
    finally:
        keras.config.set_dtype_policy("float32")
    wide = pair("russian_roulette")
    wide.set_weights(half.get_weights())
    return half, wide


def test_half_precision(half_and_wide):
    x = tf.random.normal((50, D))
    found, expected = (
        gradients(one, x, np.ones(50) / 50, dtype=tf.float32) for one in half_and_wide
    )
    assert np.linalg.norm(found - expected) < 3e-2 * np.linalg.norm(expected)


def test_exact_numbers_are_those_of_float32(half_and_wide):
    """Whatever half precision trains in: z, log-determinants and inverses."""
    half, wide = half_and_wide
    x = tf.random.normal((50, D))
    for found, expected in zip(half(x), wide(x), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(half.inverse(half(x)[0]), x, atol=1e-5)
    assert half(tf.cast(x, half.compute_dtype), training=True)[0].dtype == half.compute_dtype


@pytest.mark.slow
def test_a_trained_pair_is_a_flow(tmp_path):
    """Density of the exact Jacobian; inverses of data and samples, after loading, too."""
    flow = snf_tf.Flow([pair("russian_roulette", jacobian_penalty=0.1)], event_shape=(D,))
    x = np.random.randn(400, D).astype("float32")
    x[:, 1] += np.sin(2 * x[:, 0])
    flow.compile(keras.optimizers.Adam(1e-3))
    history = flow.fit(x, batch_size=100, epochs=3, verbose=0).history
    assert history["inverse_error"][-1] < 0.5
    before, after = (flow.evaluate(x, verbose=0)["nll"] for _ in range(2))
    assert before == after
    flow.save(tmp_path / "flow.keras")
    loaded = keras.saving.load_model(tmp_path / "flow.keras")
    samples = flow.sample(300, seed=1)
    for model in (flow, loaded):
        assert np.abs(model.decode(model.encode(x)) - x).max() < 1e-4
        z = model.encode(samples)
        assert np.abs(model.encode(model.decode(z)) - z).max() < 1e-4
    np.testing.assert_array_equal(loaded.log_prob(x), flow.log_prob(x))
    y = flow.bijector.forward(tf.constant(flow.encode(x[:5])))
    np.testing.assert_allclose(y, x[:5], atol=1e-4)


@pytest.mark.parametrize("shape", [pytest.param((D,), marks=pytest.mark.slow), (4, 4, 2)])
def test_conditional_pairs(shape, tmp_path):
    """Networks see the context: density, inverse, samples, and a flow that was loaded."""
    sizes = None if len(shape) == 1 else (3, 3)
    halves = [networks.ResidualNetwork((8,), 1, sizes) for _ in range(2)]
    made = layers.SelfNormalizingPair(
        *halves, "russian_roulette", noise=0.1, prior_weight=0.1, conditional=True
    )
    flow = snf_tf.Flow([made], event_shape=shape)
    assert flow.takes_context
    random = np.random.RandomState(0)
    x, context = (random.randn(60, *s).astype("float32") for s in (shape, (2,)))
    flow.compile(keras.optimizers.Adam(3e-2))
    flow.fit(x, context=context, batch_size=20, epochs=2, verbose=0)
    z = flow.encode(x, context=context)
    np.testing.assert_allclose(flow.decode(z, context=context), x, atol=1e-4)
    assert flow.sample(5, context=context[:1], seed=0).shape == (5, *shape)
    # The exact density, row by row.
    small = tf.constant(x[:3])
    with tf.GradientTape() as tape:
        tape.watch(small)
        y = made.forward([small, tf.constant(context[:3])])
    size = np.prod(shape)
    jacobian = tape.batch_jacobian(y, small).numpy().reshape(3, size, size)
    expected = np.linalg.slogdet(jacobian)[1] - 0.5 * (
        np.square(y).reshape(3, -1).sum(1) + size * np.log(2 * np.pi)
    )
    np.testing.assert_allclose(flow.log_prob(x[:3], context=context[:3]), expected, rtol=1e-5)
    assert np.abs(flow.log_prob(x[:3], context=context[3:6]) - expected).min() > 1e-4
    flow.save(tmp_path / "flow.keras")
    loaded = keras.saving.load_model(tmp_path / "flow.keras")
    found = (model.log_prob(x, context=context) for model in (loaded, flow))
    np.testing.assert_allclose(*found, rtol=1e-5)
    with pytest.raises(ValueError, match=r"is conditional: give a context"):
        made(x)
    # What computes the context may be trained, too: by f, log-determinants and inverses.
    given, small = tf.constant(context[:3]), tf.constant(x[:3])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(given)
        y = made.forward([small, given])
        z, log_det = made(small, context=given, training=True, seed=1)
        back = made.inverse(tf.stop_gradient(y), context=given)
        again = made.forward([back, given])
    expected, found = tape.gradient(y, given), tape.gradient(z, given)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert tf.norm(tape.gradient(log_det, given)) > 0.0
    # f(inverse(y)) = y, whatever the context.
    np.testing.assert_allclose(tape.gradient(again, given), tf.zeros_like(given), atol=1e-3)


def test_inverses_by_newton():
    """Where I - G J does not contract, Newton's method finds x, and its gradient."""
    made = pair(spread=0.3)
    made.inverse_network.chains[0].layers[2].bias.assign(3.0 * tf.ones(D))
    kernel = made.inverse_network.chains[0].layers[2].kernel
    kernel.assign(4.0 * tf.random.stateless_normal(kernel.shape, [1, 2]))
    x = tf.constant(np.random.randn(50, D), tf.float32)
    z = made(x)[0]
    assert made.diagnostics(x, z)["inverse_error"] > 1.0
    np.testing.assert_allclose(made.inverse(z), x, atol=1e-4)
    with tf.GradientTape() as tape:
        tape.watch(z)
        total = tf.reduce_sum(made.inverse(z)[:, 0])
    with tf.GradientTape() as forward_tape:
        forward_tape.watch(x)
        y = made(x)[0]
    jacobian = forward_tape.batch_jacobian(y, x).numpy()
    expected = np.linalg.inv(jacobian)[:, 0]
    np.testing.assert_allclose(tape.gradient(total, z), expected, rtol=1e-3, atol=1e-4)


def test_a_map_without_an_inverse_is_refused():
    made = pair()
    network = made.forward
    for weight in network.weights:
        weight.assign(tf.zeros_like(weight))
    # x + tanh-like hump: h folds over.
    network.chains[0].layers[0].kernel.assign(10.0 * tf.ones((D, 8)))
    network.chains[0].layers[2].kernel.assign(-1.0 * tf.ones((8, D)))
    with pytest.raises(ValueError, match=r"must find an x with f\(x\) = z(.|\n)*Received: values"):
        made.inverse(5.0 * tf.ones((2, D)))


def test_fit_warns_and_stops():
    made = pair(spread=2.0)
    assert pair("brute_force").largest_inverse_error == float("inf")
    flow = snf_tf.Flow([made], event_shape=(D,))
    flow.compile(keras.optimizers.SGD(0.0))
    x = np.random.randn(20, D).astype("float32")
    with (
        pytest.warns(UserWarning, match="cannot be trusted"),
        pytest.raises(FloatingPointError, match=r"two epochs in a row(.|\n)*jacobian_penalty"),
    ):
        flow.fit(x, batch_size=10, epochs=4, verbose=0)


NETWORKS = networks.ResidualNetwork((4,)), networks.ResidualNetwork((4,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: layers.SelfNormalizingPair(tf.identity, NETWORKS[0]),
            "forward must be a Keras layer",
        ),
        (lambda: layers.SelfNormalizingPair(NETWORKS[0], NETWORKS[0]), "must be two networks"),
        (lambda: layers.SelfNormalizingResidualBlock(*NETWORKS[:1] * 2), "must be two networks"),
        (lambda: layers.SelfNormalizingPair(*NETWORKS, "exact"), "log_det must be one of"),
        (lambda: layers.SelfNormalizingPair(*NETWORKS, probe="uniform"), "probe must be"),
        (lambda: layers.SelfNormalizingPair(*NETWORKS, penalty="l1"), "penalty must be one of"),
        (
            lambda: layers.SelfNormalizingPair(*NETWORKS, noise=-1.0),
            "noise must be a number of at least 0",
        ),
        (
            lambda: layers.SelfNormalizingPair(NETWORKS[0], keras.layers.Dense(2)).build((None, D)),
            "inverse network of a pair must keep the shape",
        ),
        (
            lambda: layers.SelfNormalizingPair(*NETWORKS, layers.LearnedInverse("geco")),
            "leave them out of log_det",
        ),
        (lambda: layers.LearnedInverse(terms=1.5), "terms must be an integer"),
        (
            lambda: layers.SelfNormalizingDense(
                inverse_method=layers.LearnedInverse(terms=2)
            ).build((None, D)),
            "leave terms at 0",
        ),
        (lambda: networks.ResidualNetwork((4,), kernel_sizes=(3,)), "one size more"),
        (lambda: networks.ResidualNetwork((4,), blocks=0), "blocks must be"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make()
