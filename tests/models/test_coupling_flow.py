"""Real NVP, Flow++ and NICE."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from snf_tf import layers, models, networks
from snf_tf.training.build import build_flow

IMAGES = np.random.RandomState(0).randint(0, 256, (6, 8, 8, 1)).astype("uint8")


def names(bijections):
    return [type(layer).__name__ for layer in bijections if not isinstance(layer, layers.ActNorm)]


def test_real_nvp_has_the_published_order():
    flow = models.coupling_flow((8, 8, 3), couplings=3, width=4)
    *first, factor_out = flow.bijections
    expected = ["Dequantize", "Scale", "Logit", *["Coupling"] * 3, "Squeeze", *["Coupling"] * 3]
    assert names(first) == expected
    masks = [layer.mask for layer in flow.bijections if isinstance(layer, layers.Coupling)]
    assert [type(mask).__name__ for mask in masks] == ["Checkerboard"] * 3 + ["Channels"] * 3
    assert [mask.flip for mask in masks] == [False, True, False] * 2
    assert factor_out.prior is None
    assert names(factor_out.inner.bijections) == ["Coupling"] * 4


SMALL = {
    "real nvp": functools.partial(models.coupling_flow, width=4, couplings=1),
    "labels": functools.partial(
        models.coupling_flow, width=4, couplings=1, conditional_on="label", classes=3
    ),
    "image context": functools.partial(
        models.coupling_flow,
        width=4,
        couplings=1,
        conditional_on="context",
        context_shape=(8, 8, 1),
    ),
    "nice": functools.partial(models.nice, width=8, hidden_layers=2),
}
CONTEXTS = {"labels": np.arange(6) % 3, "image context": IMAGES / 255.0}


@pytest.mark.parametrize("name", SMALL)
def test_log_prob_is_exact_and_flows_round_trip(name):
    flow = build_flow(SMALL[name], (8, 8, 1), dtype_policy="float64")
    context = CONTEXTS.get(name)
    flow.initialize(IMAGES, context=context)
    random = np.random.RandomState(1)
    for weight in flow.trainable_weights:
        weight.assign_add(0.02 * random.standard_normal(weight.shape))
    dequantized, _ = flow.bijections[0](IMAGES[:1], seed=3)
    given = None if context is None else tf.convert_to_tensor(context[:1])

    def apply(x):
        log_dets = []
        for part in flow.bijections[1:]:
            x, log_det = part(x, context=given if part.takes_context else None)
            log_dets.append(log_det)
        return x, tf.add_n(log_dets)

    with tf.GradientTape() as tape:
        tape.watch(dequantized)
        z, log_det = apply(dequantized)
    jacobian = tf.reshape(tape.jacobian(z, dequantized), (64, 64))
    assert float(log_det[0]) == pytest.approx(np.linalg.slogdet(jacobian)[1], abs=1e-8)
    found = flow.decode(flow.encode(IMAGES, context=context), context=context)
    np.testing.assert_array_equal(np.floor(found), IMAGES)


@pytest.mark.slow
def test_flow_plus_plus_is_a_bound_of_learned_noise():
    network = functools.partial(networks.GatedConvNetwork, width=8, blocks=1, heads=2)
    flow = models.coupling_flow(
        (8, 8, 1),
        couplings=1,
        coupling=layers.LogisticMixture(4),
        conditioner=network,
        dequantization="variational",
    )
    flow.initialize(IMAGES)
    assert flow.log_det_kind == "bound"
    assert set(flow.evaluate(IMAGES, verbose=0)) >= {"nll_bound", "bits_per_dim_bound"}
    noise = flow.bijections[0].flow
    before = [weight.numpy() for weight in noise.trainable_weights]
    flow.compile(optimizer="adam")
    flow.fit(IMAGES, epochs=2, verbose=0)
    changed = [np.any(w != b) for w, b in zip(noise.trainable_weights, before, strict=True)]
    assert any(changed)


def test_glow_takes_learned_noise():
    flow = models.glow((8, 8, 1), steps=1, coupling_width=4, dequantization="variational")
    flow.initialize(IMAGES)
    assert flow.log_prob_bound(IMAGES, draws=3).shape == (6,)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.coupling_flow((6, 6, 1)), "a multiple of 2, the width of 4"),
        (lambda: models.coupling_flow((8,)), r"\(height, width, channels\)"),
        (lambda: models.coupling_flow(levels=0), "levels"),
        (lambda: models.coupling_flow(dequantization="learned"), "'variational'"),
        (lambda: models.nice((8, 8)), r"or \(D,\)"),
        (lambda: models.nice(width=2.5), "width"),
    ],
)
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_large_image_contexts_become_channels():
    context = np.arange(2 * 4 * 6 * 3, dtype="float32").reshape(2, 4, 6, 3)
    joined = networks.JoinContext()([np.zeros((2, 2, 2, 1), "float32"), context]).numpy()
    assert joined.shape == (2, 2, 2, 1 + 2 * 3 * 3)
    for row in range(2):
        for column in range(2):
            block = context[:, 2 * row : 2 * row + 2, 3 * column : 3 * column + 3]
            np.testing.assert_array_equal(joined[:, row, column, 1:], block.reshape(2, -1))
