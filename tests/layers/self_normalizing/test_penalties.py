"""Penalties that tune themselves: their updates by plain numpy, their state, mistakes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers, ops
from snf_tf.flow import diagnostics


def geco(errors, tolerance=0.0, rate=1e-3, momentum=0.9, weight=1.0):
    """Returns the weight of every loss, and lambda at the end (Rezende and Viola, Algorithm 1)."""
    used, average = [], None
    for error in errors:
        used.append(weight)
        average = error if average is None else momentum * average + (1 - momentum) * error
        weight *= np.exp(rate * (average - tolerance))
    return used, weight


def mdmm(errors, tolerance=1.0, rate=1e-3, damping=1e-2, weight=1.0):
    used = []
    for error in errors:
        used.append(max(0.0, weight + damping * (error - tolerance)))
        weight = max(0.0, weight + rate * (error - tolerance))
    return used, weight


PENALTIES = {
    "geco": (layers.GECO, geco, {}),
    "geco_tolerance": (layers.GECO, geco, {"tolerance": 5.0, "rate": 0.01, "momentum": 0.5}),
    "mdmm": (layers.MDMM, mdmm, {}),
    "mdmm_tolerance": (layers.MDMM, mdmm, {"tolerance": 9.0, "rate": 0.3, "damping": 0.1}),
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", PENALTIES)
def test_updates(name):
    """The errors are those of the calls, by hand; weights are those of given errors."""
    make, reference, options = PENALTIES[name]
    layer = layers.SelfNormalizingDense(penalty=make(weight=0.7, **options))
    errors, losses = [], []
    for step in range(20):
        x = (1 + step % 5) * np.random.randn(6, 4)
        layer(x, training=True)
        kernels = layer.kernel.numpy() @ layer.inverse_kernel.numpy()
        errors.append(np.mean(np.sum((x @ kernels - x) ** 2, axis=1)))
        losses.append(float(layer.losses[0]))
        layer.kernel.assign(layer.kernel + 0.05 * np.random.randn(4, 4))
    used, weight = reference(errors, weight=0.7, **options)
    np.testing.assert_allclose(losses, np.array(used) * errors, rtol=1e-10)
    # The state is kept in float32 at least.
    assert float(layer.reconstruction_weight) == pytest.approx(weight, rel=1e-9)
    assert min(used) < 0.7 < max(used) or name == "geco"


@pytest.mark.parametrize("make", [layers.GECO, layers.MDMM])
def test_the_state_is_saved_and_told(make, tmp_path):
    flow = snf_tf.Flow([layers.SelfNormalizingDense(penalty=make())], event_shape=(4,))
    flow.compile(keras.optimizers.SGD(1e-2))
    x = np.random.randn(40, 4).astype("float32")
    flow.fit(x, batch_size=10, epochs=2, verbose=0)
    layer = flow.bijections[0]
    weight = float(layer.reconstruction_weight)
    assert weight != 1.0
    found = diagnostics.layer_statistics(flow, tf.constant(x))
    assert float(found["0.SelfNormalizingDense/reconstruction_weight"]) == weight
    assert float(found["0.SelfNormalizingDense/constraint"]) > 0.0
    flow.save(tmp_path / "flow.keras")
    loaded = keras.saving.load_model(tmp_path / "flow.keras").bijections[0]
    assert float(loaded.reconstruction_weight) == weight
    assert loaded.inverse_method.penalty.options == layer.inverse_method.penalty.options


@pytest.mark.parametrize("make", [layers.GECO, layers.MDMM])
def test_a_failed_step_leaves_the_state(make):
    layer = layers.SelfNormalizingDense(penalty=make())
    layer(np.ones((3, 4)), training=True)
    before = [float(value) for value in layer.inverse_state.values()]
    layer(np.full((3, 4), np.nan), training=True)
    assert [float(value) for value in layer.inverse_state.values()] == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.GECO(tolerance=-1.0), "tolerance must be a number of at least 0"),
        (lambda: layers.GECO(momentum=1.0), "momentum must be a number of at least 0 and below 1"),
        (lambda: layers.GECO(weight=0.0), "weight must be a number above 0"),
        (lambda: layers.MDMM(damping=float("nan")), "damping must be a number of at least 0"),
        (lambda: layers.MDMM(rate="1"), "rate must be a number of at least 0"),
        (lambda: layers.LearnedInverse("augmented"), "penalty must be one of 'fixed', 'geco'"),
        (
            lambda: layers.SelfNormalizingDense(1.0, penalty="geco"),
            "give one of reconstruction_weight",
        ),
        (
            lambda: layers.SelfNormalizingDense(penalty="geco", inverse_method="projected"),
            'Only inverse_method="learned" has a penalty',
        ),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_the_jacobian_penalty_up_to_64_dimensions(kind):
    """The loss is |I - K R|^2, with its gradient to R and none to K."""
    method = layers.LearnedInverse(layers.FixedPenalty(0.0), jacobian_penalty=3.0)
    if kind == "dense":
        layer, shape = layers.SelfNormalizingDense(inverse_method=method), (5,)
    else:
        layer, shape = layers.SelfNormalizingConv2D(3, inverse_method=method), (3, 4, 2)
    x = tf.constant(np.random.randn(2, *shape))
    layer(x)
    for weight in (layer.kernel, layer.bias):
        weight.assign(weight + 0.3 * np.random.randn(*weight.shape))
    units = tf.reshape(tf.eye(np.prod(shape), dtype=tf.float64), (-1, *shape))

    def expected(kernel, inverse):
        if kind == "dense":
            back = tf.matmul(kernel, inverse)
        else:
            back = ops.conv2d(ops.conv2d(units, kernel), inverse)
        return 3.0 * tf.reduce_sum((back - units) ** 2)

    kernels = [layer.kernel.value, layer.inverse_kernel.value]
    with tf.GradientTape(persistent=True) as tape:
        layer(x, training=True)
        loss, reference = layer.losses[0], expected(*kernels)
    assert float(loss) == pytest.approx(float(reference), rel=1e-12)
    found = tape.gradient(loss, kernels, unconnected_gradients="zero")
    np.testing.assert_allclose(found[1], tape.gradient(reference, kernels[1]), rtol=1e-10)
    np.testing.assert_allclose(found[0], 0.0, atol=1e-12)


def test_the_jacobian_penalty_by_probes():
    """Unbiased beyond 64 dimensions; each call draws anew, and a copy goes on where it was."""
    method = layers.LearnedInverse(layers.FixedPenalty(0.0), jacobian_penalty=1.0)
    layer = layers.SelfNormalizingDense(inverse_method=method)
    x = np.random.randn(3, 70).astype("float32")
    losses = []
    for _ in range(40):
        layer(x, training=True)
        losses.append(float(layer.losses[0]))
    error = np.eye(70) - layer.kernel.numpy() @ layer.inverse_kernel.numpy()
    assert np.mean(losses) == pytest.approx(np.sum(error**2), rel=0.05)
    assert len(set(losses)) == 40
    copy = layers.SelfNormalizingDense.from_config(layer.get_config())
    copy.build((None, 70))
    copy.set_weights(layer.get_weights())
    for one in (layer, copy):
        one(x, training=True)
    assert float(layer.losses[0]) == float(copy.losses[0])


@pytest.mark.slow
def test_the_jacobian_penalty_learns_what_data_do_not_teach():
    """Two numbers of correlation 0.999: within 0.05 nats of the exact layer."""
    x = np.random.randn(10000, 2)
    x[:, 1] = 0.999 * x[:, 0] + (1 - 0.999**2) ** 0.5 * x[:, 1]

    def nll(layer):
        keras.utils.set_random_seed(0)
        flow = snf_tf.Flow([layer], event_shape=(2,))
        flow.compile(keras.optimizers.Adam(1e-2))
        flow.fit(x, batch_size=100, epochs=15, verbose=0)
        return flow.evaluate(x, verbose=0)["nll"]

    method = layers.LearnedInverse(jacobian_penalty=10.0)
    found = nll(layers.SelfNormalizingDense(inverse_method=method))
    assert found < nll(layers.ExactDense()) + 0.05
