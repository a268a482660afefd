"""Flows: exact likelihoods whatever has happened to the weights, files, samples."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers, ops
from tests.flows import D, brute_force_log_prob, image_flow, images, vector_flow


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "make", [vector_flow, image_flow, lambda: snf_tf.models.fully_connected(event_shape=(4, 4, 1))]
)
def test_log_prob_is_exact_and_never_stale(make, tmp_path):
    flow = make()
    x = images(12, flow.event_shape) if len(flow.event_shape) == 3 else np.random.randn(12, D)

    def check():
        log_prob = flow.log_prob(x)
        np.testing.assert_allclose(log_prob, brute_force_log_prob(flow, x), rtol=1e-9)
        dataset = tf.data.Dataset.from_tensor_slices(x).batch(5)
        for results in (flow.evaluate(dataset), flow.evaluate(x, batch_size=7)):
            np.testing.assert_allclose(results["nll"], -np.mean(log_prob), rtol=1e-12)
            np.testing.assert_allclose(
                results["bits_per_dim"],
                -np.mean(log_prob) / np.log(2) / np.prod(flow.event_shape),
                rtol=1e-12,
            )

    check()
    flow.save_weights(tmp_path / "start.weights.h5")
    flow.compile(optimizer=keras.optimizers.Adam(1e-2))
    history = flow.fit(
        x,
        batch_size=4,
        epochs=2,
        validation_data=tf.data.Dataset.from_tensor_slices(x).batch(5),
        verbose=0,
    )
    check()
    np.testing.assert_allclose(
        history.history["val_nll"][-1], -np.mean(flow.log_prob(x)), rtol=1e-12
    )
    linear = next(layer for layer in flow.bijections if layer.has_learned_inverse)
    linear.kernel.assign(linear.kernel + 0.3 * np.random.randn(*linear.kernel.shape))
    check()
    flow.load_weights(tmp_path / "start.weights.h5")
    check()


@pytest.mark.usefixtures("float64")
def test_the_contract_of_a_layer():
    flow = image_flow()
    x = images()
    z, log_det = flow(x)
    assert z.shape == (12, 16)
    np.testing.assert_allclose(
        log_det + ops.standard_normal_log_prob(z), flow.log_prob(x), rtol=1e-12
    )
    np.testing.assert_array_equal(z, flow.encode(x))
    np.testing.assert_array_equal(tf.floor(flow.inverse(z)), x)
    np.testing.assert_array_equal(tf.floor(flow.decode(z)), x)
    assert flow.constant_log_det() is None
    linear = snf_tf.Flow([layers.ExactDense(), layers.Scale(2.0)], event_shape=(3,))
    np.testing.assert_allclose(
        linear.constant_log_det(), linear(np.zeros((1, 3)))[1][0], rtol=1e-12
    )


@pytest.mark.usefixtures("float64")
def test_a_flow_is_a_bijection_of_another():
    inner = image_flow()
    outer = snf_tf.Flow([inner, layers.SmoothTanh()], event_shape=(4, 4, 1))
    x = images()
    z, log_det = outer(x)
    assert np.isfinite(log_det).all()
    np.testing.assert_array_equal(tf.floor(outer.inverse(z)), x)


def test_context_reaches_every_layer():
    class Shift(layers.FlowLayer):
        def call(self, x, context=None, training=False):
            return x + context, tf.zeros(tf.shape(x)[0])

        def inverse(self, z, context=None, exact=True):
            return z - context

    flow = snf_tf.Flow([Shift(), layers.SelfNormalizingDense()], event_shape=(3,))
    x, context = tf.random.normal((2, 6, 3))
    dataset = tf.data.Dataset.from_tensor_slices((x, context)).batch(3)
    flow.compile(optimizer="sgd")
    flow.fit(dataset, validation_data=dataset, verbose=0)
    np.testing.assert_allclose(
        flow.evaluate(dataset)["nll"], -np.mean(flow.log_prob(x, context)), rtol=1e-5
    )
    np.testing.assert_allclose(flow.decode(flow.encode(x, context), context), x, atol=1e-4)


@pytest.mark.parametrize("make", [vector_flow, image_flow])
def test_keras_file(make, tmp_path):
    flow = make()
    x = images() if make is image_flow else np.random.randn(12, D).astype("float32")
    flow.compile(optimizer=keras.optimizers.Adam(1e-3))
    flow.fit(x, verbose=0)
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    np.testing.assert_array_equal(loaded.log_prob(x), flow.log_prob(x))
    for model in (flow, loaded):
        model.fit(x, verbose=0)
    np.testing.assert_array_equal(loaded.log_prob(x), flow.log_prob(x))


def test_samples():
    flow = image_flow()
    samples = flow.sample(5, seed=1)
    assert samples.shape == (5, 4, 4, 1)
    assert np.min(samples) >= 0
    assert np.max(samples) < 256
    np.testing.assert_array_equal(flow.sample(5, seed=1), samples)
    assert np.abs(flow.sample(5) - flow.sample(5)).max() > 1
    exact = flow.sample(5, seed=1, exact=True)
    assert 0 < np.abs(exact - samples).max() < 256
    latents = flow.encode(tf.floor(flow.sample(1000, exact=True, temperature=0.5, seed=2)))
    np.testing.assert_allclose(np.std(latents), 0.5, rtol=0.1)


def test_another_base_distribution():
    import tensorflow_probability as tfp

    base = tfp.distributions.MultivariateNormalDiag(2 * tf.ones(D), 3 * tf.ones(D))
    flow = vector_flow(base=base)
    x = np.random.randn(4, D).astype("float32")
    z, log_det = flow(x)
    np.testing.assert_allclose(flow.log_prob(x), base.log_prob(z) + log_det, rtol=1e-6)
    samples = flow.encode(flow.sample(2000, exact=True, seed=0))
    np.testing.assert_allclose([np.mean(samples), np.std(samples)], [2, 3], rtol=0.05)


def test_reconstruction_error_is_reported():
    flow = vector_flow()
    x = np.random.randn(20, D).astype("float32")
    expected, h = 0.0, x
    for layer in flow.bijections:
        z, _ = layer(h)
        if layer.has_learned_inverse:
            expected += np.mean(np.sum((layer.inverse(z, exact=False) - h) ** 2, axis=1))
        h = z
    np.testing.assert_allclose(flow.evaluate(x)["reconstruction_error"], expected, rtol=1e-4)
    exact = snf_tf.models.fully_connected(event_shape=(D,), linear="exact", preprocess=False)
    assert set(exact.evaluate(x)) == {"nll", "bits_per_dim"}


def test_forms_of_data():
    flow, x = vector_flow(), np.random.randn(6, D).astype("float32")
    flow.compile(optimizer="sgd")
    expected = -np.mean(flow.log_prob(x))
    for data in (
        x,
        x.tolist(),
        tf.constant(x),
        *(tf.data.Dataset.from_tensor_slices(form).batch(2) for form in (x, (x,))),
    ):
        np.testing.assert_allclose(flow.evaluate(data)["nll"], expected, rtol=1e-6)
    for data in (x, tf.data.Dataset.from_tensor_slices((x,)).batch(2)):
        flow.fit(data, validation_data=data, verbose=0)


def test_layers_of_different_dtypes():
    flow = snf_tf.Flow(
        [layers.SelfNormalizingDense(dtype="float64"), layers.SmoothLeakyReLU()], event_shape=(D,)
    )
    x = np.random.randn(3, D)
    log_prob = flow.log_prob(x)
    assert log_prob.dtype == tf.float64
    np.testing.assert_allclose(log_prob, brute_force_log_prob(flow, x), rtol=1e-5)
    np.testing.assert_allclose(flow.decode(flow.encode(x)), x, rtol=1e-4, atol=1e-5)
