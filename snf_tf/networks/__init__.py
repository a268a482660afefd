"""Networks inside bijections: plain Keras layers that are no bijections themselves."""

from snf_tf.networks.as_function import as_function, stored_values
from snf_tf.networks.attention_network import AttentionNetwork
from snf_tf.networks.conditioners import ZeroConv2D, default_conditioner
from snf_tf.networks.context import Conditioner, JoinContext
from snf_tf.networks.dense_net import LipschitzDenseNet
from snf_tf.networks.dependences import dependences, in_cycles
from snf_tf.networks.feature_head import FeatureHead
from snf_tf.networks.gated_conv_network import GatedConvNetwork
from snf_tf.networks.lipschitz import (
    LipschitzLayer,
    lipschitz_bound,
    lipschitz_parts,
    nominal_bound,
)
from snf_tf.networks.lipschitz_activations import CLipSwish, LipSwish
from snf_tf.networks.lipschitz_network import LipschitzNetwork
from snf_tf.networks.masked import MADE, MaskedDense
from snf_tf.networks.norm_order import NormOrder
from snf_tf.networks.residual_mlp import ResidualMLP
from snf_tf.networks.residual_network import ResidualNetwork
from snf_tf.networks.shortcut import Shortcut
from snf_tf.networks.spectral import SpectralConv2D, SpectralDense

__all__ = [
    "MADE",
    "AttentionNetwork",
    "CLipSwish",
    "Conditioner",
    "FeatureHead",
    "GatedConvNetwork",
    "JoinContext",
    "LipSwish",
    "LipschitzDenseNet",
    "LipschitzLayer",
    "LipschitzNetwork",
    "MaskedDense",
    "NormOrder",
    "ResidualMLP",
    "ResidualNetwork",
    "Shortcut",
    "SpectralConv2D",
    "SpectralDense",
    "ZeroConv2D",
    "as_function",
    "default_conditioner",
    "dependences",
    "in_cycles",
    "lipschitz_bound",
    "lipschitz_parts",
    "nominal_bound",
    "stored_values",
]
