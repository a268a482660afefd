"""Bijections as Keras layers, one family a file."""

from snf_tf.layers.act_norm import ActNorm
from snf_tf.layers.activations import LeakyReLU, SmoothLeakyReLU, SmoothTanh
from snf_tf.layers.autoregressive import Autoregressive
from snf_tf.layers.bijection import Bijection, Step
from snf_tf.layers.bounded import Bounded
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
from snf_tf.layers.lu_linear import LULinear
from snf_tf.layers.masks import Alternate, Channels, Checkerboard, RandomPermutation, Stripes
from snf_tf.layers.parameterizations import PLU, Householder, Plain
from snf_tf.layers.preprocessing import Dequantize, Logit, Scale
from snf_tf.layers.reshape import Flatten, Permute, Squeeze
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
    SelfNormalizingResidualBlock,
    VariationalPair,
)
from snf_tf.layers.spline import SplineActivation
from snf_tf.layers.standardize import Standardize
from snf_tf.layers.term_distributions import ByBound, Geometric, Poisson
from snf_tf.layers.transforms import (
    Additive,
    Affine,
    CircularRationalQuadratic,
    ExpScale,
    LogisticMixture,
    RationalQuadratic,
    SigmoidScale,
    TanhScale,
)
from snf_tf.layers.variational_dequantize import VariationalDequantize

__all__ = [
    "GECO",
    "MDMM",
    "PLU",
    "ActNorm",
    "Additive",
    "Affine",
    "AffineCoupling",
    "Alternate",
    "Autoregressive",
    "Bijection",
    "Bounded",
    "BruteForce",
    "ByBound",
    "Channels",
    "Checkerboard",
    "CircularRationalQuadratic",
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
    "LULinear",
    "LeakyReLU",
    "LearnedInverse",
    "LeastSquares",
    "LogisticMixture",
    "Logit",
    "NewtonSchulz",
    "NoisyIdentity",
    "NotTrained",
    "Permute",
    "Plain",
    "Poisson",
    "Projected",
    "RandomPermutation",
    "RationalQuadratic",
    "RelativeGradientDense",
    "ResidualBlock",
    "RussianRoulette",
    "Scale",
    "SelfNormalizingConv2D",
    "SelfNormalizingDense",
    "SelfNormalizingPair",
    "SelfNormalizingResidualBlock",
    "SigmoidScale",
    "SmoothLeakyReLU",
    "SmoothTanh",
    "SplineActivation",
    "Squeeze",
    "Standardize",
    "Step",
    "Stripes",
    "TanhScale",
    "TruncatedSeries",
    "VariationalDequantize",
    "VariationalPair",
]
