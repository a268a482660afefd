"""Element-wise bijections that couplings apply, with parameters from a network."""

from collections.abc import Mapping

from snf_tf.layers.transforms.affine import (
    Additive,
    Affine,
    ExpScale,
    LogScale,
    SigmoidScale,
    TanhScale,
)
from snf_tf.layers.transforms.logistic_mixture import LogisticMixture
from snf_tf.layers.transforms.spline import CircularRationalQuadratic, RationalQuadratic
from snf_tf.layers.transforms.transform import Transform

TRANSFORMS: Mapping[str, type] = {
    "affine": Affine,
    "additive": Additive,
    "rational_quadratic": RationalQuadratic,
    "circular_rational_quadratic": CircularRationalQuadratic,
    "logistic_mixture": LogisticMixture,
}

__all__ = [
    "TRANSFORMS",
    "Additive",
    "Affine",
    "CircularRationalQuadratic",
    "ExpScale",
    "LogScale",
    "LogisticMixture",
    "RationalQuadratic",
    "SigmoidScale",
    "TanhScale",
    "Transform",
]
