"""The papers' architectures, as gin-configurable functions that build a `snf_tf.Flow`."""

from snf_tf.models.convolutional import convolutional
from snf_tf.models.fully_connected import fully_connected
from snf_tf.models.glow import glow

__all__ = ["convolutional", "fully_connected", "glow"]
