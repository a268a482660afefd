"""The convolutional model of SNF section 5.1."""

import gin

from snf_tf import layers
from snf_tf.flow import Flow
from snf_tf.models.mixing import mixing_layers
from snf_tf.models.preprocessing import image_preprocessing
from snf_tf.models.select import select

_LINEAR = ("self_normalizing", "exact", "emerging", "exponential")


@gin.configurable
def convolutional(
    event_shape=(28, 28, 1),
    linear="self_normalizing",
    blocks=3,
    depth=3,
    kernel_size=3,
    inverse_kernel_size=None,
    reconstruction_weight=None,
    inverse_method="learned",
    bins=5,
    bound=10.0,
    preprocess=True,
    seed=0,
) -> Flow:
    """Builds blocks of convolutions with splines between them and a squeeze between blocks (SNF
    A.3).

    By default `[conv, spline] x 3, squeeze, [conv, spline] x 3, squeeze, conv, spline, conv,
    spline, conv`: 9 convolutions and 8 splines.

    Args:
        event_shape: `(height, width, channels)`.
        linear: "self_normalizing", "exact", "emerging" or "exponential"; see
            `snf_tf.models.mixing`.
        blocks: Number of blocks.
        depth: Convolutions in a block.
        kernel_size: An odd integer, or two.
        inverse_kernel_size: The same for the learned inverse; by default kernel_size.
        reconstruction_weight, inverse_method: For "self_normalizing", as in
            `snf_tf.layers.SelfNormalizingConv2D`.
        bins: Bins of the splines.
        bound: The splines are the identity outside [-bound, bound].
        preprocess: Whether the data are integers in 0..255, to be dequantized, scaled and taken to
            logits first.
        seed: Seed of the dequantization noise in training.

    Returns:
        A Flow.

    Raises:
        ValueError: If `linear` is unknown, a size is not positive, a kernel size is even, or the
            images cannot be halved often enough.

    Example:
        >>> flow = snf_tf.models.convolutional((8, 8, 1), linear="exact", blocks=2, depth=1)
        >>> flow.latent_shape
        (64,)
    """
    if blocks < 1 or depth < 1:
        raise ValueError(
            f"blocks and depth must be at least 1. Received: blocks={blocks}, depth={depth}"
        )
    select(linear, dict.fromkeys(_LINEAR), "linear")
    bijections = image_preprocessing() if preprocess else []
    for block in range(blocks):
        bijections += [layers.Squeeze()] if block else []
        for _ in range(depth):
            bijections += mixing_layers(
                linear, kernel_size, inverse_kernel_size, reconstruction_weight, inverse_method
            )
            bijections.append(layers.SplineActivation(bins, bound))
    # The last convolution ends the flow.
    return Flow(bijections[:-1], event_shape=event_shape, seed=seed)
