"""Layers that take a context: values against plain numpy, and labels as one-hot vectors."""

import numpy as np
import pytest
import tensorflow as tf

from snf_tf import bases, layers

pytestmark = pytest.mark.usefixtures("float64")


def convolve(images, kernel):
    """A 3 x 3 convolution with zero padding, in loops."""
    batch, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    out = np.zeros((batch, height, width, kernel.shape[3]))
    for i in range(height):
        for j in range(width):
            patch = padded[:, i : i + 3, j : j + 3]
            out[:, i, j] = np.einsum("bijc,ijcd->bd", patch, kernel)
    return out


@pytest.mark.parametrize("kind", ["vectors", "images", "labels"])
def test_the_prior_of_factor_out(kind):
    random = np.random.RandomState(0)
    x = random.randn(3, 2, 3, 4)
    context = {
        "vectors": random.randn(3, 5),
        "images": random.randn(3, 2, 3, 2),
        "labels": np.array([1, 0, 3]),
    }[kind]
    given = {"context_classes": 4} if kind == "labels" else {"context_shape": context.shape[1:]}
    layer = layers.FactorOut(layers.SmoothTanh(), **given)
    layer.build((None, *x.shape[1:]))
    assert (layer.takes_context, layer.context_shape) == (True, context.shape[1:])
    for weight in layer.trainable_weights:
        weight.assign(0.3 * random.randn(*weight.shape))
    values = context if kind != "labels" else np.eye(4)[context]
    if kind != "images":
        values = np.broadcast_to(values[:, None, None], (3, 2, 3, values.shape[1]))
    shapes = {weight.path.split("/")[-1]: np.array(weight) for weight in layer.trainable_weights}
    h = convolve(np.concatenate([x[..., :2], values], -1), shapes["kernel"]) + shapes["bias"]
    shift, log_scale = np.split(h * np.exp(3 * shapes["log_scale"]), 2, axis=-1)
    expected = (x[..., 2:] + shift) * np.exp(log_scale)
    z, log_det = layer(x, context=context)
    np.testing.assert_allclose(z[:, 12:], expected.reshape(3, -1), rtol=1e-9, atol=1e-9)
    _, of_inner = layers.SmoothTanh()(x[..., :2])
    np.testing.assert_allclose(log_det, of_inner + log_scale.sum((1, 2, 3)), rtol=1e-9)
    np.testing.assert_allclose(layer.inverse(z, context=context), x, rtol=1e-9, atol=1e-9)


def test_labels_are_one_hot_vectors():
    x, labels = np.random.randn(4, 6), np.array([2, 0, 1, 2])
    one = layers.AffineCoupling(width=5, context_classes=3)
    other = layers.AffineCoupling(width=5, context_shape=(3,))
    for layer in (one, other):
        layer.build((None, 6))
        assert layer.unbuilt_parts() == []
    other.set_weights([np.random.randn(*weight.shape) for weight in other.get_weights()])
    one.set_weights(other.get_weights())
    for a, b in zip(
        one(x, context=tf.constant(labels)), other(x, context=np.eye(3)[labels]), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_a_conditional_base_is_built_without_data():
    import keras

    base = bases.ConditionalNormal(keras.layers.Dense(4), context_shape=(3,))
    base.build((None, 2))
    assert (base.unbuilt_parts(), base.network.built) == ([], True)
    copy = type(base).from_config(base.get_config())
    assert copy.get_config() == base.get_config()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Coupling(context_classes=0), "context_classes must be an integer"),
        (lambda: layers.AffineCoupling(context_classes=2, context_shape=(3,)), "in the place of"),
        (
            lambda: layers.FactorOut(layers.SmoothTanh(), False, context_classes=2),
            "Only a prior takes a context",
        ),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make()
