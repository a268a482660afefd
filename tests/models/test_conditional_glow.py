"""Glow of p(x | label) and p(x | context)."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from snf_tf import bases, models

X = np.random.RandomState(0).randn(4, 8, 4, 1)
LABELS = np.array([2, 0, 1, 0])
VECTORS = np.random.RandomState(1).randn(4, 3)


def conditional_glow(kind, **options):
    context = {"classes": 3} if kind == "label" else {"context_shape": (3,)}
    return models.glow(
        (8, 4, 1), steps=1, coupling_width=4, mixing="conv1x1", preprocess=False,
        conditional_on=kind, **context, **options,
    )  # fmt: skip


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("kind", "context"), [("label", LABELS), ("context", VECTORS)])
def test_log_prob_against_the_whole_jacobian(kind, context):
    flow = conditional_glow(kind)
    assert flow.unbuilt_parts() == []
    flow.initialize(X, context)
    start = flow.log_prob(X, context=context)
    # At first nothing depends on the context.
    np.testing.assert_allclose(flow.log_prob(X, context=context[::-1]), start, rtol=1e-12)
    for weight in flow.trainable_weights:
        weight.assign(weight + 0.1 * tf.random.normal(weight.shape, dtype=weight.dtype))
    x = tf.constant(X)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        z, _ = flow(x, context=context)
    jacobian = tf.reshape(tape.batch_jacobian(z, x, experimental_use_pfor=False), (4, 32, 32))
    location, log_scale = np.zeros((4, 32)), np.zeros((4, 32))
    if kind == "label":
        location, log_scale = (
            np.array(weight)[LABELS] for weight in (flow.base.location, flow.base.log_scale)
        )
    e = (z - location) / np.exp(log_scale)
    expected = np.linalg.slogdet(jacobian)[1] - np.sum(
        0.5 * e**2 + log_scale + 0.5 * np.log(2 * np.pi), axis=1
    )
    np.testing.assert_allclose(flow.log_prob(X, context=context), expected, rtol=1e-9)
    np.testing.assert_allclose(flow.decode(z, context=context), X, rtol=1e-8, atol=1e-8)
    # Every coupling, both levels, the prior and the base take the context.
    for step in flow.steps(X, context=context):
        if step.layer.takes_context:
            other, _ = step.layer(step.x, context=context[::-1])
            assert np.abs(other - step.z)[0].max() > 1e-4, step.layer.name
    assert sum(leaf.takes_context for leaf in flow.leaves()) == 3
    assert isinstance(flow.base, bases.ClassConditionalNormal) == (kind == "label")


def test_saved(tmp_path):
    flow = conditional_glow("label", conditional=True)
    flow.initialize(X, LABELS)
    flow.save(tmp_path / "glow.keras")
    loaded = keras.models.load_model(tmp_path / "glow.keras")
    assert (loaded.context_classes, loaded.context_shape) == (3, ())
    np.testing.assert_array_equal(
        loaded.log_prob(X, context=LABELS), flow.log_prob(X, context=LABELS)
    )
    assert flow.sample(4, context=LABELS[:1], seed=0).shape == (4, 8, 4, 1)


def test_by_its_name_alone():
    flow = models.glow((4, 4, 1), steps=1, coupling_width=2, conditional_on="label")
    assert flow.context_classes == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conditional_on": "labels"}, "must be one of None, 'label', 'context'"),
        ({"conditional_on": "context"}, "needs context_shape"),
        ({"context_shape": (3,)}, "nothing else takes it"),
        ({"conditional_on": "context", "context_shape": (28, 28, 1)}, "must be a vector"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        models.glow(**options)
