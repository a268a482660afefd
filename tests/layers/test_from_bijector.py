"""TFP bijectors with networks in a flow beside our layers: they train, are saved and go on."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import snf_tf
from snf_tf import layers
from snf_tf.training import make_strategy

tfb = tfp.bijectors
_COVARIANCE = [[1.0, 0.45], [0.45, 0.3]]


@keras.saving.register_keras_serializable("tests")
def autoregressive():
    network = tfb.AutoregressiveNetwork(
        params=2, hidden_units=[8], activation="tanh", event_shape=(2,)
    )
    return tfb.MaskedAutoregressiveFlow(network)


@keras.saving.register_keras_serializable("tests")
def ffjord():
    """Its network is in a closure, where TFP does not see it."""
    network = keras.Sequential([keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(2)])
    return tfb.FFJORD(
        lambda time, state: network(state),
        ode_solve_fn=tfp.math.ode.DormandPrince(atol=1e-5).solve,
        trace_augmentation_fn=tfb.ffjord.trace_jacobian_exact,
    )


def make_flow(bijector):
    flow = snf_tf.Flow(
        [layers.FromBijector(bijector), layers.SelfNormalizingDense()], event_shape=(2,)
    )
    flow.compile(keras.optimizers.Adam(1e-2))
    return flow


@pytest.mark.parametrize("make", [autoregressive, pytest.param(ffjord, marks=pytest.mark.slow)])
def test_trains_saves_loads_and_goes_on(make, tmp_path):
    x = np.random.RandomState(0).multivariate_normal([0, 0], _COVARIANCE, 100).astype("float32")
    data = tf.data.Dataset.from_tensor_slices(x).batch(50)
    flow = make_flow(make)
    assert len(flow.bijections[0].trainable_weights) == 4
    before, weights = flow.evaluate(x)["nll"], flow.bijections[0].get_weights()
    flow.fit(data, epochs=3, verbose=0)
    assert flow.evaluate(x)["nll"] < before
    assert all(
        np.any(old != new)
        for old, new in zip(weights, flow.bijections[0].get_weights(), strict=True)
    )
    # Masks hold, and the Jacobian's log-det is true.
    np.testing.assert_allclose(flow.decode(flow.encode(x)), x, atol=2e-3)
    with tf.GradientTape(persistent=True) as tape:
        point = tf.constant(x[:1])
        tape.watch(point)
        z, log_det = flow(point)
    jacobian = tape.batch_jacobian(z, point, experimental_use_pfor=False)
    np.testing.assert_allclose(log_det, tf.linalg.slogdet(jacobian)[1], atol=1e-3)
    # A .keras file, and a file of weights for another bijector.
    flow.save(tmp_path / "flow.keras")
    loaded = keras.saving.load_model(tmp_path / "flow.keras")
    flow.save_weights(tmp_path / "flow.weights.h5")
    other = make_flow(make())
    other.load_weights(tmp_path / "flow.weights.h5")
    for copy in (loaded, other):
        np.testing.assert_array_equal(copy.log_prob(x), flow.log_prob(x))
    for model in (flow, loaded):
        model.fit(data, epochs=1, verbose=0)
    np.testing.assert_array_equal(loaded.log_prob(x), flow.log_prob(x))
    with pytest.raises(ValueError, match="give FromBijector a function that makes it"):
        other.save(tmp_path / "other.keras")


def test_results_are_never_stale():
    scale = tf.Variable([2.0, 4.0])
    layer = layers.FromBijector(tfb.Scale(scale))
    x = tf.ones((3, 2))
    before = layer(x)
    scale.assign([1.0, 1.0])
    np.testing.assert_allclose(layer(x)[0], x)
    np.testing.assert_allclose(layer(x)[1], 0.0)
    np.testing.assert_allclose(before[0], [[0.5, 0.25]] * 3)


def test_bad_bijectors_are_refused():
    with pytest.raises(ValueError, match="must be a TFP bijector"):
        layers.FromBijector(3)
    with pytest.raises(ValueError, match="needs events of 2 axes at least"):
        layers.FromBijector(tfb.MatrixInverseTriL()).build((None, 3))


@pytest.mark.parametrize("make", [autoregressive, lambda: tfb.Scale(tf.Variable([2.0, 3.0]))])
def test_on_two_devices_as_on_one(make):
    x = np.random.RandomState(0).randn(40, 2).astype("float32")
    ends = []
    for devices in (["CPU:0"], ["CPU:0", "CPU:1"]):
        keras.utils.set_random_seed(0)
        with make_strategy(devices).scope():
            flow = snf_tf.Flow([layers.FromBijector(make), layers.ExactDense()], event_shape=(2,))
            flow.compile(keras.optimizers.SGD(0.01))
        flow.fit(tf.data.Dataset.from_tensor_slices(x).batch(10), verbose=0)
        ends.append(flow.get_weights())
    for one, two in zip(*ends, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-6)
    outside = tfb.Scale(tf.Variable([2.0, 3.0]))
    with (
        make_strategy(["CPU:0", "CPU:1"]).scope(),
        pytest.raises(ValueError, match="outside of the scope of the strategy"),
    ):
        layers.FromBijector(outside).build((None, 2))


def test_a_bijector_in_two_layers_has_its_weights_once():
    bijector = tfb.Scale(tf.Variable([2.0, 3.0]))
    flow = snf_tf.Flow(
        [layers.FromBijector(bijector), layers.FromBijector(bijector)], event_shape=(2,)
    )
    assert len(flow.trainable_variables) == 1
    flow.compile(keras.optimizers.SGD(0.1))
    flow.fit(np.zeros((4, 2), "float32"), verbose=0)
    # Of -log p(0) = 2 log a + 2 log b the gradient is 2 / a, 2 / b.
    np.testing.assert_allclose(flow.trainable_variables[0], [1.9, 3 - 0.2 / 3], rtol=1e-6)


def test_a_frozen_bijector_is_not_trained():
    for when in ("made", "built"):
        layer = layers.FromBijector(tfb.Scale(tf.Variable([2.0, 3.0])), trainable=when != "made")
        flow = snf_tf.Flow([layer, layers.ExactDense()], event_shape=(2,))
        layer.trainable = False
        assert len(flow.trainable_variables) == 2
        assert len(flow.bijector.trainable_variables) == 2
