"""Distributions of the latents of a flow: `Flow(..., base=StudentT())`."""

from snf_tf.bases.base import Base
from snf_tf.bases.conditional import ClassConditionalNormal, ConditionalNormal
from snf_tf.bases.gaussian_mixture import GaussianMixture
from snf_tf.bases.location_scale import LocationScale
from snf_tf.bases.student_t import StudentT
from snf_tf.bases.uniform import Uniform

__all__ = [
    "Base",
    "ClassConditionalNormal",
    "ConditionalNormal",
    "GaussianMixture",
    "LocationScale",
    "StudentT",
    "Uniform",
]
