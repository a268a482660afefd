"""The papers' architectures, as gin-configurable functions that build a `snf_tf.Flow`.

gin knows all layers and their options, too: `glow.mixing = @SelfNormalizingConv2D`.
"""

import gin as _gin

from snf_tf import layers as _layers
from snf_tf import networks as _networks
from snf_tf.models.convolutional import convolutional
from snf_tf.models.coupling_flow import coupling_flow
from snf_tf.models.ffjord import ffjord
from snf_tf.models.fully_connected import fully_connected
from snf_tf.models.glow import glow
from snf_tf.models.learned_pairs import learned_pairs
from snf_tf.models.nice import nice
from snf_tf.models.preprocessing import variational_dequantize
from snf_tf.models.residual_flow import residual_flow
from snf_tf.models.tabular import tabular

__all__ = [
    "convolutional",
    "coupling_flow",
    "ffjord",
    "fully_connected",
    "glow",
    "learned_pairs",
    "nice",
    "residual_flow",
    "tabular",
    "variational_dequantize",
]

for _name in _layers.__all__:
    _gin.external_configurable(getattr(_layers, _name), module="snf_tf.layers")
for _name in _networks.__all__:
    if isinstance(getattr(_networks, _name), type):
        _gin.external_configurable(getattr(_networks, _name), module="snf_tf.networks")
