"""Bijections as Keras layers, one family a file."""

from snf_tf.layers.act_norm import ActNorm
from snf_tf.layers.activations import LeakyReLU, SmoothLeakyReLU, SmoothTanh
from snf_tf.layers.bijection import FlowLayer
from snf_tf.layers.conv import ExactConv2D, SelfNormalizingConv2D
from snf_tf.layers.conv1x1 import HouseholderConv1x1, InvertibleConv1x1
from snf_tf.layers.convolution_exponential import ConvolutionExponential
from snf_tf.layers.coupling import AffineCoupling
from snf_tf.layers.dense import ExactDense, RelativeGradientDense, SelfNormalizingDense
from snf_tf.layers.emerging import EmergingConv2D
from snf_tf.layers.factor_out import FactorOut
from snf_tf.layers.from_bijector import FromBijector
from snf_tf.layers.initializers import NoisyIdentity
from snf_tf.layers.preprocessing import Dequantize, Logit, Scale
from snf_tf.layers.reshape import Flatten, Squeeze
from snf_tf.layers.self_normalizing.least_squares import LeastSquares
from snf_tf.layers.self_normalizing.projected import NewtonSchulz, Projected
from snf_tf.layers.spline import SplineActivation

__all__ = [
    "ActNorm",
    "AffineCoupling",
    "ConvolutionExponential",
    "Dequantize",
    "EmergingConv2D",
    "ExactConv2D",
    "ExactDense",
    "FactorOut",
    "Flatten",
    "FlowLayer",
    "FromBijector",
    "HouseholderConv1x1",
    "InvertibleConv1x1",
    "LeakyReLU",
    "LeastSquares",
    "Logit",
    "NewtonSchulz",
    "NoisyIdentity",
    "Projected",
    "RelativeGradientDense",
    "Scale",
    "SelfNormalizingConv2D",
    "SelfNormalizingDense",
    "SmoothLeakyReLU",
    "SmoothTanh",
    "SplineActivation",
    "Squeeze",
]
