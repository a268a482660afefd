"""Classification by Bayes' rule, and flows that are conditional on labels."""

import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import bases, layers
from snf_tf.flow.classification import bayes_scores


def test_scores_against_plain_numpy():
    random = np.random.RandomState(0)
    log_px, labels = 3 * random.randn(20, 3), random.randint(0, 3, 20)
    counts = np.array([6, 1, 3])
    found = bayes_scores(lambda y: log_px[np.arange(20), y], labels, counts)
    joint = np.exp(log_px) * counts / 10
    posterior = joint / joint.sum(axis=1, keepdims=True)
    hits = posterior.argmax(axis=1) == labels
    losses = [-np.log(row[label]) for row, label in zip(posterior, labels, strict=True)]
    expected = {
        "bayes_accuracy": hits.mean(),
        "bayes_accuracy_standard_error": hits.std(ddof=1) / 20**0.5,
        "bayes_classifier_nll": np.mean(losses),
        "bayes_classifier_nll_standard_error": np.std(losses, ddof=1) / 20**0.5,
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12)
    # Densities of images are far below the least float, and a class may have no example.
    far = bayes_scores(lambda y: -5000.0 + log_px[np.arange(20), y], labels, counts)
    assert far["bayes_classifier_nll"] == pytest.approx(np.mean(losses))
    never = bayes_scores(lambda y: log_px[np.arange(20), y], np.zeros(20, int), [1, 0, 0])
    assert never["bayes_accuracy"] == 1.0


def test_classes_that_differ_in_shape_alone():
    """Same means: only couplings that see the label tell the classes apart."""
    random = np.random.RandomState(0)
    y = np.arange(2000) % 2
    r = np.where(y, 3.0, 1.0) + 0.1 * random.randn(2000)
    angle = random.uniform(0, 2 * np.pi, 2000)
    x = np.stack([r * np.cos(angle), r * np.sin(angle)], 1).astype("float32")
    mixed = [layers.Coupling("affine", layers.Channels(f), width=32, context_classes=2)
             for f in (False, True) * 2]  # fmt: skip
    flow = snf_tf.Flow(mixed, (2,))
    assert (flow.context_shape, flow.context_classes, flow.unbuilt_parts()) == ((), 2, [])
    flow.compile(optimizer=tf.keras.optimizers.Adam(5e-3))
    flow.fit(x, context=y, batch_size=200, epochs=15, verbose=0)
    found = bayes_scores(lambda labels: flow.log_prob(x, context=labels), y, [1, 1])
    assert found["bayes_accuracy"] > 0.9


def test_the_noise_is_that_of_the_row_for_every_class():
    """Classes of equal parameters: the posterior is the prior, to the last digit."""
    base = bases.ClassConditionalNormal(4, spread=0.0)
    flow = snf_tf.Flow([layers.Dequantize(), layers.Flatten()], (3, 3, 1), base=base)
    x = np.random.RandomState(0).randint(0, 256, (30, 3, 3, 1))
    y = np.arange(30) % 4
    found = bayes_scores(lambda labels: flow.log_prob(x, context=labels, batch_size=7), y, [1] * 4)
    assert found["bayes_classifier_nll"] == pytest.approx(np.log(4), abs=1e-9)


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (None, "takes a context of shape"),
        ([0, 3], r"Labels must be in 0\.\.2"),
        ([0, -1], r"Labels must be in 0\.\.2"),
        ([0.0, 1.0], "is labels, integers"),
        ([[0], [1]], "is labels, integers"),
        ([0, 1, 2], "as many rows as x"),
    ],
)
@pytest.mark.parametrize("method", ["log_prob", "sample", "fit"])
def test_wrong_labels_are_refused(context, message, method):
    flow = snf_tf.Flow([layers.AffineCoupling(width=3, context_classes=3)], (4,))
    context = None if context is None else np.array(context)
    flow.compile(optimizer="sgd")
    call = {
        "log_prob": lambda: flow.log_prob(np.zeros((2, 4), "float32"), context=context),
        "sample": lambda: flow.sample(2, context=context),
        "fit": lambda: flow.fit(np.zeros((2, 4), "float32"), context=context, verbose=0),
    }[method]
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=message):
        call()


def test_a_bound_has_the_context_in_its_base():
    noise = layers.VariationalDequantize(layers.SmoothTanh(), bins=4)
    base = bases.ClassConditionalNormal(2, spread=3.0)
    flow = snf_tf.Flow([noise], (3,), base=base)
    x = np.zeros((2, 3), "float32")
    bounds = [flow.log_prob_bound(x, context=np.full(2, label), seed=0) for label in (0, 1)]
    assert np.abs(bounds[0] - bounds[1]).min() > 0.1
