"""Statistics of linear layers, against brute force."""

import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import ops
from snf_tf.flow.diagnostics import inverse_angles, layer_statistics
from tests.flows import images

MODELS = {
    "learned": snf_tf.models.fully_connected,
    "newton_schulz": lambda **k: snf_tf.models.fully_connected(inverse_method="newton_schulz", **k),
    "convolutional": lambda **k: snf_tf.models.convolutional(
        blocks=2, depth=1, inverse_method="least_squares", **k
    ),
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("model", MODELS)
def test_angles(model):
    flow = MODELS[model](event_shape=(4, 4, 1))
    x = tf.constant(images())
    linear = {i: leaf for i, leaf in enumerate(flow.leaves()) if leaf.has_approximate_inverse}
    kernels = [layer.kernel.value for layer in linear.values()]
    for layer in linear.values():
        layer.kernel.assign(layer.kernel + 0.05 * np.random.randn(*layer.kernel.shape))
    before = flow.get_weights()
    statistics, angles = layer_statistics(flow, x), inverse_angles(flow, x)
    for one, two in zip(before, flow.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    gradients = []
    for training in (True, False):
        with tf.GradientTape(persistent=True) as tape:
            z, log_det = flow(x, training=training, seed=0)
            loss = tf.add_n([-tf.reduce_mean(flow.base_log_prob(z) + log_det), *flow.losses])
        gradients.append(tape.gradient(loss, kernels))
        if training:
            own = [[w.value for w in layer.trainable_weights] for layer in linear.values()]
            norms = [tf.linalg.global_norm(tape.gradient(loss, weights)) for weights in own]
    for (index, layer), used, exact, norm in zip(linear.items(), *gradients, norms, strict=True):
        prefix = f"{index}.{type(layer).__name__}/"
        np.testing.assert_allclose(
            statistics[prefix + "gradient_angle"], ops.angle(used, exact), rtol=1e-6, atol=1e-9
        )
        np.testing.assert_allclose(statistics[prefix + "gradient_norm"], norm, rtol=1e-9)
        np.testing.assert_allclose(
            statistics[prefix + "log_det"], layer.constant_log_det(), rtol=1e-9
        )
        assert prefix + "refinement_steps" in statistics
        if model == "learned":
            np.testing.assert_allclose(
                statistics[prefix + "log_det_gradient_angle"], angles[prefix + "kept"], rtol=1e-6
            )
            assert angles[prefix + "newton_schulz"] < angles[prefix + "kept"]
        if model == "convolutional":
            assert angles[prefix + "least_squares_5"] < angles[prefix + "transpose"]


def test_layers_without_an_inverse_have_no_angle():
    flow = snf_tf.models.fully_connected(event_shape=(4, 4, 1), linear="exact")
    names = {name.split("/")[1] for name in layer_statistics(flow, tf.constant(images()))}
    assert names == {"kernel_norm", "gradient_norm", "log_det"}
    assert inverse_angles(flow, tf.constant(images())) == {}
