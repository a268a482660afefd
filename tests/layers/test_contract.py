"""What every layer must keep (snf_tf.layers.FlowLayer), in float64."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from snf_tf import layers
from snf_tf.testing import check_bijection
from tests.cases import CASES, parameters
from tests.given_context import GivenContext

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(params=parameters())
def case(request):
    return CASES[request.param]


def skip_bounds(layer):
    if layer.log_det_kind == "bound":
        pytest.skip("log_det is no log-determinant, but -log q(u|x)")


def test_every_public_layer_is_listed():
    listed = {type(case.make()) for case in CASES.values()} - {GivenContext}
    public = {getattr(layers, name) for name in layers.__all__}
    assert {c for c in public if issubclass(c, layers.Bijection)} - {
        layers.Bijection,
        layers.FlowLayer,
        # Its inverse does not return the noise: test_variational_pair.py.
        layers.VariationalPair,
    } == listed


def test_check_bijection(case):
    check_bijection(case.build(), case.inputs())


def test_round_trip(case):
    layer, x = case.build(), case.inputs()
    z, _ = layer(x)
    target = x if layer.is_bijection else z
    np.testing.assert_allclose(layer.inverse(z), target, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(
        layer(layer.inverse(z))[0] if layer.is_bijection else z, z, rtol=1e-8, atol=1e-8
    )


def test_log_det_is_that_of_the_jacobian(case):
    layer, x = case.build(), case.inputs()
    skip_bounds(layer)
    with tf.GradientTape() as tape:
        tape.watch(x)
        z, log_det = layer(x)
    size = math.prod(case.event_shape)
    jacobian = tf.reshape(tape.batch_jacobian(z, x), (-1, size, size))
    np.testing.assert_allclose(log_det, tf.linalg.slogdet(jacobian)[1], rtol=1e-8, atol=1e-8)


def test_log_det_of_the_inverse_is_the_negative(case):
    layer = case.build()
    skip_bounds(layer)
    z, log_det = layer(case.inputs())
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(z)
        x = layer.inverse(z)
    size = math.prod(case.event_shape)
    jacobian = tf.reshape(tape.batch_jacobian(x, z, experimental_use_pfor=False), (-1, size, size))
    np.testing.assert_allclose(tf.linalg.slogdet(jacobian)[1], -log_det, rtol=1e-7, atol=1e-7)


def test_constant_log_det(case):
    layer = case.build()
    _, log_det = layer(case.inputs(batch=4))
    constant = layer.constant_log_det()
    if layer.log_det_is_constant:
        assert constant.shape == ()
        np.testing.assert_allclose(log_det, np.full(4, constant), rtol=1e-12)
    else:
        assert constant is None
        assert np.ptp(log_det) > 0


def test_shapes(case):
    layer = case.build()
    z, log_det = layer(case.inputs(batch=5), training=True)
    assert layer.event_shape == case.event_shape
    assert z.shape == (5, *layer.latent_shape)
    assert log_det.shape == (5,)
    assert layer.compute_output_shape((None, *case.event_shape)) == (
        (None, *layer.latent_shape),
        (None,),
    )


@pytest.mark.parametrize("training", [False, True])
def test_graph_and_xla_agree_with_eager(case, training):
    layer, x = case.build(), case.inputs()
    weights = layer.get_weights()
    expected = layer(x, training=training)
    # XLA on CPU has no LU, which the exact log-det of linear layers needs.
    for jit in (False, True) if case.jit or (training and layer.supports_jit) else (False,):
        function = tf.function(lambda x: layer(x, training=training), jit_compile=jit)
        layer.set_weights(weights)  # A training call may change them.
        for value, reference in zip(function(x), expected, strict=True):
            np.testing.assert_allclose(value, reference, rtol=1e-10, atol=1e-10)


def test_inverse_in_a_graph(case):
    layer = case.build()
    z, _ = layer(case.inputs())
    for exact in (True, False):
        function = tf.function(lambda z, exact=exact: layer.inverse(z, exact=exact))
        np.testing.assert_allclose(
            function(z), layer.inverse(z, exact=exact), rtol=1e-10, atol=1e-10
        )


def test_config_round_trip(case):
    layer = case.build()
    copy = type(layer).from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    copy.build((None, *case.event_shape))
    copy.set_weights(layer.get_weights())
    x = case.inputs()
    for value, reference in zip(copy(x), layer(x), strict=True):
        np.testing.assert_array_equal(value, reference)


def test_weights_file(case, tmp_path):
    layer = case.build()
    source, target = keras.Sequential([layer]), keras.Sequential([case.build()])
    for model in (source, target):
        model.build((None, *case.event_shape))
    source.save_weights(tmp_path / "layer.weights.h5")
    target.load_weights(tmp_path / "layer.weights.h5")
    for value, reference in zip(target.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(value, reference)


def test_learned_inverse(case):
    layer = case.build()
    z, _ = layer(case.inputs())
    difference = np.max(np.abs(layer.inverse(z, exact=False) - layer.inverse(z)))
    assert (difference > 1e-3) == layer.has_approximate_inverse == layer.has_learned_inverse


def test_wrong_shapes_are_refused(case):
    layer = case.build()
    with pytest.raises(ValueError, match="x must be of shape"):
        layer(tf.zeros((2, *case.event_shape[:-1], case.event_shape[-1] + 1)))
    with pytest.raises(ValueError, match="takes latents"):
        layer.inverse(tf.zeros((2, *layer.latent_shape[:-1], layer.latent_shape[-1] + 1)))
    with pytest.raises(ValueError, match="not built"):
        case.make().inverse(tf.zeros((2, 3)))
    with pytest.raises(ValueError, match="every dimension of the event known"):
        case.make().build((None, None, *case.event_shape[1:]))


def test_integers_are_taken_for_reals(case):
    layer = case.build()
    x, weights = np.random.randint(0, 2, (3, *case.event_shape)), layer.get_weights()
    expected = layer(x.astype(float), training=True)
    layer.set_weights(weights)  # A training call may change them.
    for value, reference in zip(layer(x, training=True), expected, strict=True):
        np.testing.assert_array_equal(value, reference)


def test_empty_batch(case):
    layer = case.build()
    z, log_det = layer(case.inputs(batch=0))
    assert layer.inverse(z).shape == (0, *case.event_shape)
    assert log_det.shape == (0,)
