"""Densities, samples, training and files of every base, against scipy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

import snf_tf
from snf_tf import bases, layers, serving
from snf_tf.training import make_strategy

D = 3
Z = 2.0 * np.random.RandomState(0).randn(8, D)
LABELS = np.array([0, 1, 2, 2, 1, 0, 1, 1])
CONTEXT = np.random.RandomState(1).randn(8, 2)


def network():
    return keras.layers.Dense(2 * D, kernel_initializer="random_normal")


MAKERS = {
    "location_scale": bases.LocationScale,
    "location_scale-student_t": lambda: bases.LocationScale(bases.StudentT(3.0, learned=True)),
    "student_t": lambda: bases.StudentT(2.5, learned=True),
    "student_t-fixed": lambda: bases.StudentT(1e4),
    "gaussian_mixture": lambda: bases.GaussianMixture(4),
    "gaussian_mixture-1": lambda: bases.GaussianMixture(1),
    "uniform": lambda: bases.Uniform(-3.0, 5.0),
    "class_conditional_normal": lambda: bases.ClassConditionalNormal(3),
    "conditional_normal": lambda: bases.ConditionalNormal(network()),
    "location_scale-conditional": lambda: bases.LocationScale(bases.ClassConditionalNormal(3)),
}


def context_of(base):
    if not base.takes_context:
        return None
    return CONTEXT if isinstance(base, bases.ConditionalNormal) else LABELS


def made(name):
    """A base with random weights."""
    base = MAKERS[name]()
    base.build((None, D))
    if isinstance(base, bases.ConditionalNormal):
        base.network.build((None, 2))
    random = np.random.RandomState(2)
    for weight in base.trainable_weights:
        weight.assign(weight + 0.5 * random.randn(*weight.shape))
    return base


def reference(base, z, context):
    """Log-densities by scipy, `(batch,)`."""
    if isinstance(base, bases.LocationScale):
        location, scale = np.array(base.location), np.exp(np.array(base.log_scale))
        e = (z - location) / scale
        inner = (
            stats.norm.logpdf(e).sum(1) if base.base is None else reference(base.base, e, context)
        )
        return inner - np.log(scale).sum()
    if isinstance(base, bases.StudentT):
        return stats.t.logpdf(z, np.exp(np.array(base.log_degrees_of_freedom))).sum(1)
    if isinstance(base, bases.Uniform):
        return stats.uniform.logpdf(z, base.low, base.high - base.low).sum(1)
    if isinstance(base, bases.GaussianMixture):
        location, scale = np.array(base.location), np.exp(np.array(base.log_scale))
        parts = stats.norm.logpdf(z[:, None], location, scale).sum(2)
        return special.logsumexp(parts + special.log_softmax(np.array(base.logits)), axis=1)
    if isinstance(base, bases.ClassConditionalNormal):
        location, scale = np.array(base.location), np.exp(np.array(base.log_scale))
        return stats.norm.logpdf(z, location[context], scale[context]).sum(1)
    outputs = context @ np.array(base.network.kernel) + np.array(base.network.bias)
    return stats.norm.logpdf(z, outputs[:, :D], np.exp(outputs[:, D:])).sum(1)


def flow_of(base, **kwargs):
    bijections = [layers.ExactDense(kernel_initializer="identity")]
    return snf_tf.Flow(bijections, (D,), base=base, **kwargs)


@pytest.mark.parametrize("name", MAKERS)
def test_log_prob_is_exact(float64, name):
    base = made(name)
    context = context_of(base)
    given = None if context is None else tf.constant(context)
    found = base.log_prob(tf.constant(Z), given)
    np.testing.assert_allclose(found, reference(base, Z, context), rtol=1e-9)


def test_nothing_is_outside_of_the_cube(float64):
    base = made("uniform")
    z = np.array([[0.0, 5.0, -3.0], [0.0, 5.1, 0.0], [-3.1, 0.0, 0.0]])
    np.testing.assert_array_equal(base.log_prob(tf.constant(z)), [-3 * np.log(8)] + [-np.inf] * 2)


@pytest.mark.parametrize("name", MAKERS)
def test_samples_have_the_density(name):
    """By the Kolmogorov-Smirnov test of every dimension, against marginals of one million."""
    base = made(name)
    context = context_of(base)
    row = None if context is None else tf.constant(context[:1])
    count = 20_000
    many = None if row is None else tf.repeat(row, count, axis=0)
    seed = tf.constant([3, 4])
    z = base.sample(count, seed, many).numpy()
    np.testing.assert_array_equal(z, base.sample(count, seed, many))
    assert np.abs(z[:100] - base.sample(count, seed + 1, many)[:100]).max() > 0.1
    assert (z.shape, z.dtype) == ((count, D), np.float32)
    # Numbers of two dimensions are independent but for the components of a mixture.
    if "mixture" not in name:
        ranks = stats.rankdata(z, axis=0)
        assert np.abs(np.corrcoef(ranks.T) - np.eye(D)).max() < 0.03
    for index in range(D):
        cdf = marginal_cdf(base, index, None if context is None else context[:1])
        assert stats.kstest(z[:, index], cdf).pvalue > 1e-3


def marginal_cdf(base, index, context):
    """The distribution function of one dimension."""
    if isinstance(base, bases.LocationScale):
        location, scale = float(base.location[index]), np.exp(float(base.log_scale[index]))
        inner = stats.norm.cdf if base.base is None else marginal_cdf(base.base, index, context)
        return lambda z: inner((z - location) / scale)
    if isinstance(base, bases.StudentT):
        return stats.t(np.exp(float(base.log_degrees_of_freedom[index]))).cdf
    if isinstance(base, bases.Uniform):
        return stats.uniform(base.low, base.high - base.low).cdf
    if isinstance(base, bases.GaussianMixture):
        weights = special.softmax(np.array(base.logits))
        parts = stats.norm(
            np.array(base.location)[:, index], np.exp(np.array(base.log_scale)[:, index])
        )
        return lambda z: parts.cdf(np.asarray(z)[..., None]) @ weights
    moments = base.moments(tf.constant(context), tf.float32)
    location, log_scale = (float(moment[0, index]) for moment in moments)
    return stats.norm(location, np.exp(log_scale)).cdf


@pytest.mark.parametrize("name", MAKERS)
def test_a_flow_trains_saves_and_loads_it(name, tmp_path):
    base = MAKERS[name]()
    context = context_of(base)
    flow = flow_of(base)
    x = np.clip(0.3 * Z, -1, 1).astype("float32")
    flow.compile(optimizer=keras.optimizers.SGD(1e-2))
    flow.fit(x, context=context, batch_size=8, epochs=1, verbose=0)
    before = [weight.numpy() for weight in base.trainable_weights]
    assert bool(before) == (name not in ("uniform", "student_t-fixed"))
    flow.fit(x, context=context, batch_size=8, epochs=2, verbose=0)
    for old, new in zip(before, base.trainable_weights, strict=True):
        # The only weight of one component is 1.
        assert (np.abs(old - new.numpy()).max() > 0) or new.shape == (1,)
    log_prob = flow.log_prob(x, context=context)
    assert flow.evaluate(x, context=context)["nll"] == pytest.approx(-np.mean(log_prob), rel=1e-6)
    flow.save(tmp_path / "flow.keras")
    loaded = keras.saving.load_model(tmp_path / "flow.keras")
    if loaded.unbuilt_parts():
        loaded.log_prob(x, context=context)
    np.testing.assert_allclose(loaded.log_prob(x, context=context), log_prob, rtol=1e-6)
    flow.save_weights(tmp_path / "flow.weights.h5")
    other = flow_of(MAKERS[name]())
    other.log_prob(x, context=context)
    other.load_weights(tmp_path / "flow.weights.h5")
    np.testing.assert_array_equal(other.log_prob(x, context=context), log_prob)
    samples = flow.sample(8, context=context, seed=1)
    np.testing.assert_array_equal(samples, other.sample(8, context=context, seed=1))
    assert np.isfinite(samples).all()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("uniform", "student_t", "gaussian_mixture")
    ],
)
def test_export_and_distribution(name, tmp_path):
    flow = flow_of(made(name))
    x = np.clip(Z, -1, 1).astype("float32")
    serving.export(flow, tmp_path / "exported")
    model = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(model.log_prob(x), flow.log_prob(x), rtol=1e-5)
    np.testing.assert_allclose(model.sample(5, 3), flow.sample(5, seed=3), rtol=1e-5)
    distribution = flow.distribution
    np.testing.assert_allclose(distribution.log_prob(x), flow.log_prob(x), rtol=1e-5)
    assert distribution.sample(4, seed=1).shape == (4, D)
    assert distribution.sample((2, 4), seed=1).shape == (2, 4, D)
    assert len(distribution.trainable_variables) == len(flow.trainable_variables)


def test_float64_samples(float64):
    for name in MAKERS:
        base = made(name)
        context = context_of(base)
        given = None if context is None else tf.constant(context)
        assert base.sample(8, tf.constant([1, 2]), given).dtype == tf.float64


def test_maximum_likelihood(float64):
    """Learned location and scale become mean and deviation."""
    x = 5.0 + np.array([0.1, 1.0, 3.0]) * np.random.RandomState(0).randn(200, 3)
    flow = snf_tf.Flow([layers.Scale(1.0)], (D,), base=bases.LocationScale())
    flow.compile(optimizer=keras.optimizers.Adam(0.1))
    data = tf.data.Dataset.from_tensors(x).cache().repeat(500)
    flow.fit(data, verbose=0)
    np.testing.assert_allclose(flow.base.location, x.mean(0), rtol=1e-3)
    np.testing.assert_allclose(np.exp(flow.base.log_scale), x.std(0), rtol=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bases.StudentT(0.0), "degrees_of_freedom must be a number above 0"),
        (lambda: bases.Uniform(1.0, 1.0), "low must be less than high"),
        (lambda: bases.GaussianMixture(0), "components must be an integer of at least 1"),
        (lambda: bases.GaussianMixture(spread=-1.0), "spread must be a number of at least 0"),
        (lambda: bases.ClassConditionalNormal(True), "classes must be an integer of at least 1"),
        (lambda: bases.LocationScale("normal"), r"must be a snf_tf\.bases\.Base"),
        (lambda: bases.ConditionalNormal(3), "network must be a Keras layer"),
    ],
)
def test_arguments_that_make_no_base(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_base_with_a_context_needs_it():
    flow = flow_of(bases.ClassConditionalNormal(3))
    x = Z.astype("float32")
    for call in (lambda: flow.log_prob(x), lambda: flow.sample(3), lambda: flow.evaluate(x)):
        with pytest.raises(ValueError, match=r"give context=\. Received: no context"):
            call()
    for context in (LABELS + 1, CONTEXT, LABELS.astype("float32")):
        with pytest.raises(ValueError, match=r"Labels must be in|is labels, integers"):
            flow.log_prob(x, context=context)
    with pytest.raises(ValueError, match="as many rows as x, 4"):
        flow.sample(4, context=LABELS[:3])
    np.testing.assert_array_equal(
        flow.sample(5, context=LABELS[2:3], seed=0),
        flow.sample(5, context=np.full(5, LABELS[2]), seed=0),
    )
    with pytest.raises(ValueError, match=r"snf_tf\.bases without a context"):
        _ = flow.distribution
    wrong = flow_of(bases.ConditionalNormal(keras.layers.Dense(5)))
    with pytest.raises(ValueError, match="must make D means"):
        wrong.log_prob(x, context=CONTEXT)
    with pytest.raises(ValueError, match="built for D=3"):
        snf_tf.Flow([layers.ExactDense()], (4,), base=made("student_t"))


def test_classes_are_told_apart():
    """Means of classes move to the classes' data: Bayes' rule finds the labels."""
    random = np.random.RandomState(0)
    y = np.arange(300) % 3
    x = (4.0 * np.eye(3)[y] + random.randn(300, 3)).astype("float32")
    flow = snf_tf.Flow([layers.Scale(1.0)], (D,), base=bases.ClassConditionalNormal(3))
    flow.compile(optimizer=keras.optimizers.Adam(0.1))
    flow.fit(tf.data.Dataset.from_tensors((x, y)).cache().repeat(120), verbose=0)
    log_probs = [flow.log_prob(x, context=np.full(300, label)) for label in range(3)]
    assert np.mean(np.argmax(log_probs, axis=0) == y) > 0.97
    np.testing.assert_allclose(flow.base.location, 4.0 * np.eye(3), atol=0.4)


def test_two_replicas_take_the_steps_of_one():
    """With weights, contexts, and a last batch of shards that differ."""
    x = Z.astype("float32")
    given = {"x": x, "context": LABELS, "sample_weight": np.arange(8.0)}
    results = []
    for devices in (["CPU:0"], ["CPU:0", "CPU:1"]):
        keras.utils.set_random_seed(0)
        with make_strategy(devices).scope():
            flow = flow_of(bases.ClassConditionalNormal(3))
            flow.compile(optimizer=keras.optimizers.SGD(0.1))
        flow.fit(tf.data.Dataset.from_tensor_slices(given).batch(5), epochs=2, verbose=0)
        results.append(flow.get_weights())
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
