"""Glow as a whole."""

import numpy as np
import pytest
import tensorflow as tf

from snf_tf import layers, models, serving

MIXINGS = ["self_normalizing", "exact", "conv1x1", "plu", "householder", "emerging", "exponential"]


def small_glow(**options):
    """Of 8 x 4 images in float, two levels, with weights away from where they start."""
    flow = models.glow((8, 4, 1), steps=2, coupling_width=5, preprocess=False, **options)
    flow.initialize(np.random.randn(20, 8, 4, 1))
    for weight in flow.trainable_weights:
        weight.assign(weight + 0.1 * tf.random.normal(weight.shape, dtype=weight.dtype))
    return flow


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "mixing",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("emerging", "exponential") else [])
        for name in MIXINGS
    ],
)
def test_log_prob_against_the_whole_jacobian(mixing):
    flow = small_glow(
        mixing=mixing, kernel_size=3 if mixing in ("exact", "self_normalizing") else None
    )
    x = tf.random.normal((2, 8, 4, 1), dtype=tf.float64)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        z, log_det = flow(x)
    jacobian = tf.reshape(tape.batch_jacobian(z, x, experimental_use_pfor=False), (2, 32, 32))
    expected = tf.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(log_det, expected, rtol=1e-8, atol=1e-8)
    log_prob = expected - 0.5 * tf.reduce_sum(z**2, axis=1) - 16 * np.log(2 * np.pi)
    np.testing.assert_allclose(flow.log_prob(x), log_prob, rtol=1e-8)
    np.testing.assert_allclose(flow.evaluate(x)["nll"], -np.mean(log_prob), rtol=1e-8)
    np.testing.assert_allclose(flow.decode(flow.encode(x)), x, rtol=1e-8, atol=1e-8)


def test_layers_and_shapes():
    flow = models.glow((28, 28, 1), levels=2, steps=3, coupling_width=4)
    step = ["ActNorm", "SelfNormalizingConv2D", "AffineCoupling"]
    first = [type(layer).__name__ for layer in flow.bijections]
    assert first == ["Dequantize", "Scale", "Logit", "Squeeze", *step * 3, "FactorOut"]
    inner = flow.bijections[-1].inner
    assert [type(layer).__name__ for layer in inner.bijections] == ["Squeeze", *step * 3]
    assert (flow.bijections[4].event_shape, inner.bijections[1].event_shape) == (
        (14, 14, 4),
        (7, 7, 8),
    )
    kernel = np.array(flow.bijections[5].kernel)[0, 0]
    np.testing.assert_allclose(kernel @ kernel.T, np.eye(4), atol=1e-5)


@pytest.mark.usefixtures("float64")
def test_learned_inverse_and_errors_reach_every_level():
    flow = small_glow(mixing="self_normalizing")
    x = np.random.randn(4, 8, 4, 1)
    z = flow.encode(x)
    assert np.abs(flow.decode(z, exact=False) - x).max() > 1e-3
    expected = 0.0
    h = x
    for level in (flow, flow.bijections[-1].inner):
        for layer in level.bijections:
            if isinstance(layer, layers.FactorOut):
                h = tf.split(h, 2, axis=-1)[0]
                break
            z, _ = layer(h)
            expected += np.sum((layer.inverse(z, exact=False) - h) ** 2) / 4
            h = z
    np.testing.assert_allclose(flow.evaluate(x)["reconstruction_error"], expected, rtol=1e-9)


@pytest.mark.usefixtures("float64")
def test_initialization_once_and_by_data():
    x = 5 + 3 * np.random.randn(50, 8, 4, 1)
    flow = models.glow((8, 4, 1), steps=2, coupling_width=5, mixing="conv1x1", preprocess=False)
    with pytest.raises(ValueError, match="must be initialized first"):
        flow(x)
    flow.initialize(x)
    norms = []
    for layer, _, z, _ in flow.steps(x):
        if isinstance(layer, layers.ActNorm):
            norms.append(z)
    assert len(norms) == 4
    for z in norms:
        np.testing.assert_allclose(np.mean(z, (0, 1, 2)), np.zeros(z.shape[3]), atol=1e-9)
        np.testing.assert_allclose(np.var(z, (0, 1, 2)), np.ones(z.shape[3]), rtol=1e-9)
    before = [np.array(weight) for weight in flow.weights]
    flow.initialize(2 * x)
    for weight, value in zip(flow.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


@pytest.mark.slow
def test_saved_and_exported(tmp_path):
    import keras

    flow = models.glow((8, 8, 1), steps=1, coupling_width=4)
    images = np.random.randint(0, 256, (30, 8, 8, 1))
    flow.initialize(images)
    flow.compile(optimizer="adam")
    flow.fit(images, batch_size=10, epochs=1, verbose=0)
    flow.save(tmp_path / "glow.keras")
    loaded = keras.models.load_model(tmp_path / "glow.keras")
    np.testing.assert_allclose(loaded.log_prob(images), flow.log_prob(images), rtol=1e-6)
    serving.export(flow, tmp_path / "exported")
    model = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(model.log_prob(images, seed=0), flow.log_prob(images), rtol=1e-5)
    np.testing.assert_allclose(
        model.sample(n=3, seed=1), flow.sample(3, seed=1), rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"event_shape": (28, 28, 1), "levels": 3}, "must be multiples of 8"),
        ({"steps": 0}, "steps must be an integer of at least 1"),
        ({"mixing": "conv1x1", "kernel_size": 3}, "is a 1 x 1 convolution"),
        ({"mixing": "exact", "inverse_kernel_size": 3}, "inverse_kernel_size"),
        ({"event_shape": (8, 8)}, "must be .height, width, channels."),
        ({"mixing": "relative"}, "mixing must be one of"),
        ({"coupling_scale": "linear"}, "scale must be one of"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        models.glow(**options)
