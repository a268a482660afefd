"""The convolutional model of SNF section 5.1."""

from typing import Any

import gin

from snf_tf import layers
from snf_tf._checks import check_flag, check_odd_sizes, check_shape, check_sizes
from snf_tf.flow import Flow
from snf_tf.models.mixing import CONVOLUTIONS, Maker, make_layers
from snf_tf.models.preprocessing import image_preprocessing


@gin.configurable
def convolutional(
    event_shape: tuple[int, ...] = (28, 28, 1),
    linear: str | Maker = "self_normalizing",
    blocks: int = 3,
    depth: int = 3,
    kernel_size: int | tuple[int, int] = 3,
    bins: int = 5,
    bound: float = 10.0,
    preprocess: bool = True,
    seed: int = 0,
    **options: Any,
) -> Flow:
    """Builds blocks of convolutions and splines, with a squeeze between blocks (SNF A.3).

    The default has 9 convolutions and 8 splines:
    `[conv, spline] x 3, squeeze, [conv, spline] x 3, squeeze, [conv, spline] x 2, conv`.

    Args:
        event_shape: `(height, width, channels)`.
        linear: "self_normalizing", "exact", "emerging" or "exponential" (the last two put a 1 x 1
            convolution before), or a function that makes a layer.
        blocks: Number of blocks.
        depth: Convolutions in a block.
        kernel_size: An odd integer, or two; an argument of linear.
        bins: Bins of the splines.
        bound: The splines are the identity outside [-bound, bound].
        preprocess: Whether the data are integers in 0..255, to be dequantized, scaled and taken to
            logits first.
        seed: Seed of the dequantization noise in training.
        **options: More arguments of linear, such as `reconstruction_weight`,
            `inverse_kernel_size` and `inverse_method` of `snf_tf.layers.SelfNormalizingConv2D`.

    Returns:
        A Flow.

    Raises:
        ValueError: If `linear` is unknown or does not take the options. If a size is not positive,
            a kernel size is even, or the images cannot be halved often enough.

    Example:
        >>> flow = snf_tf.models.convolutional((8, 8, 1), linear="exact", blocks=2, depth=1)
        >>> flow.latent_shape
        (64,)
    """
    event_shape = check_shape("event_shape", event_shape, ranks=(3,))
    check_sizes(blocks=blocks, depth=depth)
    check_flag("preprocess", preprocess)
    check_odd_sizes("kernel_size", kernel_size)
    bijections = image_preprocessing() if preprocess else []
    for block in range(blocks):
        bijections += [layers.Squeeze()] if block else []
        for _ in range(depth):
            bijections += make_layers(
                linear, CONVOLUTIONS, "linear", kernel_size=kernel_size, **options
            )
            bijections.append(layers.SplineActivation(bins, bound))
    # The last convolution ends the flow.
    return Flow(bijections[:-1], event_shape=event_shape, seed=seed)
