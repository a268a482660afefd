"""Flows: exact likelihoods whatever has happened to the weights, gradients under scaled losses, files, samples."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers, ops
from snf_tf.training import make_strategy

D = 6


def vector_flow(**kwargs):
    bijections = [layers.SelfNormalizingDense(), layers.SmoothLeakyReLU(), layers.SelfNormalizingDense()]
    return snf_tf.Flow(bijections, event_shape=(D,), **kwargs)


def image_flow():
    return snf_tf.models.convolutional(event_shape=(4, 4, 1), blocks=2, depth=1)


def images(count=12, shape=(4, 4, 1)):
    return np.random.RandomState(0).randint(0, 256, (count, *shape)).astype("uint8")


def brute_force_log_prob(flow, x, seed=0):
    """log N(z) + log|det dz/dy| by the whole autodiff Jacobian, y the dequantized x where the first layer dequantizes."""
    first = flow.bijections[0]
    y = next(flow.steps(tf.constant(x), seed=seed))[2] if first.stochastic else tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(y)
        h = y
        for bijection in flow.bijections[1 if first.stochastic else 0 :]:
            h, _ = bijection(h)
        z = tf.reshape(h, (len(x), -1))
    jacobian = tf.reshape(tape.batch_jacobian(z, y), (len(x), z.shape[1], z.shape[1]))
    return -0.5 * np.sum(z**2 + np.log(2 * np.pi), axis=1) + np.linalg.slogdet(jacobian)[1]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("make", [vector_flow, image_flow, lambda: snf_tf.models.fully_connected(event_shape=(4, 4, 1))])
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
                results["bits_per_dim"], -np.mean(log_prob) / np.log(2) / np.prod(flow.event_shape), rtol=1e-12
            )

    check()
    flow.save_weights(tmp_path / "start.weights.h5")
    flow.compile(optimizer=keras.optimizers.Adam(1e-2))
    history = flow.fit(x, batch_size=4, epochs=2, validation_data=tf.data.Dataset.from_tensor_slices(x).batch(5), verbose=0)
    check()
    np.testing.assert_allclose(history.history["val_nll"][-1], -np.mean(flow.log_prob(x)), rtol=1e-12)
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
    np.testing.assert_allclose(log_det + ops.standard_normal_log_prob(z), flow.log_prob(x), rtol=1e-12)
    np.testing.assert_array_equal(z, flow.encode(x))
    np.testing.assert_array_equal(tf.floor(flow.inverse(z)), x)
    np.testing.assert_array_equal(tf.floor(flow.decode(z)), x)
    assert flow.constant_log_det() is None
    linear = snf_tf.Flow([layers.ExactDense(), layers.Scale(2.0)], event_shape=(3,))
    np.testing.assert_allclose(linear.constant_log_det(), linear(np.zeros((1, 3)))[1][0], rtol=1e-12)


@pytest.mark.usefixtures("float64")
def test_a_flow_is_a_bijection_of_another():
    inner = image_flow()
    outer = snf_tf.Flow([inner, layers.SmoothTanh()], event_shape=(4, 4, 1))
    x = images()
    z, log_det = outer(x)
    assert np.isfinite(log_det).all()
    np.testing.assert_array_equal(tf.floor(outer.inverse(z)), x)


def training_gradients(flow, x, loss):
    """Gradients of loss(nll per example, penalty), as a user's own loop has them."""
    with tf.GradientTape() as tape:
        z, log_det = flow(x, training=True, seed=1)
        nll = -(ops.standard_normal_log_prob(tf.cast(z, log_det.dtype)) + log_det)
        value = loss(nll, tf.add_n(flow.losses))
    return tape.gradient(value, [weight.value for weight in flow.trainable_weights])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("make", [vector_flow, image_flow])
def test_gradients_are_linear_in_the_loss(make):
    flow = make()
    for weight in flow.trainable_weights:
        weight.assign(weight + 0.1 * np.random.randn(*weight.shape))
    x = images() if make is image_flow else np.random.randn(12, D)

    def mean(rows):
        return lambda nll, penalty: tf.reduce_mean(tf.gather(nll, rows))

    each = [training_gradients(flow, x, mean([row])) for row in range(12)]
    plain = training_gradients(flow, x, mean(list(range(12))))
    penalty = training_gradients(flow, x, lambda nll, penalty: penalty)
    weights = np.random.RandomState(1).uniform(size=12)
    scaled = training_gradients(flow, x, lambda nll, penalty: 10 * (tf.reduce_mean(nll) + penalty))
    bits = training_gradients(flow, x, lambda nll, penalty: ops.bits_per_dim(tf.reduce_mean(nll), D))
    weighted = training_gradients(flow, x, lambda nll, penalty: tf.reduce_sum(weights * nll))
    for index in range(len(plain)):
        np.testing.assert_allclose(plain[index], sum(g[index] for g in each) / 12, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(scaled[index], 10 * (plain[index] + penalty[index]), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(bits[index], plain[index] / (D * np.log(2)), rtol=1e-9, atol=1e-9)
        expected = sum(w * g[index] for w, g in zip(weights, each, strict=True))
        np.testing.assert_allclose(weighted[index], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("model", [snf_tf.models.fully_connected, snf_tf.models.convolutional])
def test_loss_scaling_in_mixed_float16(model):
    """One SGD step in mixed_float16, with Keras' loss scaling, against one in float32."""
    x = images(shape=(4, 4, 1))
    steps = []
    for policy in ("float32", "mixed_float16"):
        keras.config.set_dtype_policy(policy)
        try:
            keras.utils.set_random_seed(1)
            flow = model(event_shape=(4, 4, 1))
            optimizer = keras.optimizers.SGD(1e-2)
            if policy == "mixed_float16":
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0**10)
            flow.compile(optimizer=optimizer)
        finally:
            keras.config.set_dtype_policy("float32")
        before = [weight.numpy() for weight in flow.trainable_weights]
        flow.fit(x, batch_size=12, verbose=0)
        steps.append([weight.numpy() - b for weight, b in zip(flow.trainable_weights, before, strict=True)])
    for reference, half in zip(*steps, strict=True):
        assert np.linalg.norm(half - reference) < 1e-2 * np.linalg.norm(reference)


@pytest.mark.parametrize("count", [32, 29, 25])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-8)])
def test_two_replicas_take_the_steps_of_one(dtype, tolerance, count):
    """With whole batches, with a last one of 5 for the two, and of 1 for one of them."""
    keras.config.set_dtype_policy(dtype)
    try:
        x = images(count=count)
        weights = []
        for strategy in (make_strategy(["CPU:0"]), make_strategy(["CPU:0", "CPU:1"])):
            keras.utils.set_random_seed(0)
            with strategy.scope():
                flow = image_flow()
                flow.compile(optimizer=keras.optimizers.SGD(1e-4))
            flow.fit(tf.data.Dataset.from_tensor_slices(x).batch(8), epochs=5, verbose=0)
            weights.append(flow.get_weights())
        moved = max(np.abs(weight - start).max() for weight, start in zip(weights[0], image_flow().get_weights(), strict=True))
        assert moved > 1e-3
        for one, two in zip(*weights, strict=True):
            np.testing.assert_allclose(two, one, rtol=tolerance, atol=tolerance)
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("options", [{"jit_compile": True}, {"run_eagerly": True}, {"steps_per_execution": 2}])
def test_ways_to_compile_train_alike(options):
    nlls = []
    for chosen in ({}, options):
        keras.utils.set_random_seed(0)
        flow = snf_tf.models.fully_connected(event_shape=(4, 4, 1))
        flow.compile(optimizer=keras.optimizers.SGD(1e-4), **chosen)
        flow.fit(images(), batch_size=3, epochs=2, shuffle=False, verbose=0)
        nlls.append(flow.evaluate(images())["nll"])
    np.testing.assert_allclose(*nlls, rtol=1e-6)


def test_training_noise_is_fresh_in_every_step():
    flow = snf_tf.Flow([layers.Dequantize(), layers.SelfNormalizingDense()], event_shape=(3,))
    flow.compile(optimizer=keras.optimizers.SGD(0.0))
    x = np.zeros((4, 3), "uint8")
    losses = [flow.fit(x, batch_size=4, verbose=0).history["surrogate"][0] for _ in range(3)]
    assert len(set(losses)) == 3


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
    np.testing.assert_allclose(flow.evaluate(dataset)["nll"], -np.mean(flow.log_prob(x, context)), rtol=1e-5)
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


def test_initialize_runs_once_and_in_order():
    class Center(layers.FlowLayer):
        def build(self, input_shape):
            super().build(input_shape)
            self.mean = self.add_weight(name="mean", shape=self.event_shape, initializer="zeros")

        def call(self, x, context=None, training=False):
            return x - self.mean, tf.zeros(tf.shape(x)[0])

        def inverse(self, z, context=None, exact=True):
            return z + self.mean

        def initialize(self, x, context=None):
            self.mean.assign(tf.reduce_mean(x, axis=0))

    flow = snf_tf.Flow([Center(), layers.Scale(2.0), Center()], event_shape=(3,))
    x = np.random.randn(50, 3).astype("float32") + 5
    flow.initialize(x)
    np.testing.assert_allclose(flow.bijections[0].mean, x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(flow.bijections[2].mean, np.zeros(3), atol=1e-5)
    flow.initialize(x + 1)
    np.testing.assert_allclose(flow.bijections[0].mean, x.mean(0), rtol=1e-5)


def test_bad_input_is_refused():
    flow, x = image_flow(), images()
    for bad, message in (
        (x[:, :3], r"This Flow takes x of shape \(batch,\) \+ \(4, 4, 1\)"),
        (x / 255.0, r"integer values in 0\.\.255"),
        (x + 10.0, r"integer values in 0\.\.255"),
        (np.where(x > 9, np.nan, x), "must be finite"),
    ):
        for method in (flow.log_prob, flow.encode, flow.evaluate, flow.initialize):
            with pytest.raises(ValueError, match=message):
                method(bad)
        flow.compile(optimizer="sgd")
        with pytest.raises(ValueError, match=message):
            flow.fit(bad, verbose=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"integer values in 0\.\.255"):
        flow.fit(tf.data.Dataset.from_tensors(x + 10.0), verbose=0)
    vector = vector_flow()
    vector.compile(optimizer="sgd")
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be finite"):
        vector.fit(tf.data.Dataset.from_tensors(np.full((3, D), np.nan, "float32")), verbose=0)
    with pytest.raises(ValueError, match="decode takes latents of shape"):
        flow.decode(np.zeros((2, 5)))
    with pytest.raises(ValueError, match="n must be an integer of at least 1"):
        flow.sample(0)
    with pytest.raises(ValueError, match="temperature"):
        flow.sample(1, temperature=-1.0)
    with pytest.raises(ValueError, match="without a batch"):
        flow.evaluate(tf.data.Dataset.from_tensor_slices(x[:0]).batch(3))


def test_bad_flows_are_refused():
    with pytest.raises(ValueError, match="at least one bijection"):
        snf_tf.Flow([], event_shape=(2,))
    with pytest.raises(ValueError, match=r"must be snf_tf\.layers\.FlowLayer"):
        snf_tf.Flow([keras.layers.Dense(2)], event_shape=(2,))
    used = layers.ExactDense()
    used.build((None, 5))
    with pytest.raises(ValueError, match="was built for events of shape"):
        snf_tf.Flow([used], event_shape=(4,))
    with pytest.raises(ValueError, match="event_shape must be a tuple"):
        snf_tf.Flow([layers.ExactDense()], event_shape=4)


def test_what_a_flow_brings_itself_is_refused():
    flow, x = vector_flow(), np.zeros((4, D), "float32")
    for options in ({"loss": "mse"}, {"metrics": ["mse"]}):
        with pytest.raises(ValueError, match="brings its own loss"):
            flow.compile(optimizer="sgd", **options)
    flow.compile(optimizer="sgd")
    for options in ({"y": x}, {"sample_weight": np.ones(4)}, {"class_weight": {0: 1.0}}):
        with pytest.raises(ValueError, match="fitted to x alone"):
            flow.fit(x, verbose=0, **options)
    for options in ({"y": x}, {"sample_weight": np.ones(4)}):
        with pytest.raises(ValueError, match="evaluated on x alone"):
            flow.evaluate(x, **options)
    with pytest.raises(ValueError, match="evaluated on x alone"):
        flow.fit(x, validation_data=(x, x), verbose=0)
    triples = tf.data.Dataset.from_tensor_slices((x, x, x)).batch(2)
    for method in (flow.fit, flow.evaluate):
        with pytest.raises(ValueError, match=r"must be x or \(x, context\)"):
            method(triples)
        with pytest.raises(ValueError, match=r"takes a tf\.data\.Dataset"):
            method(batch for batch in [x])


def test_forms_of_data():
    flow, x = vector_flow(), np.random.randn(6, D).astype("float32")
    flow.compile(optimizer="sgd")
    expected = -np.mean(flow.log_prob(x))
    for data in (x, x.tolist(), tf.constant(x), *(tf.data.Dataset.from_tensor_slices(form).batch(2) for form in (x, (x,)))):
        np.testing.assert_allclose(flow.evaluate(data)["nll"], expected, rtol=1e-6)
    for data in (x, tf.data.Dataset.from_tensor_slices((x,)).batch(2)):
        flow.fit(data, validation_data=data, verbose=0)


def test_layers_of_different_dtypes():
    flow = snf_tf.Flow([layers.SelfNormalizingDense(dtype="float64"), layers.SmoothLeakyReLU()], event_shape=(D,))
    x = np.random.randn(3, D)
    log_prob = flow.log_prob(x)
    assert log_prob.dtype == tf.float64
    np.testing.assert_allclose(log_prob, brute_force_log_prob(flow, x), rtol=1e-5)
    np.testing.assert_allclose(flow.decode(flow.encode(x)), x, rtol=1e-4, atol=1e-5)


def test_xla_does_not_hide_bad_data():
    flow = vector_flow()
    flow.compile(optimizer="sgd", jit_compile=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be finite"):
        flow.fit(tf.data.Dataset.from_tensors(np.full((3, D), np.nan, "float32")), verbose=0)


@pytest.mark.parametrize(
    "options",
    [
        {"jit_compile": True},
        {"steps_per_execution": 2},
        {"optimizer": keras.optimizers.SGD(gradient_accumulation_steps=2)},
        {"optimizer": keras.optimizers.SGD(global_clipnorm=1.0)},
    ],
)
def test_what_keras_cannot_do_on_several_devices_is_refused(options):
    with make_strategy(["CPU:0", "CPU:1"]).scope():
        flow = vector_flow()
    with pytest.raises(ValueError, match="cannot do this on several devices"):
        flow.compile(**options)
    vector_flow().compile(**options)
