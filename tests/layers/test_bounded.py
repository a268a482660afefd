"""Bounds of every side: plain numpy, densities that integrate to 1, and refusals."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate

import snf_tf
from snf_tf import layers, serving

SIDES = {
    "both": (-1.0, 3.0),
    "low": (2.0, None),
    "high": (-np.inf, -1.0),
    "none": (None, np.inf),
}
MIXED = {"low": [0.0, None, 1.0, None], "high": [2.0, None, None, 5.0]}


def reference(x, low, high):
    """z and its slope, in the formulas of the docstring."""
    low, high = (-np.inf if low is None else low), (np.inf if high is None else high)
    if np.isfinite(low) and np.isfinite(high):
        return np.log((x - low) / (high - x)), 1 / (x - low) + 1 / (high - x)
    if np.isfinite(low):
        return np.log(np.exp(x - low) - 1), 1 / (1 - np.exp(low - x))
    if np.isfinite(high):
        return -np.log(np.exp(high - x) - 1), 1 / (1 - np.exp(x - high))
    return x, np.ones_like(x)


@pytest.mark.parametrize("side", SIDES)
def test_reference(side):
    low, high = SIDES[side]
    layer = layers.Bounded(low, high, dtype="float64")
    random = np.random.RandomState(0).uniform(0.01, 0.99, (5, 3))
    x = {"both": -1 + 4 * random, "low": 2 + 9 * random, "high": -1 - 9 * random, "none": random}
    z, slope = reference(x[side], low, high)
    found = layer(x[side])
    np.testing.assert_allclose(found[0], z, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found[1], np.log(slope).sum(axis=1), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(layer.inverse(z), x[side], rtol=1e-9)


def test_each_dimension_has_its_bounds():
    layer = layers.Bounded(**MIXED, dtype="float64")
    x = np.random.RandomState(0).uniform(1.1, 1.9, (6, 4))
    ends = zip(*MIXED.values(), strict=True)
    columns = [reference(x[:, d], low, high) for d, (low, high) in enumerate(ends)]
    z, log_det = layer(x)
    np.testing.assert_allclose(z, np.stack([c[0] for c in columns], 1), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(log_det, sum(np.log(c[1]) for c in columns), rtol=1e-9)


@pytest.mark.parametrize("side", SIDES)
def test_densities_integrate_to_1(side):
    """Of a flow with a spline after the bounds, so that the density has a shape."""
    low, high = SIDES[side]
    spline = layers.SplineActivation(bins=4, dtype="float64")
    flow = snf_tf.Flow([layers.Bounded(low, high, dtype="float64"), spline], (1,))
    for weight in flow.trainable_weights:
        weight.assign(np.random.randn(*weight.shape))
    # In z, where the quadrature sees all of it.
    knots = np.linspace(-12, 12, 20001)
    x = flow.bijections[0].inverse(knots[:, None])
    z = flow.bijections[0](x)[0].numpy()[:, 0]
    x = x.numpy()[:, 0]
    density = np.exp(flow.log_prob(x[:, None]))
    inside = np.concatenate([[True], np.diff(x) > 0])
    total = integrate.trapezoid(density[inside], x[inside])
    assert total == pytest.approx(1.0, abs=1e-4)
    np.testing.assert_allclose(z[9000:11000], knots[9000:11000], atol=1e-8)


def test_samples_lie_inside():
    """Where rounding meets the bounds, too: samples have a finite density."""
    flow = snf_tf.Flow([layers.Bounded(MIXED["low"], MIXED["high"])], (4,))
    x = flow.sample(1000, seed=1, temperature=30.0)
    assert np.all(np.isfinite(flow.log_prob(x)))
    far = flow.decode(tf.constant([[-1e4] * 4, [1e4] * 4]))
    assert np.all(np.isfinite(flow.log_prob(far)))


@pytest.mark.parametrize("where", ["eager", "graph", "flow", "fit"])
@pytest.mark.parametrize("value", [-0.1, 1.0, np.nan])
def test_values_outside_are_refused(where, value):
    layer = layers.Bounded(0.0, 1.0)
    x = np.full((4, 2), 0.5, "float32")
    layer(x)
    x[1, 1] = value
    flow = snf_tf.Flow([layer], (2,))
    flow.compile()
    calls = {
        "eager": lambda: layer(x),
        "graph": lambda: tf.function(layer)(x),
        "flow": lambda: flow.log_prob(x),
        "fit": lambda: flow.fit(x, verbose=0),
    }
    error = tf.errors.InvalidArgumentError if where == "graph" else ValueError
    message = "must be finite" if where in ("flow", "fit") and value != value else "takes x between"
    with pytest.raises(error, match=message):
        calls[where]()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Bounded(1.0, 1.0), "below its high"),
        (lambda: layers.Bounded([0.0, 3.0], [1.0, 2.0]), "below its high"),
        (lambda: layers.Bounded(np.nan), "low must be a number, or None"),
        (lambda: layers.Bounded(np.inf), "below its high"),
        (lambda: layers.Bounded([0.0, 1.0], [1.0, 2.0, 3.0]), "below its high"),
        (lambda: layers.Bounded([0.0, 1.0]).build((None, 3)), "must broadcast"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_gradients_are_finite_in_every_dimension():
    layer = layers.Bounded(**MIXED)
    x = tf.constant([[1e-6, -40.0, 1.0001, -300.0], [1.9999, 1e5, 1e4, 4.9999]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        z, log_det = layer(x, training=True)
        loss = tf.reduce_sum(z) + tf.reduce_sum(log_det)
    assert np.all(np.isfinite(z))
    assert np.all(np.isfinite(tape.gradient(loss, x)))


def test_float32_round_trips_in_64_dimensions():
    low = np.where(np.arange(64) % 2, -np.inf, 0.0)
    high = np.where(np.arange(64) % 3, np.inf, 1.0)
    layer = layers.Bounded(low, high)
    x = tf.random.uniform((100, 64), 0.001, 0.999)
    assert np.max(np.abs(layer.inverse(layer(x)[0]) - x)) < 1e-4


@pytest.mark.slow
def test_files(tmp_path):
    flow = snf_tf.Flow([layers.Bounded(**MIXED), layers.SplineActivation()], (4,))
    x = flow.sample(5, seed=1).numpy()
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    np.testing.assert_array_equal(loaded.log_prob(x), flow.log_prob(x))
    serving.export(flow, tmp_path / "model")
    model = tf.saved_model.load(str(tmp_path / "model"))
    np.testing.assert_allclose(model.log_prob(x), flow.log_prob(x), rtol=1e-5, atol=1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError, match="takes x between its bounds"):
        model.log_prob(np.full((1, 4), 9.0, "float32"))
