"""A bound is called one, and tends to the probability that it bounds."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate
from scipy.special import logsumexp
from scipy.stats import norm

import snf_tf
from snf_tf import layers, networks, ops, serving
from snf_tf.flow import likelihood

BINS = 4


def noise_flow(size=1, **kwargs):
    """From noise to noise, given x."""
    transform = layers.Affine("exp")
    return layers.Autoregressive(transform, widths=(8,), context_shape=(size,), **kwargs)


def made(size=1, dtype="float64", dequantize=None, scale=0.5):
    """A flow on integers below 4, with weights far from their first values."""
    if dequantize is None:
        dequantize = layers.VariationalDequantize(noise_flow(size, dtype=dtype), BINS, dtype=dtype)
    bounded = layers.Bounded(0.0, BINS, dtype=dtype)
    spline = layers.SplineActivation(bins=4, bound=4.0, dtype=dtype)
    flow = snf_tf.Flow([dequantize, bounded, spline], (size,))
    random = np.random.RandomState(2)
    for weight in flow.trainable_weights:
        # Noise that is much narrower than uniform noise needs many more draws.
        factor = scale if "spline" in weight.path else 0.4 * scale
        weight.assign(factor * random.randn(*weight.shape))
    return flow


@pytest.fixture(scope="module")
def flow():
    return made()


def density(flow):
    """The flow after the noise, as a flow of its own."""
    return snf_tf.Flow(flow.bijections[1:], flow.event_shape)


def truth(flow, count=20001):
    """log P of every integer, by quadrature of the density between it and the next one."""
    found = []
    for x in range(BINS):
        y = np.linspace(x, x + 1, count)[1:-1]
        values = np.exp(density(flow).log_prob(y[:, None]))
        # The density falls to 0 or is finite at the ends, which the flow refuses.
        found.append(np.log(integrate.trapezoid(values, y)))
    return np.array(found)


def test_the_truth_is_a_distribution(flow):
    assert np.exp(truth(flow)).sum() == pytest.approx(1.0, abs=1e-4)


def test_one_draw_is_that_of_plain_numpy(flow):
    """log p(x + u) - log q(u|x), of the noise of a seed."""
    x = np.arange(BINS)[:, None]
    first = flow.bijections[0]
    seed = ops.fold_in(ops.fold_in(ops.row_seed(3), 0), 0)  # The first layer's, then its noise's.
    e = ops.normal_rows(seed, (BINS, 1), tf.float64).numpy()
    parameters = first.flow.network([e, (2 * x + 1) / BINS - 1.0]).numpy()[..., 0, :]
    v = (e + parameters[:, :1]) * np.exp(parameters[:, 1:])
    u = norm.cdf(v)
    log_q = norm.logpdf(e) - parameters[:, 1:] - norm.logpdf(v)
    expected = density(flow).log_prob(x + u) - log_q[:, 0]
    np.testing.assert_allclose(flow.log_prob_bound(x, seed=3), expected, rtol=1e-9, atol=1e-9)
    z, log_det = first(x, seed=ops.fold_in(ops.row_seed(3), 0))
    np.testing.assert_allclose(z, x + u, rtol=1e-9)
    np.testing.assert_allclose(log_det, -log_q[:, 0], rtol=1e-9)


@pytest.mark.parametrize("kind", ["variational", "uniform"])
def test_the_bound_rises_to_the_truth(flow, kind):
    if kind == "uniform":
        flow = made(dequantize=layers.Dequantize(BINS, dtype="float64"))
    log_p = truth(flow)
    rows = np.repeat(np.arange(BINS), 4000)[:, None]
    means = []
    for draws in (1, 4, 64):
        bounds = flow.log_prob_bound(rows, draws=draws).numpy().reshape(BINS, -1)
        error = bounds.std(axis=1) / np.sqrt(bounds.shape[1])
        means.append(bounds.mean(axis=1))
        assert np.all(means[-1] < log_p + 4 * error)
    one, four, many = means
    assert np.all(one < four)
    assert np.all(four < many)
    assert np.all(one < log_p - 0.005)
    np.testing.assert_allclose(many, log_p, atol=0.03)
    last = flow.log_prob_bound(np.arange(BINS)[:, None], draws=20000)
    np.testing.assert_allclose(last, log_p, atol=0.03)


def test_draws_are_those_of_the_next_seeds(flow):
    x = np.arange(BINS)[:, None]
    single = [flow.log_prob_bound(x, seed=5 + k).numpy() for k in range(3)]
    expected = logsumexp(single, axis=0) - np.log(3)
    np.testing.assert_allclose(flow.log_prob_bound(x, draws=3, seed=5), expected, rtol=1e-9)
    parts = flow.log_prob_bound(x, draws=3, seed=5, batch_size=3)
    np.testing.assert_allclose(parts, expected, rtol=1e-9)


def test_gradients_are_those_of_the_reparameterised_bound(flow):
    """By differences of one weight of the noise's network, and one of the spline."""
    x = tf.constant(np.arange(BINS)[:, None])

    def loss():
        z, log_det = flow(x, training=True, seed=1)
        return tf.reduce_sum(flow.base_log_prob(z) + log_det)

    weights = [flow.bijections[0].flow.network.last.bias, flow.bijections[2].unnormalized_heights]
    with tf.GradientTape() as tape:
        value = loss()
    gradients = tape.gradient(value, [weight.value for weight in weights])
    for weight, gradient in zip(weights, gradients, strict=True):
        before, found = weight.numpy(), np.zeros(weight.shape)
        for index in np.ndindex(*weight.shape):
            step = np.zeros(weight.shape)
            step[index] = 1e-5
            ends = []
            for sign in (1, -1):
                weight.assign(before + sign * step)
                ends.append(float(loss()))
            found[index] = (ends[0] - ends[1]) / 2e-5
        weight.assign(before)
        np.testing.assert_allclose(gradient, found, rtol=1e-5, atol=1e-6)


def test_names(flow):
    x = np.random.RandomState(0).randint(0, BINS, (50, 1))
    assert flow.log_det_kind == "bound"
    results = flow.evaluate(x)
    kinds = ("nll_bound", "bits_per_dim_bound")
    assert set(results) == {*kinds, *(f"{kind}_standard_error" for kind in kinds)}
    bounds = flow.log_prob_bound(x).numpy()
    assert results["nll_bound"] == pytest.approx(-bounds.mean(), rel=1e-6)
    assert results["nll_bound_standard_error"] == pytest.approx(
        bounds.std() / np.sqrt(50), rel=1e-6
    )
    for use in (flow.log_prob, flow.predict, flow.estimate_log_prob):
        with pytest.raises(ValueError, match=r"flow\.log_prob_bound"):
            use(x)
    with pytest.raises(ValueError, match="at least 1"):
        flow.log_prob_bound(x, draws=0)


def test_fit_and_importance_weighted_results():
    flow = made(2, "float32", scale=0.1)
    x = np.random.RandomState(0).randint(1, 3, (200, 2)).astype("uint8")
    flow.compile(keras.optimizers.Adam(1e-2))
    logs = flow.fit(x, validation_data=x[:50], epochs=3, verbose=0).history
    assert logs["val_loss"] == logs["val_nll_bound"]
    assert logs["val_nll_bound"][-1] < logs["val_nll_bound"][0]
    results = likelihood.likelihoods(serving.Endpoints(flow), x[:50], seed=2, draws=5)
    assert results["nll_bound"] == pytest.approx(-np.mean(flow.log_prob_bound(x[:50], seed=2)))
    expected = -np.mean(flow.log_prob_bound(x[:50], seed=2, draws=5))
    assert results["importance_weighted_nll_bound"] == pytest.approx(expected, rel=1e-5)


def test_learned_noise_is_better_than_uniform_noise():
    """Of one bit whose density is a normal one: uniform noise cannot fit it."""
    x = np.random.RandomState(0).randint(0, 2, (2000, 1))
    found = []
    for noise in (layers.VariationalDequantize(noise_flow(), 2), layers.Dequantize(2)):
        flow = snf_tf.Flow([noise, layers.ActNorm()], (1,))
        flow.initialize(x)
        flow.compile(keras.optimizers.Adam(2e-2))
        flow.fit(x, epochs=6, batch_size=100, verbose=0)
        found.append(-np.mean(flow.log_prob_bound(x)))
    learned, uniform = found
    assert np.log(2) - 0.01 < learned < uniform - 0.1


@pytest.mark.slow
def test_files(tmp_path):
    flow, x = made(3, "float32"), np.random.RandomState(0).randint(0, BINS, (7, 3)).astype("uint8")
    expected = flow.log_prob_bound(x, draws=3, seed=1)
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    np.testing.assert_allclose(loaded.log_prob_bound(x, draws=3, seed=1), expected, rtol=1e-6)
    serving.export(flow, tmp_path / "model")
    model = tf.saved_model.load(str(tmp_path / "model"))
    assert not hasattr(model, "log_prob")
    found = model.log_prob_bound(x, seed=1, draws=tf.constant(3, tf.int64))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    signature = model.signatures["log_prob_bound"](
        x=x,
        seed=tf.constant(1, tf.int64),
        first_row=tf.constant(0, tf.int64),
        draws=tf.constant(3, tf.int64),
    )
    np.testing.assert_allclose(signature["output_0"], expected, rtol=1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError, match="draws must be at least 1"):
        model.log_prob_bound(x, draws=tf.constant(0, tf.int64))


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_the_floor_of_z_is_x(policy):
    """Where u is as close to 1 as rounding allows, too."""
    dequantize = layers.VariationalDequantize(noise_flow(dtype=policy), dtype=policy)
    x = np.arange(256)[:, None]
    dequantize(x)
    dequantize.flow.network.last.bias.assign([40.0, 0.0])
    for training in (False, True):
        z, log_det = dequantize(x, training=training)
        assert (z.dtype, log_det.dtype) == (tf.float32, tf.float32)
        np.testing.assert_array_equal(np.floor(z), x)
        assert np.all(np.isfinite(log_det))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.VariationalDequantize(None), "flow must be a Flow"),
        (lambda: layers.VariationalDequantize(layers.Dequantize()), "must be a bijection"),
        (
            lambda: layers.VariationalDequantize(
                snf_tf.Flow([layers.SmoothTanh()], (2,), base=snf_tf.bases.StudentT())
            ),
            "leave out the flow's base",
        ),
        (
            lambda: layers.VariationalDequantize(snf_tf.Flow([layers.SmoothTanh()], (2,))).build(
                (None, 3)
            ),
            r"events of shape \(3,\)",
        ),
        (lambda: made()(np.full((2, 1), 7)), r"integer values in 0\.\.3"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_estimates_are_no_bounds():
    block = layers.ResidualBlock(networks.LipschitzNetwork((4,)))
    noise = layers.VariationalDequantize(noise_flow(65), BINS)
    both = snf_tf.Flow([noise, block], (65,))
    assert both.log_det_kind == "bound"
    with pytest.raises(ValueError, match="log_prob_bound is exact"):
        both.log_prob_bound(np.zeros((2, 65)))


def test_data_initialize_the_flow_of_the_noise():
    inner = snf_tf.Flow([layers.ActNorm(), layers.SmoothTanh()], (3,))
    flow = snf_tf.Flow([layers.VariationalDequantize(inner), layers.Scale()], (3,))
    assert flow.needs_initialization
    x = np.random.RandomState(0).randint(0, 256, (10, 3))
    flow.initialize(x)
    assert not flow.needs_initialization
    assert flow.log_prob_bound(x).shape == (10,)
