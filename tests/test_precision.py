"""Under half precision exact numbers are those of float32; training gradients keep their digits."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers
from tests.flows import images

POLICIES = ["mixed_bfloat16", "mixed_float16"]


def glow(**options):
    return snf_tf.models.glow((8, 8, 1), levels=2, steps=2, coupling_width=8, **options)


MODELS = {
    "dense": lambda: snf_tf.models.fully_connected((8, 8, 1)),
    "convolutional": lambda: snf_tf.models.convolutional((8, 8, 1), blocks=2, depth=2),
    "least_squares": lambda: snf_tf.models.convolutional(
        (8, 8, 1), blocks=2, depth=1, inverse_method="least_squares"
    ),
    "emerging": lambda: snf_tf.models.convolutional((8, 8, 1), "emerging", blocks=1, depth=2),
    "exponential": lambda: snf_tf.models.convolutional((8, 8, 1), "exponential", 1, 2),
    "glow": glow,
    "glow_plu": lambda: glow(mixing="plu"),
}


def flows(make, policy):
    """The flow in float32 and with a mixed policy, with the same weights, far from the initial."""
    x = images(20, (8, 8, 1))
    made = []
    for name in ("float32", policy):
        keras.config.set_dtype_policy(name)
        try:
            made.append(make())
        finally:
            keras.config.set_dtype_policy("float32")
        made[-1].initialize(x)
    for weight in made[0].trainable_weights:
        noise = np.random.RandomState(0).randn(*weight.shape)
        weight.assign(weight + 0.05 * noise.astype("float32"))
    made[1].set_weights(made[0].get_weights())
    return *made, x


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("model", MODELS)
def test_exact_numbers_are_those_of_float32(model, policy):
    wide, mixed, x = flows(MODELS[model], policy)
    if not model.startswith("glow"):
        np.testing.assert_allclose(mixed.log_prob(x), wide.log_prob(x), rtol=1e-5)
        assert mixed.evaluate(x)["nll"] == pytest.approx(wide.evaluate(x)["nll"], rel=1e-5)
    else:
        # The couplings' networks are half, in both directions alike.
        np.testing.assert_allclose(mixed.log_prob(x), wide.log_prob(x), rtol=1e-2)
    z = mixed.encode(x)
    assert z.dtype == tf.float32
    back = mixed.decode(z)
    # Graphs fuse operations of half networks: they round otherwise than eager code.
    tolerance = 0.1 if model.startswith("glow") else 1e-4
    np.testing.assert_allclose(z, mixed(x)[0], rtol=tolerance, atol=tolerance)
    distance = np.maximum(np.maximum(x - back, back - x - 1.0), 0.0).max()
    assert distance < 1e-2


@pytest.mark.parametrize("policy", POLICIES)
def test_log_det_of_couplings_is_that_of_their_jacobian(policy):
    """With half networks log_prob is exact for the map that the flow is."""
    layer = layers.AffineCoupling(keras.layers.Dense(6, dtype=policy), dtype=policy)
    x = tf.random.normal((4, 6))
    z, log_det = layer(x)
    np.testing.assert_allclose(layer.inverse(z), x, rtol=1e-5, atol=1e-5)
    with tf.GradientTape() as tape:
        tape.watch(x)
        z, _ = layer(x)
    jacobian = tape.batch_jacobian(z, x)
    diagonal = tf.linalg.diag_part(jacobian)
    np.testing.assert_allclose(
        log_det, tf.reduce_sum(tf.math.log(tf.abs(diagonal)), axis=1), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("model", ["dense", "convolutional"])
def test_training_gradients(model, policy):
    """To the digits that the compute dtype has: bfloat16 8 bits, float16 11 bits."""
    wide, mixed, x = flows(MODELS[model], policy)
    gradients = []
    for flow in (wide, mixed):
        with tf.GradientTape() as tape:
            z, log_det = flow(tf.constant(x), training=True, seed=0)
            loss = tf.reduce_mean(-flow.base_log_prob(z) - log_det) + sum(flow.losses)
        gradients.append(tape.gradient(loss, [w.value for w in flow.trainable_weights]))
    tolerance = 2.0**-6 if policy == "mixed_bfloat16" else 2.0**-9
    for one, two in zip(*gradients, strict=True):
        assert two.dtype == tf.float32
        assert tf.norm(one - two) < 4 * tolerance * tf.norm(one)


@pytest.mark.parametrize("policy", ["float32", "float64", *POLICIES])
def test_dtypes_in_functional_models(policy):
    layer = layers.SplineActivation(dtype=policy)
    inputs = keras.Input((4,))
    z, log_det = layer(inputs)
    model = keras.Model(inputs, [z, log_det])
    found = model(tf.zeros((2, 4)))
    assert [z.dtype, log_det.dtype] == [value.dtype.name for value in found]
    assert log_det.dtype == layer.log_det_dtype
