"""Initial kernels that no layer can use."""

import functools

import keras

from snf_tf import layers
from tests.campaign.tables import Entry

_CONSTANTS = (float("nan"), float("inf"), 1e30, -1e12)
UNUSABLE = tuple(keras.initializers.Constant(value) for value in _CONSTANTS)
SINGULAR = (keras.initializers.Zeros(), keras.initializers.Ones(), keras.initializers.Constant(-2))


def _built(make, event_shape, **kwargs):
    make(**kwargs).build((None, *event_shape))


def _entry(make, event_shape, initializers=UNUSABLE + SINGULAR, **given):
    call = functools.partial(_built, make, event_shape)
    return Entry(call, given, {"kernel_initializer": initializers})


KERNELS = {
    "ExactDense": _entry(layers.ExactDense, (3,)),
    "RelativeGradientDense": _entry(layers.RelativeGradientDense, (3,)),
    "SelfNormalizingDense": _entry(layers.SelfNormalizingDense, (3,)),
    "projected": _entry(layers.SelfNormalizingDense, (3,), inverse_method="projected"),
    "newton_schulz": _entry(layers.SelfNormalizingDense, (3,), inverse_method="newton_schulz"),
    "LULinear": _entry(layers.LULinear, (3,)),
    "ExactConv2D": _entry(layers.ExactConv2D, (2, 2, 3), kernel_size=3),
    "ExactConv2D-1x1": _entry(layers.ExactConv2D, (2, 2, 3), kernel_size=1),
    "SelfNormalizingConv2D": _entry(layers.SelfNormalizingConv2D, (2, 2, 3), kernel_size=3),
    "least_squares": _entry(
        layers.SelfNormalizingConv2D, (2, 2, 3), kernel_size=3, inverse_method="least_squares"
    ),
    "InvertibleConv1x1": _entry(layers.InvertibleConv1x1, (2, 2, 3)),
    "plu": _entry(layers.InvertibleConv1x1, (2, 2, 3), parameterization="plu"),
    "EmergingConv2D": _entry(layers.EmergingConv2D, (2, 2, 3), (*UNUSABLE, SINGULAR[0])),
    "ConvolutionExponential": _entry(
        layers.ConvolutionExponential, (2, 2, 3), UNUSABLE, kernel_size=3
    ),
}
