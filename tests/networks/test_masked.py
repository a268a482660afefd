"""Masked networks against plain numpy, and against their Jacobians."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from snf_tf import networks
from snf_tf.networks import MADE, MaskedDense


def reference(network, x, context=None):
    """MADE, unit by unit: a unit of degree m sees what has a degree of at most m."""
    size = x.shape[1]
    places = {
        "natural": list(range(1, size + 1)),
        "reversed": list(range(size, 0, -1)),
        "random": list(np.random.default_rng(network.seed).permutation(size) + 1),
    }[network.order]
    lowest = 1 if context is None and size > 1 else 0
    values, degrees, total = x, places, 0.0
    for index, layer in enumerate(network.hidden):
        units = []
        own = [
            lowest + i * (size - lowest) // layer.bias.shape[0] for i in range(network.widths[0])
        ]
        for unit, degree in enumerate(own):
            h = np.full(len(x), layer.bias.numpy()[unit])
            for i, other in enumerate(degrees):
                if other <= degree:
                    h += layer.kernel.numpy()[i, unit] * values[:, i]
            if index == 0 and context is not None:
                h += context.reshape(len(x), -1) @ network.from_context.kernel.numpy()[:, unit]
            units.append(h)
        new = np.stack(units, axis=1)
        total = total + new if network.residual else new
        values, degrees = np.maximum(total, 0.0), own
    outputs = np.zeros((len(x), size, network.outputs))
    for d in range(size):
        for k in range(network.outputs):
            column = d * network.outputs + k
            outputs[:, d, k] = network.last.bias.numpy()[column]
            for i, other in enumerate(degrees):
                if other < places[d]:
                    outputs[:, d, k] += network.last.kernel.numpy()[i, column] * values[:, i]
    return outputs


def built(size, context_shape=None, **options):
    network = MADE(**{"outputs": 2, "dtype": "float64", **options})
    shapes = (None, size) if context_shape is None else [(None, size), (None, *context_shape)]
    network.build(shapes)
    for weight in network.trainable_weights:
        weight.assign(np.random.randn(*weight.shape))
    return network


@pytest.mark.parametrize("order", ["natural", "reversed", "random"])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("size", "context_shape"), [(1, None), (4, None), (1, (2,)), (5, (2, 3))])
def test_made_is_the_reference(order, residual, size, context_shape):
    network = built(
        size, context_shape, widths=(7, 7, 7), order=order, residual=residual, seed=3, outputs=3
    )
    x = np.random.randn(6, size)
    context = None if context_shape is None else np.random.randn(6, *context_shape)
    found = network(x if context is None else [x, context])
    np.testing.assert_allclose(found, reference(network, x, context), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("order", ["natural", "reversed", "random"])
@pytest.mark.parametrize("residual", [False, True])
def test_dependences_are_all_those_of_earlier_dimensions(order, residual):
    network = built(6, widths=(20, 20), order=order, residual=residual, activation="tanh", seed=1)
    x = tf.random.normal((3, 6), dtype=tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = network(x)
    jacobian = tape.batch_jacobian(outputs, x).numpy()
    depends = np.any(jacobian != 0, axis=(0, 2))
    expected = network.degrees[:, None] > network.degrees
    np.testing.assert_array_equal(depends, expected)
    np.testing.assert_array_equal(networks.dependences(network, (6,)), expected)
    assert sorted(network.degrees) == [1, 2, 3, 4, 5, 6]


def test_random_orders_follow_the_seed():
    orders = [built(20, order="random", seed=seed).degrees.tolist() for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_the_context_reaches_every_output():
    network = built(4, (3,), widths=(12, 12), activation="tanh")
    x, context = tf.zeros((2, 4), tf.float64), tf.random.normal((2, 3), dtype=tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(context)
        outputs = network([x, context])
    assert np.all(tape.batch_jacobian(outputs, context).numpy() != 0)


def test_outputs_are_zero_at_first():
    assert not np.any(MADE(outputs=3)(tf.random.normal((5, 4))))


def test_files(tmp_path):
    inputs = keras.Input((4,)), keras.Input((2,))
    network = MADE(3, (6, 6), "random", seed=5, residual=True, activation="silu")
    model = keras.Model(inputs, network(list(inputs)))
    for weight in model.trainable_weights:
        weight.assign(np.random.randn(*weight.shape))
    model.save(tmp_path / "model.keras")
    x = [tf.random.normal((3, 4)), tf.random.normal((3, 2))]
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(x), model(x))
    layer = MaskedDense(np.eye(3), "ones")
    copy = MaskedDense.from_config(layer.get_config())
    x = tf.random.normal((2, 3))
    np.testing.assert_array_equal(layer(x), copy(x))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_keeps_the_structure(policy):
    network = MADE(2, widths=(8,), dtype=policy)
    x = tf.random.normal((1, 5))
    network(x)
    for weight in network.trainable_weights:
        weight.assign(np.random.randn(*weight.shape))
    other = x + tf.constant([[0.0, 0.0, 1.0, 0.0, 0.0]])
    changed = np.any(network(x) != network(other), axis=(0, 2))
    assert network(x).dtype == network.compute_dtype
    assert changed.tolist() == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MADE(order="sorted"), "order must be one of"),
        (lambda: MADE(widths=()), "widths must be a tuple of integers"),
        (lambda: MADE(outputs=0), "at least 1"),
        (lambda: MADE(widths=(3, 4), residual=True), "one width"),
        (lambda: MADE()(tf.zeros((2, 3))), "sets outputs"),
        (lambda: MADE(2)(tf.zeros((2, 3, 4))), "put Flatten before it"),
        (lambda: MaskedDense([True]), r"of shape \(inputs, units\)"),
        (lambda: MaskedDense(np.eye(3))(tf.zeros((2, 4))), "is for 3 inputs"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_contexts_that_come_later_are_refused():
    network = MADE(2)
    network(tf.zeros((2, 3)))
    with pytest.raises(ValueError, match="was built for x alone"):
        network([tf.zeros((2, 3)), tf.zeros((2, 1))])


def test_cycles():
    depends = np.zeros((4, 4), bool)
    depends[[1, 2, 3], [3, 0, 2]] = True  # 1 <- 3 <- 2 <- 0
    assert networks.in_cycles(depends).size == 0
    depends[0, 1] = True
    assert networks.in_cycles(depends).tolist() == [0, 1, 2, 3]
    assert networks.in_cycles(np.eye(2, dtype=bool)).tolist() == [0, 1]
