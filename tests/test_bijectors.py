"""Layers and flows as TFP bijectors: log-dets against autodiff Jacobians, nothing stale, training,
distributions.
"""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import snf_tf
from snf_tf import bases, layers
from snf_tf.bijectors import as_bijector, as_distribution
from tests.cases import CASES, parameters
from tests.flows import D, image_flow, images, vector_flow

tfb, tfd = tfp.bijectors, tfp.distributions


@pytest.fixture(params=parameters(lambda layer: layer.is_bijection))
def case(request):
    return CASES[request.param]


def slogdet_of_jacobian(function, x, size):
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = function(x)
    return tf.linalg.slogdet(
        tf.reshape(tape.batch_jacobian(y, x, experimental_use_pfor=False), (-1, size, size))
    )[1]


@pytest.mark.usefixtures("float64")
def test_every_layer_keeps_the_contract_of_a_bijector(case):
    layer, x = case.build(), case.inputs(batch=4)
    bijector, size = as_bijector(layer), math.prod(case.event_shape)
    z = bijector.inverse(x)
    np.testing.assert_allclose(z, layer(x)[0])
    np.testing.assert_allclose(bijector.forward(z), x, rtol=1e-8, atol=1e-8)
    ndims = (len(layer.latent_shape), len(case.event_shape))
    assert (bijector.forward_min_event_ndims, bijector.inverse_min_event_ndims) == ndims
    assert bijector.forward_event_shape(layer.latent_shape) == case.event_shape
    assert bijector.inverse_event_shape(case.event_shape) == layer.latent_shape
    assert tuple(bijector.forward_event_shape_tensor(layer.latent_shape)) == case.event_shape
    assert tuple(bijector.inverse_event_shape_tensor([9, *case.event_shape])) == (
        9,
        *layer.latent_shape,
    )
    ildj, fldj = bijector.inverse_log_det_jacobian(x), bijector.forward_log_det_jacobian(z)
    np.testing.assert_allclose(
        ildj, slogdet_of_jacobian(bijector.inverse, x, size), rtol=1e-8, atol=1e-8
    )
    np.testing.assert_allclose(
        fldj, slogdet_of_jacobian(bijector.forward, z, size), rtol=1e-7, atol=1e-7
    )
    # Any batch shape, none at all, and graphs.
    several, one = tf.reshape(x, (2, 1, 2, *case.event_shape)), x[0]
    np.testing.assert_allclose(
        bijector.inverse_log_det_jacobian(several, ndims[1]),
        tf.reshape(ildj, (2, 1, 2)),
        rtol=1e-12,
    )
    np.testing.assert_allclose(
        bijector.inverse_log_det_jacobian(one, ndims[1]), ildj[0], rtol=1e-12
    )
    assert bijector.forward(tf.reshape(z, (2, 1, 2, *layer.latent_shape))).shape == several.shape
    np.testing.assert_allclose(
        tf.function(bijector.forward)(z), bijector.forward(z), rtol=1e-10, atol=1e-10
    )
    np.testing.assert_allclose(
        tf.function(tfb.Invert(bijector).forward)(x), z, rtol=1e-10, atol=1e-10
    )


@pytest.mark.usefixtures("float64")
def test_two_of_one_class_and_changed_weights():
    x = tf.random.normal((3, 4), dtype=tf.float64)
    first, second = layers.ExactDense(), layers.ExactDense()
    bijectors = []
    for layer in (first, second):
        layer.build((None, 4))
        bijectors.append(as_bijector(layer))

    def check(layer, bijector):
        expected = (
            tf.linalg.matmul(x, layer.kernel),
            tf.fill([3], tf.linalg.slogdet(layer.kernel)[1]),
        )
        chain = chains[bijector.name]
        # What is kept alive is what TFP would return again.
        kept.extend((bijector.inverse(x), bijector.inverse_log_det_jacobian(x), chain.inverse(x)))
        kept.extend(
            (
                chain.inverse_log_det_jacobian(x, 1),
                tfb.Invert(bijector).forward(x),
                bijector.forward(kept[-3]),
            )
        )
        for value, reference in zip(kept[-6:], (*expected, *expected, expected[0], x), strict=True):
            np.testing.assert_allclose(value, reference, rtol=1e-9, atol=1e-9)

    kept: list[tf.Tensor] = []
    chains = {bijector.name: tfb.Chain([bijector]) for bijector in bijectors}
    for _ in range(2):
        for layer, bijector in zip((first, second), bijectors, strict=True):
            check(layer, bijector)
            layer.kernel.assign(tf.random.normal((4, 4), dtype=tf.float64))
            check(layer, bijector)

    @tf.function
    def before_and_after(chain):
        before = chain.inverse(x)
        first.kernel.assign(2 * first.kernel)
        return before, chain.inverse(x)

    for chain in (bijectors[0], chains[bijectors[0].name]):
        before, after = before_and_after(chain)
        np.testing.assert_allclose(after, 2 * before, rtol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("make", [vector_flow, image_flow])
def test_distribution_agrees_with_the_flow(make):
    flow = make()
    distribution = flow.distribution
    x = distribution.sample(7, seed=1)
    assert (distribution.event_shape, distribution.batch_shape) == (flow.event_shape, ())
    log_prob = distribution.log_prob(x)
    if make is vector_flow:
        np.testing.assert_allclose(log_prob, flow.log_prob(x), rtol=1e-10)
    else:
        data = images()
        noisy, _ = flow.bijections[0](data, seed=snf_tf.ops.fold_in(snf_tf.ops.row_seed(0), 0))
        np.testing.assert_allclose(distribution.log_prob(noisy), flow.log_prob(data), rtol=1e-10)
    drawn, density = distribution.experimental_sample_and_log_prob(5, seed=3)
    np.testing.assert_allclose(density, distribution.log_prob(drawn), rtol=1e-9)
    # No exact number depends on a learned inverse.
    trained = {w.path for w in flow.trainable_variables if "inverse_kernel" not in w.path}
    assert len(distribution.trainable_variables) == len(trained)
    np.testing.assert_allclose(
        flow.bijector.forward(tf.zeros(flow.latent_shape, tf.float64)),
        flow.inverse(tf.zeros((1, *flow.latent_shape)))[0],
    )


def test_beside_bijectors_of_tfp():
    flow = vector_flow()
    chain = tfb.Chain([tfb.Softplus(), flow.bijector, tfb.Scale(2.0)])
    z = tf.random.normal((5, D))
    np.testing.assert_allclose(
        chain.inverse(tf.identity(chain.forward(z))), z, rtol=1e-3, atol=1e-3
    )
    distribution = tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), D), chain)
    optimizer = keras.optimizers.Adam(1e-2)
    x = tf.math.softplus(tf.random.normal((100, D)))

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(distribution.log_prob(x))
        variables = distribution.trainable_variables
        optimizer.apply_gradients(
            (g, v)
            for g, v in zip(tape.gradient(loss, variables), variables, strict=True)
            if g is not None
        )
        return loss

    losses = [float(step()) for _ in range(50)]
    assert losses[-1] < losses[0] - 0.1


def test_variational_family():
    """A linear flow can be the target, a Gaussian, itself: the ELBO rises to its log-normalizer."""
    flow = snf_tf.Flow([layers.ExactDense(), layers.ExactDense()], event_shape=(2,))
    target = tfd.MultivariateNormalTriL([1.0, -2.0], [[0.5, 0.0], [1.0, 2.0]])
    losses = tfp.vi.fit_surrogate_posterior(
        lambda x: target.log_prob(x) + 3.0,
        flow.distribution,
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 100, 0.5)),
        num_steps=600,
        sample_size=32,
        seed=1,
    )
    assert losses[0] > -2.0
    np.testing.assert_allclose(losses[-20:], -3.0, atol=0.02)
    np.testing.assert_allclose(
        flow.distribution.sample(20_000, seed=2).numpy().mean(0), [1.0, -2.0], atol=0.1
    )


def test_a_context_reaches_every_layer():
    class Shift(layers.FlowLayer):
        def call(self, x, context=None, training=False):
            return x + context, self.repeat(0.0, x)

        def call_inverse(self, z, context=None, exact=True):
            return z - context

    flow = snf_tf.Flow([Shift(), layers.Scale(2.0)], event_shape=(3,))
    x, context = tf.random.normal((2, 5, 3)), tf.random.normal((2, 5, 3))
    z = flow.bijector.inverse(x, context=context)
    np.testing.assert_allclose(z, 2 * (x + context), rtol=1e-6)
    np.testing.assert_allclose(flow.bijector.forward(z, context=context), x, rtol=1e-5, atol=1e-6)
    x, context = x[0], context[0]
    distribution = flow.distribution
    log_prob = distribution.log_prob(x, context=context)
    np.testing.assert_allclose(log_prob, flow.log_prob(x, context=context), rtol=1e-6)
    samples = distribution.sample(5, seed=(3, 4), context=context)
    np.testing.assert_allclose(
        samples + context, distribution.sample(5, seed=(3, 4), context=tf.zeros((5, 3))), rtol=1e-5
    )


def test_what_is_no_bijector_is_refused():
    with pytest.raises(ValueError, match="which is not built"):
        as_bijector(layers.ExactDense())
    dequantize = layers.Dequantize()
    dequantize.build((None, 3))
    with pytest.raises(ValueError, match="What is random is no bijection"):
        as_bijector(dequantize)
    with pytest.raises(ValueError, match=r"takes events of shape \(6,\)"):
        vector_flow().bijector.forward(tf.zeros((2, 5)))
    with pytest.raises(ValueError, match="must be a TFP distribution"):
        as_distribution(vector_flow(base=bases.ClassConditionalNormal(2)))


@pytest.mark.parametrize("optimizer", ["keras", "tf_keras", "tf"])
def test_a_self_normalizing_flow_is_a_variational_family(optimizer):
    """Each variable that the distribution shows has a gradient, as these optimizers want."""
    import tf_keras

    flow = vector_flow()
    target = tfd.Sample(tfd.Normal(1.0, 2.0), D)
    make = {
        "keras": keras.optimizers.Adam,
        "tf_keras": tf_keras.optimizers.Adam,
        "tf": tf.optimizers.Adam,
    }[optimizer]
    losses = tfp.vi.fit_surrogate_posterior(
        target.log_prob,
        flow.distribution,
        optimizer=make(1e-2),
        num_steps=30,
        sample_size=16,
        seed=1,
    )
    assert losses[-1] < losses[0] - 0.1
    with tf.GradientTape() as tape:
        loss = -tf.reduce_sum(flow.distribution.log_prob(tf.ones((2, D))))
    assert None not in tape.gradient(loss, flow.distribution.trainable_variables)
