"""Flows: a sequence of bijections and a base distribution, how it is fitted, judged, diagnosed."""

from snf_tf.flow.anomaly import Typicality, likelihood_ratio, typicality
from snf_tf.flow.flow import Flow
from snf_tf.flow.hybrid import HybridFlow

__all__ = ["Flow", "HybridFlow", "Typicality", "likelihood_ratio", "typicality"]
