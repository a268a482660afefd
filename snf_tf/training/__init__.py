"""Experiments: gin-configured training runs that can be continued."""

from snf_tf.training.interruption import Interrupted
from snf_tf.training.strategy import make_strategy
from snf_tf.training.train import train

__all__ = ["Interrupted", "make_strategy", "train"]
