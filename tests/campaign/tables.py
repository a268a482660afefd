"""Constructors and public functions, and the wrong values of each of their arguments."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import keras

import snf_tf
from snf_tf import bases, layers, models, networks
from tests.campaign import kinds as k


class Entry(NamedTuple):
    """A constructor or function.

    Attributes:
        make: Called with `given` and one wrong argument.
        given: Right values of the arguments that have no default.
        wrong: Argument -> its wrong values.
    """

    make: Callable[..., Any]
    given: Mapping[str, Any]
    wrong: Mapping[str, tuple]


class Case(NamedTuple):
    """One wrong value."""

    entry: str
    argument: str
    value: Any
    call: Callable[[], Any]


def network():
    return keras.layers.Dense(2)


def flow(**kwargs):
    return snf_tf.Flow([layers.Scale(1.0)], **{"event_shape": (2,)} | kwargs)


def hybrid(**kwargs):
    given = {"bijections": [layers.Scale(1.0)], "event_shape": (2,), "classes": 3}
    return snf_tf.HybridFlow(**given | kwargs)


_CONTEXT = {"context_shape": k.OPTIONAL_SHAPE, "context_classes": k.OPTIONAL_SIZE}
_KERNEL = {"kernel_initializer": k.INITIALIZER}
_TOLERANCE = {"tolerance": k.POSITIVE}
_SPECTRAL = {
    "coeff": k.OPEN_UNIT,
    "domain": (*k.NUMBER[:-2], 0.5, "nonsense"),
    "codomain": (*k.NUMBER[:-2], 0.5, "nonsense"),
    "method": k.CHOICE,
    "use_bias": k.FLAG,
    **_KERNEL,
}
# Infinity is an order.
for _name in ("domain", "codomain"):
    _SPECTRAL[_name] = tuple(v for v in _SPECTRAL[_name] if not (isinstance(v, float) and v > 1e9))
_PAIR = {
    "log_det": k.OPTION,
    "probe": k.CHOICE,
    "penalty": k.OPTION,
    "jacobian_penalty": k.AT_LEAST_0,
    "noise": k.AT_LEAST_0,
    "prior_weight": k.AT_LEAST_0,
    "conditional": k.FLAG,
}
_SELF_NORMALIZING = {
    "reconstruction_weight": (*k.OPTIONAL_NUMBER, -1),
    "inverse_method": k.OPTION,
    "penalty": tuple(value for value in k.OPTION if value is not None),
    **_KERNEL,
}


def _entry(make, wrong, **given):
    return Entry(make, given, wrong)


LAYERS = {
    "GECO": _entry(
        layers.GECO,
        {
            "tolerance": k.AT_LEAST_0,
            "rate": k.AT_LEAST_0,
            "momentum": (*k.AT_LEAST_0, 1, 1.5),
            "weight": k.POSITIVE,
        },
    ),
    "MDMM": _entry(
        layers.MDMM, dict.fromkeys(("tolerance", "rate", "damping", "weight"), k.AT_LEAST_0)
    ),
    "ActNorm": _entry(layers.ActNorm, {"variance_floor": k.AT_LEAST_0}),
    "Affine": _entry(layers.Affine, {"scale": k.OPTION}),
    "AffineCoupling": _entry(
        layers.AffineCoupling,
        {
            "conditioner": k.OPTIONAL_NETWORK,
            "width": k.SIZE,
            "scale": k.OPTION,
            **_CONTEXT,
        },
    ),
    "Alternate": _entry(layers.Alternate, {"flip": k.FLAG}),
    "Autoregressive": _entry(
        layers.Autoregressive,
        {
            "transform": k.OPTION,
            "network": k.OPTIONAL_NETWORK,
            "direction": k.CHOICE,
            "order": k.CHOICE,
            "seed": k.SEED_OF_PERMUTATION,
            "widths": k.SHAPE,
            **_CONTEXT,
        },
    ),
    "Bounded": _entry(
        layers.Bounded,
        {"low": ("x", "3", 1j, k.THING, True, float("nan"), ["x"]), "high": ("x", 1j, k.THING)},
    ),
    "ByBound": _entry(layers.ByBound, {}),
    "BruteForce": _entry(layers.BruteForce, {}),
    "Channels": _entry(layers.Channels, {"flip": k.FLAG}),
    "Checkerboard": _entry(layers.Checkerboard, {"flip": k.FLAG}),
    "CircularRationalQuadratic": _entry(
        layers.CircularRationalQuadratic,
        {"bins": k.SIZE, "low": (*k.NUMBER, 4.0), "high": (*k.NUMBER, -4.0)},
    ),
    "ConvolutionExponential": _entry(
        layers.ConvolutionExponential,
        {"kernel_size": k.KERNEL_SIZE, "bound": (*k.POSITIVE, 11), **_KERNEL},
        kernel_size=3,
    ),
    "Coupling": _entry(
        layers.Coupling,
        {
            "transform": k.OPTION,
            "mask": k.OPTION,
            "conditioner": k.OPTIONAL_NETWORK,
            "width": k.SIZE,
            **_CONTEXT,
        },
    ),
    "Dequantize": _entry(layers.Dequantize, {"bins": k.SIZE}),
    "EmergingConv2D": _entry(
        layers.EmergingConv2D, {"kernel_size": (*k.SIZE, 1, 2, (3, 3)), **_KERNEL}
    ),
    "ExactConv2D": _entry(
        layers.ExactConv2D, {"kernel_size": k.KERNEL_SIZE, **_KERNEL}, kernel_size=3
    ),
    "ExactDense": _entry(layers.ExactDense, _KERNEL),
    "FactorOut": _entry(
        layers.FactorOut,
        {
            "inner": (3, "x", None, layers.Squeeze, network(), [layers.Squeeze()], True),
            "conditional": k.FLAG,
            **_CONTEXT,
        },
        inner=layers.Squeeze(),
    ),
    "FixedPenalty": _entry(layers.FixedPenalty, {"weight": k.AT_LEAST_0}),
    "FromBijector": _entry(layers.FromBijector, {"bijector": (3, "x", None, [1], True, 1j)}),
    "Geometric": _entry(layers.Geometric, {"p": k.OPEN_UNIT}),
    "Householder": _entry(layers.Householder, {"reflections": k.OPTIONAL_SIZE}),
    "HouseholderConv1x1": _entry(layers.HouseholderConv1x1, {"reflections": k.OPTIONAL_SIZE}),
    "InvertibleConv1x1": _entry(
        layers.InvertibleConv1x1, {"parameterization": k.OPTION, **_KERNEL}
    ),
    "Krylov": _entry(layers.Krylov, {"products": k.SIZE}),
    "LULinear": _entry(layers.LULinear, _KERNEL),
    "LeakyReLU": _entry(layers.LeakyReLU, {"alpha": (*k.POSITIVE, 1e300, 1e-60)}),
    "LearnedInverse": _entry(
        layers.LearnedInverse,
        {"penalty": k.OPTION, "jacobian_penalty": k.AT_LEAST_0, "terms": k.COUNT},
    ),
    "LeastSquares": _entry(layers.LeastSquares, {**_TOLERANCE, "check_every": k.SIZE}),
    "LogisticMixture": _entry(layers.LogisticMixture, {"components": k.SIZE, "scale": k.OPTION}),
    "Logit": _entry(layers.Logit, {"alpha": (*k.AT_LEAST_0, 0.5, 2)}),
    "NewtonSchulz": _entry(layers.NewtonSchulz, _TOLERANCE),
    "NoisyIdentity": _entry(
        layers.NoisyIdentity, {"gain": k.NUMBER, "seed": tuple(v for v in k.SEED if v is not None)}
    ),
    "NotTrained": _entry(layers.NotTrained, {"estimator": k.OPTION}),
    "Permute": _entry(
        layers.Permute,
        {
            "permutation": (3, "x", "01", ["a"], [0.5, 1], [1, 2], [True, False], k.THING),
            "seed": k.SEED_OF_PERMUTATION,
        },
    ),
    "Poisson": _entry(layers.Poisson, {"rate": k.POSITIVE}),
    "Projected": _entry(
        layers.Projected,
        {
            "rows": k.OPTIONAL_SIZE,
            "probes": k.OPTIONAL_SIZE,
            "damping": k.POSITIVE,
            **_TOLERANCE,
        },
    ),
    "RandomPermutation": _entry(
        layers.RandomPermutation, {"seed": k.SEED_OF_PERMUTATION, "flip": k.FLAG}
    ),
    "RationalQuadratic": _entry(layers.RationalQuadratic, {"bins": k.SIZE, "bound": k.POSITIVE}),
    "RelativeGradientDense": _entry(layers.RelativeGradientDense, _KERNEL),
    "ResidualBlock": _entry(
        layers.ResidualBlock,
        {
            "network": k.NETWORK,
            "log_det": k.OPTION,
            "probe": k.CHOICE,
            "monotone": k.FLAG,
            "lipschitz_bound": tuple(value for value in k.OPEN_UNIT if value is not None),
            "backward_in_forward": k.FLAG,
        },
        network=network(),
    ),
    "RussianRoulette": _entry(
        layers.RussianRoulette, {"exact_terms": k.COUNT, "distribution": k.OPTION}
    ),
    "Scale": _entry(
        layers.Scale,
        {
            "scale": (*k.NUMBER, 0, 0.0, 1e60, -1e60, 1e-60),
            "dtype": ("int32", "bool", "complex64", keras.DTypePolicy("uint8")),
        },
    ),
    "SelfNormalizingConv2D": _entry(
        layers.SelfNormalizingConv2D,
        {
            "kernel_size": k.KERNEL_SIZE,
            "inverse_kernel_size": tuple(v for v in k.KERNEL_SIZE if v is not None),
            **_SELF_NORMALIZING,
        },
        kernel_size=3,
    ),
    "SelfNormalizingDense": _entry(layers.SelfNormalizingDense, _SELF_NORMALIZING),
    "SelfNormalizingPair": _entry(
        layers.SelfNormalizingPair,
        {"forward": k.NETWORK, "inverse": k.NETWORK, **_PAIR},
        forward=network(),
        inverse=network(),
    ),
    "SelfNormalizingResidualBlock": _entry(
        layers.SelfNormalizingResidualBlock,
        {"network": k.NETWORK, "inverse_network": k.OPTIONAL_NETWORK, **_PAIR},
        network=network(),
    ),
    "SmoothLeakyReLU": _entry(layers.SmoothLeakyReLU, {"alpha": (*k.POSITIVE, 1e39)}),
    "SmoothTanh": _entry(layers.SmoothTanh, {"alpha": k.POSITIVE, "beta": k.POSITIVE}),
    "SplineActivation": _entry(layers.SplineActivation, {"bins": k.SIZE, "bound": k.POSITIVE}),
    "Stripes": _entry(layers.Stripes, {"flip": k.FLAG}),
    "TruncatedSeries": _entry(layers.TruncatedSeries, {"terms": k.SIZE, "gradient": k.CHOICE}),
    "VariationalDequantize": _entry(
        layers.VariationalDequantize,
        {"flow": (3, "x", None, layers.Scale, network(), True), "bins": k.SIZE},
        flow=layers.Scale(1.0),
    ),
    "VariationalPair": _entry(
        layers.VariationalPair,
        {
            "forward": k.NETWORK,
            "inverse": k.NETWORK,
            "sigma": k.POSITIVE,
            "log_det": k.OPTION,
            "probe": k.CHOICE,
            "conditional": k.FLAG,
        },
        forward=network(),
        inverse=network(),
    ),
}

NETWORKS = {
    "MADE": _entry(
        networks.MADE,
        {
            "outputs": k.OPTIONAL_SIZE,
            "widths": k.SHAPE,
            "order": k.CHOICE,
            "seed": k.SEED_OF_PERMUTATION,
            "residual": k.FLAG,
            "activation": k.ACTIVATION,
        },
    ),
    "AttentionNetwork": _entry(
        networks.AttentionNetwork, dict.fromkeys(("patch_size", "width", "heads", "blocks"), k.SIZE)
    ),
    "Conditioner": _entry(networks.Conditioner, {"outputs": k.OPTIONAL_SIZE}),
    "FeatureHead": _entry(networks.FeatureHead, {"width": k.SIZE, "variance_floor": k.AT_LEAST_0}),
    "GatedConvNetwork": _entry(
        networks.GatedConvNetwork,
        {"outputs": k.OPTIONAL_SIZE, "width": k.SIZE, "blocks": k.SIZE, "heads": (*k.COUNT, 5)},
    ),
    "LipschitzDenseNet": _entry(
        networks.LipschitzDenseNet, {"depth": k.SIZE, "growth": k.SIZE, "coeff": k.OPEN_UNIT}
    ),
    "LipschitzNetwork": _entry(
        networks.LipschitzNetwork,
        {
            "widths": k.SHAPE,
            "kernel_sizes": (*k.OPTIONAL_SHAPE, (3,), (2, 2)),
            "activation": k.CHOICE,
            "leading_activation": k.FLAG,
            "coeff": k.OPEN_UNIT,
            "norm": _SPECTRAL["domain"],
            "method": k.CHOICE,
        },
        widths=(4,),
    ),
    "MaskedDense": _entry(
        networks.MaskedDense,
        {"mask": (3, "x", None, [1, 0], [["x"]], [[2.5]], [[float("nan")]], k.THING), **_KERNEL},
        mask=[[True]],
    ),
    "ResidualMLP": _entry(
        networks.ResidualMLP,
        {
            "outputs": k.OPTIONAL_SIZE,
            "width": k.SIZE,
            "blocks": k.SIZE,
            "activation": k.ACTIVATION,
        },
    ),
    "ResidualNetwork": _entry(
        networks.ResidualNetwork,
        {
            "widths": k.SHAPE,
            "blocks": k.SIZE,
            "kernel_sizes": (*k.OPTIONAL_SHAPE, (3,)),
            "activation": k.ACTIVATION,
        },
    ),
    "Shortcut": _entry(networks.Shortcut, {"network": k.NETWORK}),
    "SpectralConv2D": _entry(
        networks.SpectralConv2D,
        {"filters": k.SIZE, "kernel_size": k.KERNEL_SIZE, **_SPECTRAL},
        filters=2,
    ),
    "SpectralDense": _entry(networks.SpectralDense, {"units": k.SIZE, **_SPECTRAL}, units=2),
    "ZeroConv2D": _entry(networks.ZeroConv2D, {"filters": k.SIZE}),
}

BASES = {
    "ClassConditionalNormal": _entry(
        bases.ClassConditionalNormal,
        {"classes": k.SIZE, "spread": k.AT_LEAST_0, "seed": k.SEED_OF_PERMUTATION},
        classes=3,
    ),
    "ConditionalNormal": _entry(
        bases.ConditionalNormal,
        {"network": k.NETWORK, "context_shape": k.OPTIONAL_SHAPE},
        network=network(),
    ),
    "GaussianMixture": _entry(
        bases.GaussianMixture,
        {"components": k.SIZE, "spread": k.AT_LEAST_0, "seed": k.SEED_OF_PERMUTATION},
    ),
    "LocationScale": _entry(bases.LocationScale, {"base": (3, "x", bases.StudentT, True, k.THING)}),
    "StudentT": _entry(bases.StudentT, {"degrees_of_freedom": k.POSITIVE, "learned": k.FLAG}),
    "Uniform": _entry(bases.Uniform, {"low": (*k.NUMBER, 2.0), "high": (*k.NUMBER, -2.0)}),
}

_SEED = {"seed": k.SEED}
_CONDITION = {
    "conditional_on": k.OPTIONAL_CHOICE,
    "classes": k.SIZE,
    "context_shape": k.OPTIONAL_SHAPE,
}


def _label(make):
    """Returns the builder of a flow of p(x | label)."""
    return lambda **kwargs: make(
        **{"conditional_on": "context" if "context_shape" in kwargs else "label"} | kwargs
    )


MODELS = {
    "convolutional": _entry(
        models.convolutional,
        {
            "event_shape": (*k.SHAPE, (4,)),
            "linear": k.CHOICE,
            "blocks": k.SIZE,
            "depth": k.SIZE,
            "kernel_size": k.KERNEL_SIZE,
            "bins": k.SIZE,
            "bound": k.POSITIVE,
            "preprocess": k.FLAG,
            **_SEED,
        },
        event_shape=(4, 4, 1),
    ),
    "coupling_flow": _entry(
        _label(models.coupling_flow),
        {
            "event_shape": (*k.SHAPE, (4,), (4, 5, 1)),
            "levels": k.SIZE,
            "couplings": k.SIZE,
            "coupling": k.OPTION,
            "conditioner": (3, "x", [1], True),
            "width": k.SIZE,
            "dequantization": k.CHOICE,
            **_CONDITION,
            **_SEED,
        },
        event_shape=(4, 4, 1),
    ),
    "ffjord": _entry(
        models.ffjord,
        {"event_shape": k.SHAPE, "blocks": k.SIZE, "widths": k.SHAPE, **_TOLERANCE, **_SEED},
    ),
    "fully_connected": _entry(
        models.fully_connected,
        {
            "event_shape": k.SHAPE,
            "linear": k.CHOICE,
            "depth": k.SIZE,
            "alpha": k.POSITIVE,
            "preprocess": k.FLAG,
            **_SEED,
        },
        event_shape=(4,),
    ),
    "glow": _entry(
        _label(models.glow),
        {
            "event_shape": (*k.SHAPE, (4,), (6, 6, 1)),
            "levels": k.SIZE,
            "steps": k.SIZE,
            "mixing": k.CHOICE,
            "coupling_width": k.SIZE,
            "coupling_scale": k.OPTION,
            "conditional": k.FLAG,
            "preprocess": k.FLAG,
            "dequantization": k.CHOICE,
            **_CONDITION,
            **_SEED,
        },
        event_shape=(4, 4, 1),
    ),
    "learned_pairs": _entry(
        models.learned_pairs,
        {
            "event_shape": k.SHAPE,
            "pairs": k.SIZE,
            "network": (3, "x", None, [1], True),
            "flatten": k.FLAG,
            "variance_floor": k.AT_LEAST_0,
            "preprocess": k.FLAG,
            "bins": k.SIZE,
            "alpha": (*k.AT_LEAST_0, 0.5),
            **_SEED,
        },
    ),
    "nice": _entry(
        models.nice,
        {
            "event_shape": k.SHAPE,
            **dict.fromkeys(("couplings", "width", "hidden_layers"), k.SIZE),
            **_SEED,
        },
        event_shape=(4,),
    ),
    "residual_flow": _entry(
        models.residual_flow,
        {
            "event_shape": k.SHAPE,
            "blocks": k.SIZE,
            "scales": k.SIZE,
            "block": k.CHOICE,
            "widths": k.SHAPE,
            "activation": k.CHOICE,
            "coeff": k.OPEN_UNIT,
            "norm": _SPECTRAL["domain"],
            "log_det": k.OPTION,
            "probe": k.CHOICE,
            "monotone": k.FLAG,
            "dense_net_depth": k.OPTIONAL_SIZE,
            "dense_blocks": k.COUNT,
            "dense_width": k.SIZE,
            "squeeze_first": k.FLAG,
            "factor_out": k.FLAG,
            "variance_floor": k.AT_LEAST_0,
            "preprocess": k.FLAG,
            "preprocessing": k.CHOICE,
            "bins": k.SIZE,
            "alpha": (*k.AT_LEAST_0, 0.5),
            "classes": (*k.OPTIONAL_SIZE, 1),
            "likelihood_weight": (*k.AT_LEAST_0, "1/d"),
            "head_width": k.SIZE,
            **_SEED,
        },
        event_shape=(2,),
        blocks=1,
    ),
    "tabular": _entry(
        _label(models.tabular),
        {
            "event_shape": k.SHAPE,
            "blocks": k.SIZE,
            "coupling": k.CHOICE,
            "mixing": k.CHOICE,
            "width": k.SIZE,
            "residual_blocks": k.SIZE,
            "bins": k.SIZE,
            "bound": k.POSITIVE,
            **_CONDITION,
            "seed": k.SEED_OF_PERMUTATION,
        },
        event_shape=(4,),
    ),
    "variational_dequantize": _entry(
        models.variational_dequantize,
        {"event_shape": (*k.SHAPE, (4,)), "couplings": k.SIZE, "width": k.SIZE},
        event_shape=(4, 4, 1),
    ),
}

FLOWS = {
    "Flow": _entry(
        snf_tf.Flow,
        {
            "bijections": (
                *(3, "x", None, [], [3], [layers.Scale], layers.Scale(1.0), [network()]),
                *({layers.Scale(1.0)}, {layers.Scale(1.0): 1}),
            ),
            "event_shape": k.SHAPE,
            "base": (3, "x", bases.StudentT, [1], True, k.THING, network()),
            **_SEED,
        },
        bijections=[layers.Scale(1.0)],
        event_shape=(2,),
    ),
    "HybridFlow": _entry(
        hybrid,
        {
            "bijections": (3, "x", None, [], [3], [layers.Scale], layers.Scale(1.0)),
            "event_shape": k.SHAPE,
            "classes": (*k.SIZE, 1),
            "likelihood_weight": (*k.AT_LEAST_0, "1/d"),
            "head_width": k.SIZE,
            "base": (3, "x", bases.StudentT, [1], True),
            **_SEED,
        },
    ),
}

CONSTRUCTORS = {**LAYERS, **NETWORKS, **BASES, **MODELS, **FLOWS}


def cases(table: Mapping[str, Entry]) -> Iterator[Case]:
    """Yields all cases of a table."""
    for name, entry in table.items():
        for argument, values in entry.wrong.items():
            for value in values:
                given = {**entry.given, argument: value}
                yield Case(name, argument, value, lambda e=entry, g=given: e.make(**g))
