"""check_bijection, on layers outside of the package: what it accepts, and what it says."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from snf_tf import Flow, bijectors, layers, ops, serving
from snf_tf.flow.likelihood import round_trip_error
from snf_tf.testing import check_bijection


@keras.saving.register_keras_serializable("tests")
class SinhShift(layers.FlowLayer):
    """`z = sinh(x + shift)`, written from the recipe in the docstring of FlowLayer."""

    def __init__(self, initial=0.0, **kwargs):
        super().__init__(**kwargs)
        self.initial = initial

    def build(self, input_shape):
        super().build(input_shape)
        initializer = keras.initializers.Constant(self.initial)
        self.shift = self.add_weight(name="shift", shape=self.event_shape, initializer=initializer)

    def call(self, x, context=None, training=False):
        y = x + self.shift
        return tf.sinh(y), tf.reduce_sum(tf.math.log(tf.cosh(y)), axis=1)

    def call_inverse(self, z, context=None, exact=True):
        return tf.asinh(z) - self.shift

    def get_config(self):
        return super().get_config() | {"initial": self.initial}


@keras.saving.register_keras_serializable("tests")
class Jitter(layers.FlowLayer):
    """A bijection that takes a seed: in training its log-det carries noise of mean 0."""

    takes_seed = True

    def call(self, x, context=None, training=False, seed=None):
        log_det = self.repeat(0.0, x)
        if training:
            log_det += ops.uniform_rows(ops.row_seed(seed), tf.shape(log_det), log_det.dtype) - 0.5
        return 1.0 * x, log_det

    def call_inverse(self, z, context=None, exact=True):
        return 1.0 * z


class WrongLogDet(SinhShift):
    def call(self, x, context=None, training=False):
        z, log_det = super().call(x)
        return z, 0.5 * log_det


class WrongInverse(SinhShift):
    def call_inverse(self, z, context=None, exact=True):
        return tf.asinh(z) + self.shift


class WrongConstant(SinhShift):
    log_det_is_constant = True

    def constant_log_det(self):
        return tf.zeros(())


class WrongShape(SinhShift):
    def call(self, x, context=None, training=False):
        z, _ = super().call(x)
        return z, tf.math.log(tf.cosh(x + self.shift))


class IgnoredSeed(Jitter):
    def call(self, x, context=None, training=False, seed=None):
        return super().call(x, training=training, seed=3)


class ForgottenArgument(SinhShift):
    def get_config(self):
        return super().get_config() | {"initial": 0.0}

    def call(self, x, context=None, training=False):
        y = x + self.initial
        return tf.sinh(y), tf.reduce_sum(tf.math.log(tf.cosh(y)), axis=1)

    def call_inverse(self, z, context=None, exact=True):
        return tf.asinh(z) - self.initial


class UnsaidApproximation(SinhShift):
    def call_inverse(self, z, context=None, exact=True):
        return super().call_inverse(z) + (0.0 if exact else 0.1)


class UnsaidContext(SinhShift):
    def call(self, x, context=None, training=False):
        return super().call(x + context)

    def call_inverse(self, z, context=None, exact=True):
        return super().call_inverse(z) - context


class SaidContext(UnsaidContext):
    context_shape = (3,)


X = np.random.RandomState(0).randn(5, 3).astype("float32")


@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_bfloat16"])
@pytest.mark.parametrize("make", [lambda **k: SinhShift(0.5, **k), Jitter])
def test_a_layer_from_the_recipe_is_accepted(make, dtype):
    check_bijection(make(dtype=dtype), X)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (WrongLogDet(0.5), r"log_det must be log\|det\| of the Jacobian"),
        (WrongInverse(0.5), r"inverse\(z\) must return x. It is off by"),
        (WrongConstant(0.5), "log_det_is_constant says that every log_det is constant_log_det"),
        (WrongShape(0.5), r"log_det must have the shape \(batch,\) = \(5,\): sum it"),
        (IgnoredSeed(), "the seed is ignored"),
        (ForgottenArgument(0.5), "does get_config hold every argument"),
        (UnsaidApproximation(0.5), "has_approximate_inverse must be True"),
    ],
)
def test_a_broken_layer_is_told_what_is_wrong(layer, message):
    with pytest.raises(AssertionError, match=message):
        check_bijection(layer, X)


def test_a_context_that_every_call_needs_is_said():
    check_bijection(SaidContext(0.5), X, context=X[::-1])
    with pytest.raises(AssertionError, match="must say so by the attribute context_shape"):
        check_bijection(UnsaidContext(0.5), X, context=X[::-1])


@pytest.mark.slow
def test_a_layer_of_ones_own_trains_saves_loads_and_exports(tmp_path):
    flow = Flow([SinhShift(0.5), layers.ExactDense()], event_shape=(3,))
    flow.compile(optimizer=keras.optimizers.SGD(0.01))
    flow.fit(X, batch_size=5, epochs=2, verbose=0)
    assert np.all(flow.bijections[0].shift != 0.5)
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    np.testing.assert_array_equal(loaded.log_prob(X), flow.log_prob(X))
    serving.export(flow, tmp_path / "exported")
    model = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(model.log_prob(X), flow.log_prob(X), rtol=1e-5)


@pytest.mark.slow
def test_a_bijection_that_takes_a_seed_goes_everywhere(tmp_path):
    """It is no dequantizer: nothing leaves it out, and nothing refuses it."""
    images = tf.reshape(tf.range(32.0), (2, 2, 2, 4))
    inner = Flow([Jitter(), layers.Scale(3.0)], event_shape=(2, 2, 2))
    flow = Flow([layers.FactorOut(inner), Jitter()], event_shape=(2, 2, 4))
    assert flow.is_bijection
    z, log_det = flow(images)
    np.testing.assert_allclose(log_det, 8 * np.log(3), rtol=1e-6)
    bijector = bijectors.as_bijector(flow)
    np.testing.assert_allclose(bijector.inverse(images), z)
    np.testing.assert_allclose(bijector.forward(z), images, rtol=1e-6)
    np.testing.assert_allclose(bijector.inverse_log_det_jacobian(images), log_det)
    assert round_trip_error(flow, images) < 1e-5
    serving.export(flow, tmp_path / "exported")
    model = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(model.log_prob(images), flow.log_prob(images), rtol=1e-6)
    one, other = (flow(images, training=True, seed=seed)[1] for seed in (1, 2))
    assert np.all(one != other)
