"""Glow, with any mixing layer in the place of its 1 x 1 convolution."""

import gin

from snf_tf import layers
from snf_tf.flow import Flow
from snf_tf.models.mixing import mixing_layers
from snf_tf.models.preprocessing import image_preprocessing


@gin.configurable
def glow(
    event_shape=(28, 28, 1),
    levels=2,
    steps=16,
    mixing="self_normalizing",
    kernel_size=None,
    inverse_kernel_size=None,
    reconstruction_weight=None,
    inverse_method="learned",
    coupling_width=512,
    coupling_scale="tanh",
    conditional=True,
    preprocess=True,
    seed=0,
) -> Flow:
    """Builds a multi-scale Glow (Kingma and Dhariwal 2018; SNF A.3).

    Every level is a squeeze and then `steps` times ActNorm, mixing, affine coupling; between levels
    half of the channels are factored out. It has to be initialized by data:
    `flow.initialize(batch)`.

    Args:
        event_shape: `(height, width, channels)`.
        levels: Number of levels, L.
        steps: Steps in a level, K.
        mixing: "self_normalizing", "exact", "conv1x1", "plu", "householder", "emerging" or
            "exponential".
        kernel_size: Of the mixing; by default 3 for "emerging" and "exponential", else 1.
        inverse_kernel_size: Of the learned inverse, for "self_normalizing"; by default kernel_size.
        reconstruction_weight, inverse_method: For "self_normalizing", as in
            `snf_tf.layers.SelfNormalizingConv2D`.
        coupling_width: Hidden channels of the couplings' networks.
        coupling_scale: "tanh", as in the published runs of SNF, or "sigmoid", that of Glow's code.
        conditional: Whether what is factored out is normalized by a learned Gaussian.
        preprocess: Whether the data are integers in 0..255, to be dequantized, scaled and taken to
            logits first.
        seed: Seed of the dequantization noise in training.

    Returns:
        A Flow.

    Raises:
        ValueError: If a name is unknown, levels or steps are not positive, or the images cannot be
            halved often enough.

    Example:
        >>> flow = snf_tf.models.glow(event_shape=(8, 8, 1), steps=1, coupling_width=4)
        >>> flow.initialize(np.random.randint(0, 256, (10, 8, 8, 1)))
        >>> flow.sample(2).shape
        TensorShape([2, 8, 8, 1])
    """
    if not all(isinstance(count, int) and count >= 1 for count in (levels, steps)):
        raise ValueError(
            f"levels and steps must be integers of at least 1. Received: levels={levels}, "
            f"steps={steps}"
        )
    if len(event_shape) != 3:
        raise ValueError(
            f"event_shape must be (height, width, channels). Received: event_shape={event_shape}"
        )
    height, width, channels = event_shape
    if height % 2**levels or width % 2**levels:
        raise ValueError(
            f"With {levels} levels height and width are halved {levels} times: both must be "
            f"multiples of {2**levels}. "
            f"Received: event_shape={event_shape}"
        )
    size = kernel_size or (3 if mixing in ("emerging", "exponential") else 1)

    def level(index):
        """The bijections of a level and of all that follow."""
        bijections = [layers.Squeeze()]
        for _ in range(steps):
            bijections += [
                layers.ActNorm(),
                *mixing_layers(
                    mixing,
                    size,
                    inverse_kernel_size,
                    reconstruction_weight,
                    inverse_method,
                    orthogonal=True,
                ),
                layers.AffineCoupling(width=coupling_width, scale=coupling_scale),
            ]
        if index < levels - 1:
            factor = 2 ** (index + 1)
            inner = (height // factor, width // factor, channels * 2 ** (index + 1))
            bijections.append(
                layers.FactorOut(Flow(level(index + 1), event_shape=inner), conditional)
            )
        return bijections

    return Flow(
        [*(image_preprocessing() if preprocess else []), *level(0)],
        event_shape=event_shape,
        seed=seed,
    )
