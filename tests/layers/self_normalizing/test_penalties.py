"""Penalties that tune themselves: their updates by plain numpy, their state, mistakes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers
from snf_tf.flow import diagnostics


def geco(errors, tolerance=0.0, rate=1e-3, momentum=0.9, weight=1.0):
    """Returns the weight of every loss, and lambda at the end (Rezende and Viola, Algorithm 1)."""
    used, average = [], None
    for error in errors:
        used.append(weight)
        average = error if average is None else momentum * average + (1 - momentum) * error
        weight *= np.exp(rate * (average - tolerance))
    return used, weight


def mdmm(errors, tolerance=0.1, rate=1e-2, damping=1.0, weight=1.0):
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
        (lambda: layers.GECO(tolerance=-1.0), "tolerance must not be negative"),
        (lambda: layers.GECO(momentum=1.0), r"momentum must be in \[0, 1\)"),
        (lambda: layers.GECO(weight=0.0), "must be positive"),
        (lambda: layers.MDMM(damping=float("nan")), "damping must not be negative"),
        (lambda: layers.MDMM(rate="1"), "rate must not be negative"),
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
