"""The bound of a variational pair: below the likelihood by quadrature, exact without noise."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers, networks
from snf_tf.flow.likelihood import has_round_trip


def linear(matrix):
    network = keras.layers.Dense(len(matrix), use_bias=False)
    network.build((None, len(matrix)))
    network.kernel.assign(matrix)
    return network


def log_normal(x, mean, sigma):
    size = x.shape[-1]
    squares = np.sum((x - mean) ** 2, axis=-1) / sigma**2
    return -0.5 * (squares + size * np.log(2 * np.pi * sigma**2))


@pytest.mark.usefixtures("float64")
def test_a_bound_of_the_models_likelihood():
    """Of p(x) by quadrature over z; more draws come closer, and reach it."""
    random = np.random.RandomState(0)
    f, g = (networks.ResidualNetwork((5,)) for _ in range(2))
    pair = layers.VariationalPair(f, g, sigma=0.4)
    flow = snf_tf.Flow([pair], event_shape=(2,))
    flow(np.zeros((1, 2)))
    for weight in pair.trainable_weights:
        weight.assign(weight + 0.2 * random.randn(*weight.shape))
    x = random.randn(3, 2)
    grid = np.linspace(-8, 8, 400)
    z = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    joint = log_normal(z, 0.0, 1.0) + log_normal(x[:, None], g(z).numpy(), 0.4)
    truth = np.log(np.sum(np.exp(joint), axis=1) * (grid[1] - grid[0]) ** 2)
    copies = np.repeat(x, 20000, axis=0)
    once = flow.log_prob_bound(copies, seed=1).numpy().reshape(3, -1)
    error = once.std(axis=1) / np.sqrt(once.shape[1])
    assert (once.mean(axis=1) < truth - 3 * error).all()
    weights = np.log(np.mean(np.exp(once), axis=1))
    np.testing.assert_allclose(weights, truth, atol=0.03)
    few = flow.log_prob_bound(copies[::50], draws=20, seed=2).numpy().reshape(3, -1)
    assert (few.mean(axis=1) > once.mean(axis=1) + 3 * error).all()
    assert (few.mean(axis=1) < truth + 0.01).all()
    assert flow.log_det_kind == "bound"
    assert set(flow.evaluate(x, verbose=0)) >= {"nll_bound", "bits_per_dim_bound"}
    with pytest.raises(ValueError, match="log_prob_bound"):
        flow.log_prob(x)


@pytest.mark.usefixtures("float64")
def test_exact_as_sigma_goes_to_0():
    """With g the inverse of f, and the error that is left otherwise."""
    random = np.random.RandomState(0)
    kernel, x = np.eye(3) + 0.3 * random.randn(3, 3), random.randn(50, 3)
    inverse = np.linalg.inv(kernel)
    exact = log_normal(x @ kernel, 0.0, 1.0) + np.linalg.slogdet(kernel)[1]
    gaps = []
    for sigma in (0.1, 0.01, 0.001):
        pair = layers.VariationalPair(linear(kernel), linear(inverse), sigma)
        flow = snf_tf.Flow([pair], event_shape=(3,))
        found = flow.log_prob_bound(x, draws=50, seed=1)
        gaps.append(np.abs(found - exact).max())
    assert gaps[0] > 5 * gaps[1] > 25 * gaps[2]
    assert gaps[2] < 5e-3
    # An error of g of the size of the noise counts.
    pair = layers.VariationalPair(linear(kernel), linear(inverse * 1.001), 0.001)
    off = snf_tf.Flow([pair], event_shape=(3,)).log_prob_bound(x, draws=50, seed=1)
    assert np.mean(exact - off) > 0.1


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("log_det", ["brute_force", "krylov"])
def test_gradients_are_those_of_the_bound(log_det):
    """All weights and x: the exact bound of the same noise, by automatic differentiation."""
    f, g = (networks.ResidualNetwork((4,)) for _ in range(2))
    pair = layers.VariationalPair(f, g, 0.2, layers.Krylov(2) if log_det == "krylov" else log_det)
    pair.build((None, 2))
    for weight in pair.trainable_weights:
        weight.assign(weight + 0.2 * np.random.RandomState(1).randn(*weight.shape))
    x = tf.constant(np.repeat(np.random.RandomState(2).randn(3, 2), 5000, axis=0))
    cotangent = tf.constant(np.random.RandomState(3).randn(len(x)))

    def gradients(training):
        with tf.GradientTape() as tape:
            tape.watch(x)
            z, log_det = pair(x, training=training, seed=7)
            total = tf.reduce_mean(cotangent * (log_det - tf.reduce_sum(z**2, axis=1)))
        return tape.gradient(total, [*pair.trainable_weights, x])

    *found, found_x = gradients(True)
    *expected, expected_x = gradients(False)
    for one, other in zip(found, expected, strict=True):
        # Of two dimensions Rademacher probes leave noise.
        size = 1e-9 if log_det == "brute_force" else 0.05
        assert tf.norm(one - other) <= size * (1.0 + tf.norm(other))
    if log_det == "brute_force":
        np.testing.assert_allclose(found_x, expected_x, atol=1e-12)


@pytest.mark.slow
def test_training_by_the_bound(tmp_path):
    """The bound falls, the model samples by g, and survives a file."""
    halves = (networks.ResidualNetwork((16,)) for _ in range(2))
    flow = snf_tf.Flow([layers.VariationalPair(*halves, sigma=0.05)], event_shape=(2,))
    random = np.random.RandomState(0)
    x = random.randn(400, 2).astype("float32")
    x[:, 1] = 0.3 * x[:, 1] + np.sin(x[:, 0])
    before = flow.evaluate(x, verbose=0)["nll_bound"]
    flow.compile(keras.optimizers.Adam(1e-2))
    flow.fit(x, batch_size=100, epochs=40, verbose=0)
    assert flow.evaluate(x, verbose=0)["nll_bound"] < before - 0.2
    z = flow.encode(x)
    assert np.isfinite(flow.decode(z, exact=False)).all()
    assert not has_round_trip(flow)
    with pytest.raises(ValueError, match="What is random is no bijection"):
        flow.bijector.forward(z)
    snf_tf.serving.export(flow, tmp_path / "exported")
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    assert exported.log_prob_bound(x[:3], 4, 1).shape == (3,)
    flow.save(tmp_path / "flow.keras")
    loaded = keras.saving.load_model(tmp_path / "flow.keras")
    found = (model.log_prob_bound(x, seed=3) for model in (loaded, flow))
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_mistakes():
    halves = [networks.ResidualNetwork((4,)) for _ in range(2)]
    with pytest.raises(ValueError, match="sigma must be a number above 0"):
        layers.VariationalPair(*halves, sigma=0)
    with pytest.raises(ValueError, match="up to 1024 dimensions"):
        layers.VariationalPair(*halves).build((None, 1025))
