"""Bijections as Keras layers, one family a file."""

from snf_tf.layers.act_norm import ActNorm
from snf_tf.layers.activations import LeakyReLU, SmoothLeakyReLU, SmoothTanh
from snf_tf.layers.bijection import Bijection, Step
from snf_tf.layers.conv import ExactConv2D
from snf_tf.layers.conv1x1 import HouseholderConv1x1, InvertibleConv1x1
from snf_tf.layers.convolution_exponential import ConvolutionExponential
from snf_tf.layers.coupling import AffineCoupling, Coupling
from snf_tf.layers.dense import ExactDense, RelativeGradientDense
from snf_tf.layers.emerging import EmergingConv2D
from snf_tf.layers.factor_out import FactorOut
from snf_tf.layers.flow_layer import FlowLayer
from snf_tf.layers.from_bijector import FromBijector
from snf_tf.layers.initializers import NoisyIdentity
from snf_tf.layers.log_det_estimators import (
    BruteForce,
    Krylov,
    NotTrained,
    RussianRoulette,
    TruncatedSeries,
)
from snf_tf.layers.masks import Channels, Checkerboard
from snf_tf.layers.parameterizations import PLU, Householder, Plain
from snf_tf.layers.preprocessing import Dequantize, Logit, Scale
from snf_tf.layers.reshape import Flatten, Squeeze
from snf_tf.layers.residual import ResidualBlock
from snf_tf.layers.self_normalizing import (
    GECO,
    MDMM,
    FixedPenalty,
    LearnedInverse,
    LeastSquares,
    NewtonSchulz,
    Projected,
    SelfNormalizingConv2D,
    SelfNormalizingDense,
    SelfNormalizingPair,
)
from snf_tf.layers.spline import SplineActivation
from snf_tf.layers.standardize import Standardize
from snf_tf.layers.term_distributions import ByBound, Geometric, Poisson
from snf_tf.layers.transforms import Additive, Affine, ExpScale, SigmoidScale, TanhScale

__all__ = [
    "GECO",
    "MDMM",
    "PLU",
    "ActNorm",
    "Additive",
    "Affine",
    "AffineCoupling",
    "Bijection",
    "BruteForce",
    "ByBound",
    "Channels",
    "Checkerboard",
    "ConvolutionExponential",
    "Coupling",
    "Dequantize",
    "EmergingConv2D",
    "ExactConv2D",
    "ExactDense",
    "ExpScale",
    "FactorOut",
    "FixedPenalty",
    "Flatten",
    "FlowLayer",
    "FromBijector",
    "Geometric",
    "Householder",
    "HouseholderConv1x1",
    "InvertibleConv1x1",
    "Krylov",
    "LeakyReLU",
    "LearnedInverse",
    "LeastSquares",
    "Logit",
    "NewtonSchulz",
    "NoisyIdentity",
    "NotTrained",
    "Plain",
    "Poisson",
    "Projected",
    "RelativeGradientDense",
    "ResidualBlock",
    "RussianRoulette",
    "Scale",
    "SelfNormalizingConv2D",
    "SelfNormalizingDense",
    "SelfNormalizingPair",
    "SigmoidScale",
    "SmoothLeakyReLU",
    "SmoothTanh",
    "SplineActivation",
    "Squeeze",
    "Standardize",
    "Step",
    "TanhScale",
    "TruncatedSeries",
]
