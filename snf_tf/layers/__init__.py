"""Bijections as Keras layers, one family a file."""

from snf_tf.layers.activations import LeakyReLU, SmoothLeakyReLU, SmoothTanh
from snf_tf.layers.conv import ExactConv2D, SelfNormalizingConv2D
from snf_tf.layers.dense import ExactDense, RelativeGradientDense, SelfNormalizingDense
from snf_tf.layers.flow_layer import FlowLayer
from snf_tf.layers.from_bijector import FromBijector
from snf_tf.layers.initializers import NoisyIdentity
from snf_tf.layers.preprocessing import Dequantize, Logit, Scale
from snf_tf.layers.reshape import Flatten, Squeeze
from snf_tf.layers.spline import SplineActivation

__all__ = [
    "Dequantize",
    "ExactConv2D",
    "ExactDense",
    "Flatten",
    "FlowLayer",
    "FromBijector",
    "LeakyReLU",
    "Logit",
    "NoisyIdentity",
    "RelativeGradientDense",
    "Scale",
    "SelfNormalizingConv2D",
    "SelfNormalizingDense",
    "SmoothLeakyReLU",
    "SmoothTanh",
    "SplineActivation",
    "Squeeze",
]
