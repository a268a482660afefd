"""Residual Flows, and flows of couplings in the same architecture."""

from collections.abc import Sequence
from typing import Any

import gin

from snf_tf import layers, networks
from snf_tf._checks import (
    check_choice,
    check_flag,
    check_integer,
    check_number,
    check_shape,
    check_sizes,
)
from snf_tf.flow import Flow, HybridFlow
from snf_tf.flow.hybrid import checked_likelihood_weight
from snf_tf.layers.log_det_estimators import LogDetEstimator
from snf_tf.models.preprocessing import PREPROCESSING, image_preprocessing

_BLOCKS = ("residual", "coupling", "coupling_1x1")


@gin.configurable
def residual_flow(
    event_shape: tuple[int, ...] = (28, 28, 1),
    blocks: int = 16,
    scales: int = 3,
    block: str = "residual",
    widths: Sequence[int] = (512, 512),
    activation: str = "lipswish",
    coeff: float = 0.98,
    norm: float | str = 2.0,
    log_det: str | LogDetEstimator = "russian_roulette",
    probe: str = "rademacher",
    monotone: bool = False,
    dense_net_depth: int | None = None,
    dense_blocks: int = 0,
    dense_width: int = 128,
    squeeze_first: bool = False,
    factor_out: bool = False,
    variance_floor: float = 0.2,
    preprocess: bool = True,
    preprocessing: str = "logit",
    bins: int = 256,
    alpha: float = 0.05,
    classes: int | None = None,
    likelihood_weight: float | str = 1.0,
    head_width: int = 256,
    seed: int = 0,
    **options: Any,
) -> Flow:
    """Builds a Residual Flow (RF App. E), on images or on vectors.

    Images pass `scales` times `blocks` blocks, with a squeeze between scales. ActNorm stands before
    the first block and after every block. Data must initialize the flow: `flow.initialize(batch)`.
    With `classes` the flow is a hybrid model, with a classifier of its features (RF section 5.4).

    Args:
        event_shape: `(height, width, channels)`, or `(D,)` for vectors, which have one scale.
        blocks: Blocks of a scale.
        scales: Number of scales.
        block: "residual", or for comparison "coupling", affine couplings that change each half by
            turns, or "coupling_1x1", with a 1 x 1 convolution before each.
        widths: Hidden channels of a block's network. Images take convolutions 3x3, 1x1, ..., 3x3,
            vectors dense layers.
        activation: "lipswish", "clipswish", "elu" or "softplus"; the very first block has none in
            the lead.
        coeff: Largest norm of every linear map of a residual block.
        norm: Order of these norms, a number, "inf" or "learned"; see
            `snf_tf.networks.LipschitzNetwork`.
        log_det: As in `snf_tf.layers.ResidualBlock`.
        probe: As there.
        monotone: As there.
        dense_net_depth: Steps of a `snf_tf.networks.LipschitzDenseNet` in the place of the network
            (i-DenseNet); its growth is the first of the widths.
        dense_blocks: Residual blocks of dense layers at the end of an image model; of i-DenseNets,
            too, they are no dense nets.
        dense_width: Hidden units of those, twice.
        squeeze_first: Whether images are squeezed before the first scale.
        factor_out: Whether half of the channels leave after every squeeze between scales.
        variance_floor: As in `snf_tf.layers.ActNorm`.
        preprocess: Whether images are integers in 0..bins - 1, to be dequantized, scaled into
            [0, 1), and taken on by `preprocessing` first. Vectors never are.
        preprocessing: "logit"; or "standardize", which subtracts a mean of every channel and
            divides by its standard deviation, as hybrid models of CIFAR-10 do. Both are those of
            the batch that initializes the flow, in an ActNorm that is not trained.
        bins: Number of values of a pixel: 32 for images of 5 bits.
        alpha: As in `snf_tf.layers.Logit`.
        classes: Number of classes of a hybrid model, without dense blocks; None: no classifier.
        likelihood_weight: As in `snf_tf.HybridFlow`. At 0 training skips log-determinants.
        head_width: As there.
        seed: Seed of the noise in training.
        **options: Further arguments of `snf_tf.layers.ResidualBlock`.

    Returns:
        A Flow; with classes a `snf_tf.HybridFlow`.

    Raises:
        ValueError: If an argument does not fit the images, or is unknown.

    Example:
        >>> flow = snf_tf.models.residual_flow((2,), blocks=2, widths=(16, 16), coeff=0.9)
        >>> flow.initialize(tf.random.normal((100, 2)))
        >>> flow.log_prob(tf.zeros((3, 2))).shape
        TensorShape([3])
    """
    event_shape = check_shape("event_shape", event_shape, ranks=(1, 3))
    blocks, scales = check_sizes(blocks=blocks, scales=scales)
    check_sizes(dense_width=dense_width, head_width=head_width, bins=bins)
    check_integer("dense_blocks", dense_blocks, 0)
    check_integer("dense_net_depth", dense_net_depth, 1, optional=True)
    check_integer("classes", classes, 2, optional=True)
    check_choice("block", block, _BLOCKS)
    check_choice("preprocessing", preprocessing, PREPROCESSING)
    check_number("alpha", alpha, at_least=0, below=0.5)
    checked_likelihood_weight(likelihood_weight)
    flags = {"squeeze_first": squeeze_first, "factor_out": factor_out, "preprocess": preprocess}
    for name, flag in flags.items():
        check_flag(name, flag)
    widths = check_shape("widths", widths)
    if classes is not None and dense_blocks:
        raise ValueError(
            f"A hybrid model has no dense blocks. Received: classes={classes}, "
            f"dense_blocks={dense_blocks}"
        )
    if classes is not None and likelihood_weight == 0:
        log_det = layers.NotTrained(log_det)
    is_image = len(event_shape) == 3
    _check_shape(event_shape, scales, squeeze_first)
    made = 0

    def network(is_convolutional, widths):
        if dense_net_depth is not None and is_convolutional == is_image:
            return networks.LipschitzDenseNet(dense_net_depth, widths[0], coeff)
        sizes = (3, *[1] * (len(widths) - 1), 3) if is_convolutional else None
        return networks.LipschitzNetwork(widths, sizes, activation, made > 0, coeff, norm)

    def make_block(channels, is_convolutional, widths):
        nonlocal made
        if block == "residual" or not is_convolutional:
            g = network(is_convolutional, widths)
            made += 1
            return [layers.ResidualBlock(g, log_det, probe, monotone, **options)]
        made += 1
        flip = made % 2 == 0
        mask = layers.Channels(flip) if channels % 2 == 0 else layers.Checkerboard(flip)
        mixing = [layers.InvertibleConv1x1()] if block == "coupling_1x1" and channels > 1 else []
        return [*mixing, layers.Coupling("affine", mask, width=widths[0])]

    def stack(count, channels, is_convolutional, widths):
        bijections = [layers.ActNorm(variance_floor)]
        for _ in range(count):
            bijections += make_block(channels, is_convolutional, widths)
            bijections.append(layers.ActNorm(variance_floor))
        return bijections

    def scale(index, shape):
        """Returns the bijections of a scale and of all later ones."""
        bijections = stack(blocks, shape[-1], is_image, widths)
        if index == scales - 1 or not is_image:
            if is_image and dense_blocks:
                bijections.append(layers.Flatten())
                bijections += stack(dense_blocks, None, False, (dense_width, dense_width))
            return bijections
        bijections.append(layers.Squeeze())
        height, width, channels = shape[0] // 2, shape[1] // 2, 4 * shape[2]
        if not factor_out:
            return bijections + scale(index + 1, (height, width, channels))
        inner = (height, width, channels // 2)
        rest = Flow(scale(index + 1, inner), event_shape=inner)
        return [*bijections, layers.FactorOut(rest, conditional=False)]

    first = image_preprocessing(bins, alpha, preprocessing) if is_image and preprocess else []
    shape = tuple(event_shape)
    if squeeze_first:
        first.append(layers.Squeeze())
        shape = (shape[0] // 2, shape[1] // 2, 4 * shape[2])
    bijections = [*first, *scale(0, shape)]
    if classes is None:
        return Flow(bijections, event_shape, seed=seed)
    return HybridFlow(bijections, event_shape, classes, likelihood_weight, head_width, seed=seed)


def _check_shape(event_shape, scales, squeeze_first):
    if len(event_shape) == 1 and squeeze_first:
        raise ValueError("Vectors cannot be squeezed. Received: squeeze_first=True")
    halvings = scales - 1 + bool(squeeze_first)
    if len(event_shape) == 3 and any(size % 2**halvings for size in event_shape[:2]):
        raise ValueError(
            f"Height and width are halved {halvings} times: both must be multiples of "
            f"{2**halvings}. Received: event_shape={event_shape}"
        )
