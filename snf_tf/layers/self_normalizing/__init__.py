"""Self normalizing layers, which keep an inverse and train by this inverse."""

from snf_tf.layers.self_normalizing.conv import SelfNormalizingConv2D
from snf_tf.layers.self_normalizing.dense import SelfNormalizingDense
from snf_tf.layers.self_normalizing.learned import LearnedInverse
from snf_tf.layers.self_normalizing.least_squares import LeastSquares
from snf_tf.layers.self_normalizing.newton_schulz import NewtonSchulz
from snf_tf.layers.self_normalizing.pair import SelfNormalizingPair
from snf_tf.layers.self_normalizing.penalty import GECO, MDMM, FixedPenalty
from snf_tf.layers.self_normalizing.projected import Projected
from snf_tf.layers.self_normalizing.residual_block import SelfNormalizingResidualBlock
from snf_tf.layers.self_normalizing.variational_pair import VariationalPair

__all__ = [
    "GECO",
    "MDMM",
    "FixedPenalty",
    "LearnedInverse",
    "LeastSquares",
    "NewtonSchulz",
    "Projected",
    "SelfNormalizingConv2D",
    "SelfNormalizingDense",
    "SelfNormalizingPair",
    "SelfNormalizingResidualBlock",
    "VariationalPair",
]
