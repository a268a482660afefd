"""Endpoints and SavedModels of flows that take a context."""

import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import bases, layers, serving
from snf_tf.flow import likelihood

X = np.random.RandomState(0).randn(6, 4).astype("float32")
CONTEXTS = {
    "label": np.array([0, 2, 1, 1, 0, 2]),
    "context": np.random.RandomState(1).randn(6, 3).astype("float32"),
}


def make_flow(kind):
    given = {"context_classes": 3} if kind == "label" else {"context_shape": (3,)}
    base = bases.ClassConditionalNormal(3) if kind == "label" else None
    bijections = [layers.AffineCoupling(width=4, **given), layers.ExactDense()]
    flow = snf_tf.Flow(bijections, (4,), base=base)
    for weight in flow.trainable_weights:
        weight.assign_add(0.3 * tf.random.normal(weight.shape))
    return flow


@pytest.fixture(scope="module", params=["label", pytest.param("context", marks=pytest.mark.slow)])
def given(request, tmp_path_factory):
    """A flow, its models in process and loaded, and contexts."""
    flow = make_flow(request.param)
    directory = tmp_path_factory.mktemp("serving") / "model"
    serving.export(flow, directory)
    models = serving.Endpoints(flow), tf.saved_model.load(str(directory))
    return request.param, flow, models, CONTEXTS[request.param]


def test_all_methods_agree_with_the_flow(given):
    kind, flow, models, context = given
    for model in models:
        assert serving.context_kind(model) == kind
        np.testing.assert_allclose(
            model.log_prob(X, context=context), flow.log_prob(X, context=context), rtol=1e-5
        )
        assert np.abs(model.log_prob(X, context=context[::-1]) - flow.log_prob(X, context)).max()
        z = model.encode(X, context=context)
        np.testing.assert_allclose(z, flow.encode(X, context=context), rtol=1e-5)
        for decode in (model.decode, model.decode_approximate):
            np.testing.assert_allclose(decode(z, context=context), X, atol=1e-4)
        for draw in (model.sample, model.sample_exact):
            for rows in (context, context[3:4]):
                np.testing.assert_allclose(
                    draw(6, 5, context=rows), flow.sample(6, rows, seed=5), atol=1e-5
                )
        found = likelihood.likelihoods(model, X, batch_size=4, context=context)
        nll = flow.evaluate(X, context=context)["nll"]
        np.testing.assert_allclose(found["nll"], nll, rtol=1e-5)
        log_probs = likelihood.log_probs(model, X, 0, context, batch_size=4)
        np.testing.assert_allclose(-np.mean(log_probs), nll, rtol=1e-5)
        assert likelihood.distance_of_decoded(model, X, context=context) < 1e-4
    served = models[1].signatures["log_prob"]
    arguments = {"x": X, "context": context, "seed": np.int64(0), "first_row": np.int64(0)}
    arguments = {name: tf.constant(value) for name, value in arguments.items()}
    expected = flow.log_prob(X, context=context)
    np.testing.assert_allclose(served(**arguments)["output_0"], expected, rtol=1e-5)


def test_wrong_contexts_are_refused(given):
    kind, _, models, context = given
    errors = (tf.errors.InvalidArgumentError, ValueError)
    for model in models:
        for call in (
            lambda model=model: model.log_prob(X, context=context[:4]),
            lambda model=model: model.decode(X, context=context[:1]),
            lambda model=model: model.sample(3, 0, context=context[:2]),
        ):
            with pytest.raises(errors, match="must have as many rows as x"):
                call()
        with pytest.raises(errors, match=r"context must be of shape \(batch,"):
            model.encode(X, context=context[:, None])
        if kind == "label":
            with pytest.raises(errors, match=r"Labels must be in 0\.\.2"):
                model.sample(6, 0, context=context + 1)
    with pytest.raises(ValueError, match="takes a context: give context="):
        models[0].log_prob(X)
    for wrong in (None, np.full(6, "a"), context > 0):
        with pytest.raises(errors, match="context must be given to this flow, of dtype"):
            models[1].log_prob(X, context=wrong)
    if kind == "label":
        with pytest.raises(ValueError, match="is labels, integers"):
            models[0].log_prob(X, context=context.astype("float32"))


def test_a_flow_without_a_context():
    model = serving.Endpoints(snf_tf.Flow([layers.ExactDense()], (4,)))
    assert (serving.context_kind(model), model.context_classes) == (None, None)
    with pytest.raises(ValueError, match="takes no context"):
        model.encode(X, context=CONTEXTS["context"])
