"""The papers' architectures."""

import pytest

import snf_tf
from snf_tf import layers, models


def names(flow):
    return [type(layer).__name__ for layer in flow.bijections]


def test_fully_connected():
    flow = models.fully_connected()
    assert names(flow) == [
        "Dequantize", "Scale", "Logit", "Flatten",
        "SelfNormalizingDense", "SmoothLeakyReLU", "SelfNormalizingDense",
    ]  # fmt: skip
    assert (
        sum(
            weight.shape.num_elements() for weight in map(lambda w: w.value, flow.trainable_weights)
        )
        == 2460192
    )
    assert flow.bijections[5].alpha == 0.3
    assert flow.latent_shape == (784,)


def test_convolutional():
    flow = models.convolutional(linear="exact")
    conv, block = "ExactConv2D", ["ExactConv2D", "SplineActivation"]
    assert names(flow)[3:] == [*block * 3, "Squeeze", *block * 3, "Squeeze", *block * 2, conv]
    assert [
        layer.event_shape for layer in flow.bijections if isinstance(layer, layers.ExactConv2D)
    ][::3] == [
        (28, 28, 1),
        (14, 14, 4),
        (7, 7, 16),
    ]


@pytest.mark.parametrize(
    ("linear", "layer"),
    [
        ("self_normalizing", layers.SelfNormalizingDense),
        ("exact", layers.ExactDense),
        ("relative", layers.RelativeGradientDense),
    ],
)
def test_linear_by_name(linear, layer):
    flow = models.fully_connected(event_shape=(4,), linear=linear, depth=1, preprocess=False)
    assert isinstance(flow, snf_tf.Flow)
    assert type(flow.bijections[-1]) is layer


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: models.fully_connected(linear="conv"),
            "linear must be one of 'self_normalizing', 'exact', 'relative'",
        ),
        (
            lambda: models.convolutional(linear="relative"),
            "linear must be one of 'self_normalizing', 'exact'",
        ),
        (lambda: models.fully_connected(depth=0), "depth must be an integer of at least 1"),
        (lambda: models.convolutional(blocks=0), "blocks must be an integer of at least 1"),
        (lambda: models.convolutional(kernel_size=2), "odd"),
        (lambda: models.convolutional(event_shape=(6, 6, 1)), "even height and width"),
        (
            lambda: models.convolutional(event_shape=(8,)),
            "event_shape must be .height, width, channels., a tuple",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
