"""Layers that keep their inverse in closed form: gradients, fall-backs, what they say, and what is
saved.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from snf_tf import Flow, layers, ops
from snf_tf.layers.self_normalizing import inverse_quality

METHODS = {
    "projected": (
        lambda: layers.SelfNormalizingDense(
            inverse_method=layers.Projected(rows=None, damping=1e-9)
        ),
        (5,),
    ),
    "probes": (
        lambda: layers.SelfNormalizingDense(
            inverse_method=layers.Projected(probes=9, damping=1e-9)
        ),
        (5,),
    ),
    "newton_schulz": (
        lambda: layers.SelfNormalizingDense(inverse_method=layers.NewtonSchulz(1e-4)),
        (5,),
    ),
    "least_squares": (
        lambda: layers.SelfNormalizingConv2D(3, 7, inverse_method="least_squares"),
        (6, 5, 2),
    ),
}


@pytest.fixture(params=METHODS)
def layer_and_inputs(request):
    """Inputs that span the space, as a batch of more rows than dimensions does."""
    make, shape = METHODS[request.param]
    layer = make()
    layer.build((None, *shape))
    return layer, tf.random.normal((11, *shape), dtype=layer.kernel.dtype)


def kernel_gradient(layer, x, training, weights):
    with tf.GradientTape() as tape:
        z, log_det = layer(x, training=training)
        loss = tf.reduce_sum(
            weights * (tf.reduce_sum(tf.square(z), axis=list(range(1, x.shape.rank))) - log_det)
        )
    return tape.gradient(loss, layer.kernel.value)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("graph", [False, True])
def test_the_gradient_is_the_exact_one(layer_and_inputs, graph, monkeypatch):
    """Whole, not halved, whatever multiplies the loss; also when the kernel goes on moving."""
    monkeypatch.setattr(inverse_quality, "_JUDGE_EVERY", 1)
    layer, x = layer_and_inputs
    weights = np.random.uniform(size=11)
    compute = tf.function(kernel_gradient) if graph else kernel_gradient
    for _ in range(5):
        layer.kernel.assign(layer.kernel + 0.01 * np.random.randn(*layer.kernel.shape))
        gradient = compute(layer, x, True, weights)
        exact = kernel_gradient(layer, x, False, weights)
        # Least squares know nothing of the image's border.
        tolerance = 1e-2 if x.shape.rank == 4 else 1e-3
        assert np.linalg.norm(gradient - exact) < tolerance * np.linalg.norm(exact)
    assert layer.losses == []
    assert layer.inverse_kernel.path not in [weight.path for weight in layer.trainable_weights]
    assert not hasattr(layer, "reconstruction_weight")
    np.testing.assert_allclose(layer.inverse(layer(x)[0]), x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", ["projected", "newton_schulz"])
def test_an_inverse_that_is_none_is_found_anew_and_said(method, capfd):
    """A kernel is assigned that has nothing to do with the inverse that was kept."""
    layer = layers.SelfNormalizingDense(inverse_method=method)
    x = tf.random.normal((3, 30))
    layer(x, training=True)
    kernel = np.random.randn(30, 30).astype("float32")
    layer.kernel.assign(kernel)
    for _ in range(5):
        layer(x, training=True)
    assert layer.inverse_state["exact_inversions"] >= 1
    assert f"{layer.name}: the inverse is off, in degrees, by" in capfd.readouterr().err
    assert ops.angle(layer.inverse_kernel.value, tf.constant(np.linalg.inv(kernel))) < 0.1


@pytest.mark.parametrize("method", ["projected", "newton_schulz"])
def test_values_that_are_not_finite_do_not_reach_the_inverse(method):
    layer = layers.SelfNormalizingDense(inverse_method=method)
    layer(tf.random.normal((3, 6)), training=True)
    layer.inverse_kernel.assign(np.nan * layer.inverse_kernel.numpy())
    for _ in range(3):
        layer(tf.random.normal((3, 6)), training=True)
    np.testing.assert_allclose(
        layer.inverse_kernel, np.linalg.inv(layer.kernel), rtol=1e-3, atol=1e-3
    )
    assert layer.inverse_state["exact_inversions"] == 1


@pytest.mark.parametrize("method", ["projected", "newton_schulz"])
def test_a_singular_kernel_stops_training_in_words(method):
    flow = Flow([layers.SelfNormalizingDense(inverse_method=method)], event_shape=(6,))
    flow.compile(optimizer=keras.optimizers.SGD(1e-4))
    x = np.random.randn(12, 6).astype("float32")
    flow.fit(x, batch_size=4, verbose=0)
    flow.bijections[0].kernel.assign(np.zeros((6, 6)))
    flow.fit(x, batch_size=4, verbose=0, steps_per_epoch=1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="is not finite"):
        flow.fit(x, batch_size=4, verbose=0)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("method", ["projected", "newton_schulz"])
def test_many_directions_that_turn_bad_at_once(method):
    """The kernel has lost ten directions, which the kept inverse knows nothing of."""
    layer = layers.SelfNormalizingDense(inverse_method=method)
    layer.build((None, 300))
    x = tf.random.normal((100, 300), dtype=tf.float64)
    layer(x, training=True)
    kernel = np.eye(300)
    kernel[range(10), range(10)] = 0.003
    layer.kernel.assign(kernel)
    for _ in range(5):
        layer(x, training=True)
    assert ops.angle(layer.inverse_kernel.value, tf.constant(np.linalg.inv(kernel))) < 2


@pytest.mark.usefixtures("float64")
def test_layers_refine_their_inverse():
    for layer, shape in (
        (layers.SelfNormalizingDense(), (256,)),
        (layers.SelfNormalizingConv2D(3, inverse_method="least_squares"), (12, 12, 3)),
    ):
        x = tf.random.normal((2, *shape), dtype=tf.float64)
        z, _ = layer(x)
        layer(x, training=True)
        found, steps, *_ = layer.refined_inverse(z)
        assert steps > 0
        np.testing.assert_allclose(found, x, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("graph", [False, True])
def test_a_convolution_without_such_an_inverse_uses_the_exact_gradient(graph, capfd):
    layer = layers.SelfNormalizingConv2D(3, inverse_method=layers.LeastSquares(check_every=4))
    layer.build((None, 8, 8, 1))
    x = tf.random.normal((11, 8, 8, 1))
    step = tf.function(kernel_gradient) if graph else kernel_gradient
    step(layer, x, True, 1.0)
    assert layer.inverse_state["inverse_angle"] < 0.5
    good = layer.kernel.numpy()
    kernel = np.zeros((3, 3, 1, 1), "float32")
    kernel[1, 1], kernel[1, 2], kernel[0, 1] = 0.5, 1.0, 0.1
    layer.kernel.assign(kernel)
    used = [int(layer.inverse_state["exact_gradients"])]
    for _ in range(6):
        gradient = step(layer, x, True, 1.0)
        used.append(int(layer.inverse_state["exact_gradients"]))
    # Steps 0 and 4 compare; after that every step, as long as the angle is large.
    assert used == [0, 0, 0, 0, 1, 2, 3]
    assert layer.inverse_state["inverse_angle"] > 60
    exact = kernel_gradient(layer, x, False, 1.0)
    assert ops.angle(gradient, exact) < 1e-3
    assert capfd.readouterr().err.count(f"{layer.name}: the least-squares inverse is off") == 1
    layer.kernel.assign(good)
    step(layer, x, True, 1.0)
    step(layer, x, True, 1.0)
    assert layer.inverse_state["exact_gradients"] == 3
    assert layer.inverse_state["inverse_angle"] < 0.5


def test_saved_and_loaded(layer_and_inputs, tmp_path):
    """With options of the method and the numbers that it keeps."""
    layer, x = layer_and_inputs
    flow = Flow([layer], event_shape=layer.event_shape)
    flow.compile(optimizer=keras.optimizers.SGD(1e-4))
    flow.fit(x, batch_size=4, verbose=0)
    flow.save(tmp_path / "flow.keras")
    loaded = keras.saving.load_model(tmp_path / "flow.keras")
    for model in (flow, loaded):
        model.fit(x, batch_size=4, shuffle=False, verbose=0)
    for one, two in zip(flow.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-6)
    assert loaded.bijections[0].inverse_state["inverse_updates"] == 6
    if not isinstance(layer.inverse_method, str):
        assert loaded.bijections[0].inverse_method.options == layer.inverse_method.options
