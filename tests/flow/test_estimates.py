"""What is not exact says so, in every name; and what an estimate estimates."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers, networks
from snf_tf.flow import likelihood
from snf_tf.training.strategy import make_strategy
from tests.flows import images

SHAPE = (10, 8, 1)


def flow(log_det="russian_roulette", **kwargs):
    """80 dimensions: beyond what is exact without being asked."""
    made = snf_tf.models.residual_flow(
        SHAPE, blocks=1, scales=2, widths=(6, 6), log_det=log_det, **kwargs
    )
    made.initialize(images(20, SHAPE))
    for index, weight in enumerate(made.trainable_weights):
        if "kernel" in weight.path:
            noise = np.random.RandomState(index).randn(*weight.shape)
            weight.assign(weight + 0.5 * noise)
    return made


@pytest.fixture(scope="module")
def estimating():
    return flow()


@pytest.fixture(scope="module")
def exact():
    return flow("brute_force")


def test_kinds(estimating, exact):
    assert estimating.log_det_kind == "estimate"
    assert exact.log_det_kind == "exact"
    assert flow(layers.Krylov(3)).log_det_kind == "estimate"
    small = snf_tf.models.residual_flow((64,), blocks=1, widths=(4,))
    large = snf_tf.models.residual_flow((65,), blocks=1, widths=(4,))
    assert (small.log_det_kind, large.log_det_kind) == ("exact", "estimate")
    nested = snf_tf.models.residual_flow(
        (12, 12, 1), blocks=1, scales=2, widths=(4, 4), factor_out=True
    )
    assert nested.log_det_kind == "estimate"


def test_log_prob_is_refused(estimating):
    x = images(3, SHAPE)
    for use in (estimating.log_prob, estimating.predict):
        with pytest.raises(ValueError, match="estimate_log_prob"):
            use(x)
    bijector = estimating.bijector
    data = tf.constant(x, tf.float32) + 0.5
    assert bijector.inverse(data).shape == (3, 80)
    with pytest.raises(ValueError, match="brute_force"):
        bijector.inverse_log_det_jacobian(data)


@pytest.mark.parametrize(
    "log_det",
    [
        "russian_roulette",
        "truncated_series",
        pytest.param(layers.Krylov(8), marks=pytest.mark.slow),
    ],
)
def test_estimates_are_of_the_exact_value(exact, log_det):
    """At the same dequantization noise: within 5 standard errors in every row."""
    made = flow(log_det)
    made.set_weights(exact.get_weights())
    x = images(12, SHAPE)
    mean, error = made.estimate_log_prob(x, draws=60)
    assert mean.shape == error.shape == (12,)
    assert np.all(np.abs(mean - exact.log_prob(x)) < 5 * error + 1e-3)
    assert 0 < float(tf.reduce_max(error)) < 1.0
    # The error falls with the root of the draws.
    fewer = made.estimate_log_prob(x, draws=15).standard_error
    assert 1.4 < float(tf.reduce_mean(fewer / error)) < 2.8


def test_draws_and_seeds(estimating, exact):
    x = images(4, SHAPE)
    one = estimating.estimate_log_prob(x, draws=1)
    assert np.isnan(one.standard_error).all()
    np.testing.assert_array_equal(one.mean, estimating.estimate_log_prob(x, draws=1).mean)
    assert np.abs(one.mean - estimating.estimate_log_prob(x, draws=1, seed=1).mean).max() > 1e-3
    parts = estimating.estimate_log_prob(x, draws=3, batch_size=3)
    whole = estimating.estimate_log_prob(x, draws=3)
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-6)
    np.testing.assert_allclose(parts.standard_error, whole.standard_error, rtol=1e-3)
    # Exact flows have no probe: every draw is log_prob.
    same = exact.estimate_log_prob(x, draws=3)
    np.testing.assert_allclose(same.mean, exact.log_prob(x), rtol=1e-6)
    assert float(tf.reduce_max(same.standard_error)) < 1e-3
    for draws in (0, 1.5, True):
        with pytest.raises(ValueError, match="draws must be an integer"):
            estimating.estimate_log_prob(x, draws=draws)


def test_evaluate_names_and_standard_error(estimating, exact):
    x = images(50, SHAPE)
    found = estimating.evaluate(x, batch_size=20)
    names = [f"{n}_estimate{s}" for n in ("nll", "bits_per_dim") for s in ("", "_standard_error")]
    assert sorted(found) == sorted(names)
    values = -estimating.estimate_log_prob(x, draws=1).mean.numpy().astype(float)
    assert found["nll_estimate"] == pytest.approx(values.mean(), rel=1e-6)
    error = values.std() / np.sqrt(50)
    assert found["nll_estimate_standard_error"] == pytest.approx(error, rel=1e-3)
    assert found["bits_per_dim_estimate"] == pytest.approx(values.mean() / 80 / np.log(2), rel=1e-6)
    weight = np.random.RandomState(0).rand(50)
    weighted = estimating.evaluate(x, sample_weight=weight)
    mean = np.average(values, weights=weight)
    assert weighted["nll_estimate"] == pytest.approx(mean, rel=1e-6)
    spread = np.sqrt(np.sum(weight**2 * (values - mean) ** 2)) / weight.sum()
    assert weighted["nll_estimate_standard_error"] == pytest.approx(spread, rel=1e-3)
    assert sorted(exact.evaluate(x)) == ["bits_per_dim", "nll"]


@pytest.mark.slow
def test_fit_and_callbacks():
    made = flow()
    x = images(40, SHAPE)
    made.compile(keras.optimizers.Adam(1e-3))
    stop = keras.callbacks.EarlyStopping(patience=0, start_from_epoch=5)
    history = made.fit(x, batch_size=20, epochs=3, validation_data=x, verbose=0, callbacks=[stop])
    assert history.history["val_loss"] == history.history["val_nll_estimate"]
    assert "val_nll" not in history.history
    assert history.history["surrogate"][-1] < history.history["surrogate"][0]


@pytest.mark.slow
def test_served(estimating, exact, tmp_path):
    x = images(6, SHAPE)
    snf_tf.serving.export(estimating, tmp_path / "model")
    model = tf.saved_model.load(str(tmp_path / "model"))
    assert not hasattr(model, "log_prob")
    assert "estimate_log_prob" in model.signatures
    found = model.estimate_log_prob(x, tf.constant(3, tf.int64))
    expected = estimating.estimate_log_prob(x, seed=3)
    np.testing.assert_allclose(found["mean"], expected.mean, rtol=1e-5)
    np.testing.assert_allclose(found["standard_error"], expected.standard_error, rtol=1e-2)
    np.testing.assert_allclose(model.sample(4, seed=1), estimating.sample(4, seed=1), atol=1e-2)
    z = model.encode(x, tf.constant(0, tf.int64))
    np.testing.assert_allclose(z, estimating.encode(x), rtol=1e-5, atol=1e-5)
    assert np.abs(np.floor(model.decode(z)) - x).max() == 0
    results = likelihood.likelihoods(model, x)
    assert {"nll_estimate", "nll_estimate_standard_error"} <= set(results)
    with pytest.raises(ValueError, match="needs exact log-densities"):
        likelihood.likelihoods(model, x, draws=2)
    endpoints = snf_tf.serving.Endpoints(exact)
    assert hasattr(endpoints, "log_prob")
    assert not hasattr(endpoints, "estimate_log_prob")


@pytest.mark.slow
@pytest.mark.parametrize("log_det", ["russian_roulette", layers.Krylov(3)])
def test_two_devices_train_as_one(log_det):
    """The same probes, terms and norms: 10 SGD steps with the same global batch."""
    x = np.random.RandomState(0).randn(120, 5).astype("float32")
    found = []
    for devices in (1, 2):
        strategy = (
            make_strategy(["CPU:0", "CPU:1"]) if devices == 2 else tf.distribute.get_strategy()
        )
        keras.utils.set_random_seed(0)
        with strategy.scope():
            network = networks.LipschitzNetwork((8, 8), norm="learned")
            made = snf_tf.Flow([layers.ResidualBlock(network, log_det)], event_shape=(5,))
            for index, weight in enumerate(made.trainable_weights):
                if "kernel" in weight.path:
                    weight.assign(np.random.RandomState(index).randn(*weight.shape))
            made.compile(keras.optimizers.SGD(0.05))
        data = tf.data.Dataset.from_tensor_slices(x).batch(12)
        history = made.fit(data, epochs=1, verbose=0).history
        found.append([*history["surrogate"], *(w.numpy().ravel() for w in made.trainable_weights)])
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(two, one, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 0.0, 1.0]])
def test_the_loss_is_linear_in_sample_weights(weights):
    """bits/dim losses, weights: gradients of a custom loop against single examples."""
    made = snf_tf.Flow(
        [layers.ResidualBlock(networks.LipschitzNetwork((6,)), layers.TruncatedSeries(4))],
        event_shape=(3,),
    )
    x = tf.random.normal((4, 3))
    factors = tf.constant(weights or [0.3] * 4)
    variables = [weight.value for weight in made.trainable_weights]

    def gradients(rows, factors, first):
        seed = tf.constant([1, 2, first], tf.int64)
        with keras.StatelessScope(), tf.GradientTape() as tape:
            z, log_det = made(x[rows], training=True, seed=seed)
            loss = tf.reduce_sum(factors * -(made.base_log_prob(z) + log_det))
        return tape.gradient(loss, variables)

    whole = gradients(slice(0, 4), factors, 0)
    single = [gradients(slice(i, i + 1), factors[i : i + 1], i) for i in range(4)]
    for all_at_once, *parts in zip(whole, *single, strict=True):
        np.testing.assert_allclose(all_at_once, sum(parts), rtol=1e-4, atol=1e-6)
