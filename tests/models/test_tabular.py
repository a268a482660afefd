"""Flows on tables: all couplings and mixing layers, in the units of the data."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from snf_tf import layers, models
from snf_tf.training.build import build_flow

UNITS = np.array([100.0, 1.0, 0.01, 5.0, 1.0])
X = UNITS * np.random.RandomState(0).randn(50, 5) + 3 * UNITS


def log_prob(flow, x):
    """Reference: encodings, and log-determinants of their differences, of 5 rows of 5 features."""
    steps = 1e-5 * np.diag(UNITS)
    moved = np.stack([x[:, None] - steps, x[:, None] + steps]).reshape(50, 5)
    low, high = np.reshape(flow.encode(moved), (2, 5, 5, 5))
    _, log_det = np.linalg.slogdet((high - low) / (2e-5 * UNITS[:, None]))
    return stats.norm.logpdf(flow.encode(x)).sum(1) + log_det


@pytest.mark.parametrize(
    ("options", "mixing", "coupling"),
    [
        pytest.param({}, layers.LULinear, layers.Coupling, marks=pytest.mark.slow),
        ({"coupling": "affine", "mixing": "permute"}, layers.ActNorm, layers.Coupling),
        (
            {"coupling": "autoregressive", "mixing": "exact"},
            layers.ExactDense,
            layers.Autoregressive,
        ),
        pytest.param(
            {"coupling": "autoregressive_rational_quadratic", "mixing": "projected"},
            layers.SelfNormalizingDense,
            layers.Autoregressive,
            marks=pytest.mark.slow,
        ),
        (
            {"mixing": "self_normalizing", "coupling": "affine"},
            layers.SelfNormalizingDense,
            layers.Coupling,
        ),
    ],
)
def test_couplings_and_mixing(options, mixing, coupling):
    small = {"blocks": 2, "width": 8, "residual_blocks": 1, "bins": 4} | options
    flow = build_flow(functools.partial(models.tabular, **small), (5,), dtype_policy="float64")
    kinds = [type(layer) for layer in flow.bijections]
    assert kinds == [layers.Standardize, mixing, coupling, mixing, coupling, mixing]
    flow.initialize(X)
    flow.compile("adam")
    before = flow.evaluate(X, batch_size=50)["nll"]
    flow.fit(X, batch_size=50, epochs=5, verbose=0)
    assert flow.evaluate(X, batch_size=50)["nll"] < before
    np.testing.assert_allclose(flow.log_prob(X)[:5], log_prob(flow, X[:5]), atol=1e-6)
    np.testing.assert_allclose(flow.decode(flow.encode(X)) / UNITS, X / UNITS, atol=1e-8)


def test_self_normalizing_tables_have_a_jacobian_penalty():
    flow = models.tabular((5,), blocks=1, mixing="self_normalizing")
    assert flow.bijections[1].inverse_method.jacobian_penalty == 10.0


@pytest.mark.parametrize(
    "coupling",
    [pytest.param("rational_quadratic", marks=pytest.mark.slow), "autoregressive"],
)
def test_every_feature_is_changed_by_others_and_by_the_context(coupling):
    flow = models.tabular(
        (5,), 2, coupling, "permute", width=16, residual_blocks=1, context_shape=(3,)
    )
    context = np.random.RandomState(1).randn(50, 3).astype("float32")
    flow.initialize(X, context)
    for weight in flow.trainable_weights:
        weight.assign(weight + 0.3 * np.random.RandomState(2).randn(*weight.shape))
    x, given = tf.constant(X, "float32"), tf.constant(context)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, given])
        z = flow.encode(x, context=given)
    options = {"experimental_use_pfor": False}
    changes = np.abs(tape.batch_jacobian(z, x, **options)).max(0) > 0
    assert (changes.sum(1) > 1).all()
    assert (np.abs(tape.batch_jacobian(z, given, **options)).max(0) > 0).all()
    with pytest.raises(ValueError, match="context"):
        flow.log_prob(X)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coupling": "nice"}, "coupling must be one of"),
        ({"conditional_on": "context"}, "needs context_shape"),
        ({"mixing": "svd"}, "mixing must be one of"),
        ({"blocks": 0}, "blocks must be an integer of at least 1"),
        ({"event_shape": (1,)}, r"event_shape must be \(D,\)"),
        ({"event_shape": (4, 4, 1)}, r"event_shape must be \(D,\)"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        models.tabular(**options)


@pytest.mark.parametrize(
    "coupling",
    [
        "affine",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("autoregressive", "additive")),
    ],
)
def test_labels_are_one_hot_contexts(coupling):
    """A flow of labels equals a flow of one-hot vectors with the same weights."""
    small = {"blocks": 2, "width": 8, "residual_blocks": 1, "coupling": coupling}
    of_labels = models.tabular((5,), conditional_on="label", classes=3, **small)
    of_vectors = models.tabular((5,), context_shape=(3,), **small)
    labels = np.arange(50) % 3
    vectors = np.eye(3, dtype="float32")[labels]
    of_labels.initialize(X, context=labels)
    of_vectors.initialize(X, context=vectors)
    assert (of_labels.context_classes, of_labels.context_shape) == (3, ())
    of_labels.compile("adam")
    of_labels.fit(X, context=labels, batch_size=50, epochs=3, verbose=0)
    for ours, other in zip(of_labels.bijections, of_vectors.bijections, strict=True):
        other.set_weights(ours.get_weights())
    z = of_labels.encode(X, context=labels)
    np.testing.assert_allclose(of_vectors.encode(X, context=vectors), z, atol=1e-5)
    assert np.abs(of_labels.encode(X, context=(labels + 1) % 3) - z).max() > 1e-3
    with pytest.raises(ValueError, match="context_classes must be"):
        layers.Autoregressive(context_classes=0)
