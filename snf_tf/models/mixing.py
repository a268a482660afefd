"""The layers that mix channels and pixels, by the names under which the papers compare them."""

from collections.abc import Callable, Mapping
from typing import Any

import keras

from snf_tf import layers
from snf_tf._checks import refuse

Maker = Callable[..., layers.FlowLayer | list[layers.FlowLayer]]


def _emerging(kernel_size=3) -> list[layers.FlowLayer]:
    return [layers.InvertibleConv1x1(), layers.EmergingConv2D(kernel_size)]


def _exponential(kernel_size=3) -> list[layers.FlowLayer]:
    return [layers.InvertibleConv1x1(), layers.ConvolutionExponential(kernel_size)]


DENSE: Mapping[str, Maker] = {
    "self_normalizing": layers.SelfNormalizingDense,
    "exact": layers.ExactDense,
    "relative": layers.RelativeGradientDense,
}

# The published runs of SNF put a 1 x 1 convolution before the last two.
CONVOLUTIONS: Mapping[str, Maker] = {
    "self_normalizing": layers.SelfNormalizingConv2D,
    "exact": layers.ExactConv2D,
    "emerging": _emerging,
    "exponential": _exponential,
}


def _with_orthogonal_1x1(make: Maker) -> Maker:
    """Lets 1 x 1 kernels start as random orthogonal matrices (SNF A.3, Glow)."""

    def made(kernel_size=1, **options):
        initializer = keras.initializers.Orthogonal() if kernel_size in (1, (1, 1)) else None
        return make(kernel_size=kernel_size, **{"kernel_initializer": initializer} | options)

    return made


def _conv1x1(parameterization: str) -> Maker:
    def made(kernel_size=1, **options):
        if kernel_size not in (1, (1, 1)):
            raise ValueError(
                f"{parameterization!r} is a 1 x 1 convolution. Received: kernel_size={kernel_size}"
            )
        return layers.InvertibleConv1x1(parameterization, **options)

    return made


GLOW: Mapping[str, Maker] = {
    **CONVOLUTIONS,
    "self_normalizing": _with_orthogonal_1x1(layers.SelfNormalizingConv2D),
    "exact": _with_orthogonal_1x1(layers.ExactConv2D),
    "conv1x1": _conv1x1("plain"),
    "plu": _conv1x1("plu"),
    "householder": _conv1x1("householder"),
}


def make_layers(
    maker: str | Maker, names: Mapping[str, Maker], argument: str, **options: Any
) -> list[layers.FlowLayer]:
    """Makes the layers of one mixing step.

    Args:
        maker: A name, or a function that makes a layer or a list of layers, such as a class; in
            gin a reference, `@SelfNormalizingConv2D`.
        names: Name -> function.
        argument: Name of the argument, for messages.
        **options: Arguments of the function; None stands for its default.

    Raises:
        ValueError: If there is no such name, or the function does not take the options.
    """
    make = names.get(maker) if isinstance(maker, str) else maker
    if not callable(make):
        known = ", ".join(map(repr, names))
        refuse(argument, maker, f"one of {known}, or a function that makes a layer")
    given = {name: value for name, value in options.items() if value is not None}
    try:
        made = make(**given)
    except TypeError as error:
        raise ValueError(f"{argument}={maker!r} does not take these options. {error}") from error
    return made if isinstance(made, list) else [made]
