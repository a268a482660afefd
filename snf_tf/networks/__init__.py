"""Networks inside bijections: plain Keras layers that are no bijections themselves."""

from snf_tf.networks.conditioners import ZeroConv2D, default_conditioner

__all__ = ["ZeroConv2D", "default_conditioner"]
