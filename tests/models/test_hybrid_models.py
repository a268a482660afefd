"""Hybrid models of Residual Flows: what is built, what is skipped, what a SavedModel answers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers, models, serving
from snf_tf.flow.classification import class_scores
from snf_tf.flow.hybrid import ends_of_scales
from tests.flows import brute_force_log_prob

X = np.random.RandomState(0).randint(0, 256, (20, 4, 4, 3)).astype("uint8")
Y = (np.arange(20) % 4).astype("int32")


def small(**options):
    options = {"blocks": 1, "scales": 2, "widths": (4,), "classes": 4, "head_width": 6} | options
    flow = models.residual_flow((4, 4, 3), **options)
    flow.initialize(X)
    flow.compile(optimizer=keras.optimizers.Adam(1e-3))
    return flow


@pytest.mark.parametrize("block", ["residual", "coupling", "coupling_1x1"])
def test_every_block_makes_a_hybrid_model(block):
    flow = small(block=block, likelihood_weight="1/D")
    assert isinstance(flow, snf_tf.HybridFlow)
    kernels = [tuple(head.linear.kernel.shape) for head in flow.heads]
    assert kernels == [(3, 3, 12, 6), (3, 3, 12, 6)]
    assert not isinstance(small(block=block, classes=None), snf_tf.HybridFlow)
    assert flow.classify(X).shape == (20, 4)


def test_initialize_normalizes_the_heads():
    """Where a channel's variance is above the floor of 0.2."""
    flow = small(block="coupling")
    features = flow._features(X, None, False, snf_tf.ops.row_seed(0), [])[1]
    for head, feature in zip(flow.heads, features, strict=True):
        h = head.linear(feature)
        variance = np.var(h, axis=(0, 1, 2))
        z = (h + head.bias) * tf.exp(head.log_scale)
        np.testing.assert_allclose(np.mean(z, axis=(0, 1, 2)), 0, atol=1e-5)
        expected = variance / np.maximum(variance, 0.2)
        np.testing.assert_allclose(np.var(z, axis=(0, 1, 2)), expected, rtol=1e-4)
        np.testing.assert_allclose(
            head(feature), np.mean(np.maximum(z, 0), axis=(1, 2)), rtol=1e-4, atol=1e-6
        )


@pytest.mark.slow
def test_without_a_likelihood_nothing_is_estimated(monkeypatch):
    # Of a width of its own: blocks that are alike share traces with those of other tests.
    flow = small(likelihood_weight=0, widths=(5,))
    called = []
    estimator = type(layers.RussianRoulette())
    original = estimator.__call__
    monkeypatch.setattr(
        estimator, "__call__", lambda self, *a, **k: called.append(1) or original(self, *a, **k)
    )
    flow.fit(X, Y, verbose=0)
    assert not called
    small(likelihood_weight="1/D", widths=(5,)).fit(X, Y, verbose=0)
    assert called
    # In evaluation log-determinants are as ever.
    np.testing.assert_allclose(flow.log_prob(X), brute_force_log_prob(flow, X), rtol=1e-4)
    assert {"nll", "accuracy"} <= set(flow.evaluate(X, Y))


@pytest.mark.parametrize("likelihood_weight", [0, 1.0])
def test_training_learns_classes(likelihood_weight):
    """Of colours that differ by class."""
    x = X // 8
    x[np.arange(20), :, :, 0] += (60 * Y).astype("uint8")[:, None, None]
    flow = models.residual_flow(
        (4, 4, 3), blocks=1, scales=2, widths=(4,), block="coupling",
        classes=4, likelihood_weight=likelihood_weight, head_width=16,
    )  # fmt: skip
    flow.initialize(x)
    flow.compile(optimizer=keras.optimizers.Adam(1e-2))
    before = flow.evaluate(x, Y)
    flow.fit(x, Y, batch_size=10, epochs=30, verbose=0)
    after = flow.evaluate(x, Y)
    assert after["accuracy"] == 1.0
    assert (after["nll"] < before["nll"] - 5) == (likelihood_weight > 0)


def test_standardize_keeps_mean_and_deviation_of_the_first_batch():
    flow = small(preprocessing="standardize", block="coupling")
    assert [type(b).__name__ for b in flow.bijections[:3]] == ["Dequantize", "Scale", "ActNorm"]
    first = flow.bijections[2]
    step = next(step for step in flow.steps(X, seed=0) if step.layer is first)
    np.testing.assert_allclose(np.mean(step.z, axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(step.z, axis=(0, 1, 2)), 1, rtol=1e-5)
    before = first.get_weights()
    flow.fit(X, Y, verbose=0)
    for one, two in zip(before, first.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_allclose(flow.log_prob(X), brute_force_log_prob(flow, X), rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preprocessing": "scale"}, "preprocessing must be one of 'logit', 'standardize'"),
        ({"dense_blocks": 1}, "has no dense blocks"),
        ({"classes": 1}, "classes must be an integer of at least 2"),
        ({"likelihood_weight": "D"}, "likelihood_weight must be a number"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


@pytest.mark.usefixtures("mixed_float16")
def test_half_precision():
    flow = small(block="coupling")
    history = flow.fit(X, Y, validation_data=(X, Y), verbose=0).history
    assert np.isfinite(history["surrogate"][0] + history["val_classifier_nll"][0])
    assert flow.classify(X).dtype == tf.float32
    assert all(head.compute_dtype == "float32" for head in flow.heads)


@pytest.mark.slow
def test_a_saved_model_classifies(tmp_path):
    flow = small(block="coupling")
    serving.export(flow, tmp_path / "model")
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    expected = flow.classify(X, seed=3)
    np.testing.assert_allclose(np.sum(np.exp(expected), axis=1), 1, rtol=1e-5)
    for model in (loaded, serving.Endpoints(flow)):
        found = model.classify(X, tf.constant(3, tf.int64))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        found = model.classify(X[4:], tf.constant(3, tf.int64), tf.constant(4, tf.int64))
        np.testing.assert_allclose(found, expected[4:], rtol=1e-4, atol=1e-5)
    results = class_scores(loaded, X, Y, seed=0, batch_size=8)
    whole = flow.evaluate(X, Y)
    for name in ("accuracy", "classifier_nll"):
        assert results[name] == pytest.approx(whole[name], rel=1e-5)
    nll = -np.array(flow.classify(X))[np.arange(20), Y]
    error = results["classifier_nll_standard_error"]
    assert error == pytest.approx(np.std(nll, ddof=1) / np.sqrt(20), rel=1e-4)
    assert "classify" in loaded.signatures
    assert not hasattr(serving.Endpoints(small(block="coupling", classes=None)), "classify")


@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        (lambda: models.residual_flow((8, 8, 1), blocks=1, widths=(2,), preprocess=False),
         [(4, 4, 4), (2, 2, 16), (2, 2, 16)]),
        (lambda: models.residual_flow((8, 8, 2), blocks=1, scales=2, widths=(2,), factor_out=True,
                                      squeeze_first=True, preprocess=False),
         [(2, 2, 32), (2, 2, 16)]),
        (lambda: models.glow((8, 8, 1), steps=1, coupling_width=2), [(4, 4, 4), (2, 2, 8)]),
        (lambda: models.fully_connected((4, 4, 1), linear="exact"), [(16,)]),
    ],
)  # fmt: skip
def test_ends_of_scales(make, shapes):
    flow = make()
    leaves = flow.leaves()
    assert [leaves[end].latent_shape for end in ends_of_scales(flow.bijections)] == shapes
