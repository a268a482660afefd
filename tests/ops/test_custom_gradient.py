"""Gradients are those of tf.custom_gradient, and graphs are freed with their model."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.ops import gradient_registry

import snf_tf
from snf_tf import layers
from snf_tf.ops import custom_gradient as module
from snf_tf.ops.custom_gradient import custom_gradient


@custom_gradient
def cube(x):
    return x**3, lambda upstream: 10.0 * upstream * x


def gradient(function, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x).numpy()


def in_a_loop(x):
    return tf.while_loop(lambda i, y: i < 2, lambda i, y: (i + 1, cube(y)), (0, x))[1]


@pytest.mark.parametrize("function", [cube, in_a_loop])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_gradients_in_graphs(function, depth):
    x = tf.constant([1.0, 2.0])
    expected = gradient(function, x)
    for _ in range(depth):
        function = tf.function(function)
    np.testing.assert_allclose(gradient(function, x), expected)
    np.testing.assert_allclose(tf.function(lambda x: tf.gradients(function(x), x)[0])(x), expected)


def test_the_registry_may_change_at_any_time(monkeypatch):
    """A collection of garbage takes entries out whenever it likes."""
    entries, weaken = gradient_registry._registry, module._weaken

    def collected(name, entry):
        weaken(name, entry)
        del entries["planted"]

    monkeypatch.setattr(module, "_weaken", collected)
    for _ in range(2):
        monkeypatch.setitem(entries, "planted", {"type": None})
        with tf.Graph().as_default():
            cube(tf.ones(2))


def test_a_function_outlives_the_one_that_traced_it_first():
    inner = tf.function(cube)
    x = tf.constant([1.0, 2.0])
    outer = tf.function(lambda x: inner(x) + 1.0)
    outer(x)
    del outer
    gc.collect()
    np.testing.assert_allclose(gradient(inner, x), [10.0, 20.0])


@pytest.mark.parametrize(
    "use",
    [
        lambda flow, x: flow.log_prob(x),
        lambda flow, x: flow.fit(x, epochs=1, verbose=0),
        pytest.param(lambda flow, x: flow.evaluate(x, verbose=0), marks=pytest.mark.slow),
        pytest.param(
            lambda flow, x: flow.bijector.forward_log_det_jacobian(x), marks=pytest.mark.slow
        ),
    ],
    ids=["log_prob", "fit", "evaluate", "bijector"],
)
def test_a_dropped_flow_leaves_no_graph(use):
    def graphs():
        for _ in range(3):
            gc.collect()
        return sum(type(thing).__name__ == "FuncGraph" for thing in gc.get_objects())

    def run():
        flow = snf_tf.Flow(
            [layers.SelfNormalizingDense(), layers.SmoothLeakyReLU(), layers.ExactDense()],
            event_shape=(3,),
        )
        flow.compile("sgd")
        use(flow, np.zeros((4, 3), "float32"))
        return weakref.ref(flow)

    run()
    before, entries = graphs(), len(gradient_registry._registry)
    dropped = [run() for _ in range(3)]
    # Each would leave one at least; those of TensorFlow and of other tests come and go.
    assert graphs() < before + 3
    assert len(gradient_registry._registry) < entries + 3
    assert [reference() for reference in dropped] == [None] * 3
