"""Experiments: gin-configured training runs that can be continued."""

from snf_tf.training.build import load_data, load_run
from snf_tf.training.interruption import Interrupted
from snf_tf.training.strategy import make_strategy
from snf_tf.training.train import train

__all__ = ["Interrupted", "load_data", "load_run", "make_strategy", "train"]
