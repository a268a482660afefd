"""Glow, with any mixing layer in the place of its 1 x 1 convolution."""

from collections.abc import Sequence
from typing import Any

import gin

from snf_tf import layers
from snf_tf._checks import check_flag, check_integer, check_seed, check_shape, check_sizes
from snf_tf.flow import Flow
from snf_tf.layers.options import resolve
from snf_tf.layers.transforms import LogScale
from snf_tf.layers.transforms.affine import SCALES
from snf_tf.models.conditional import class_base, context_options
from snf_tf.models.mixing import GLOW, Maker, make_layers
from snf_tf.models.preprocessing import image_preprocessing, make_dequantize


@gin.configurable
def glow(
    event_shape: tuple[int, ...] = (28, 28, 1),
    levels: int = 2,
    steps: int = 16,
    mixing: str | Maker = "self_normalizing",
    coupling_width: int = 512,
    coupling_scale: str | LogScale = "tanh",
    conditional: bool = True,
    conditional_on: str | None = None,
    classes: int = 10,
    context_shape: Sequence[int] | None = None,
    preprocess: bool = True,
    dequantization: str = "uniform",
    seed: int = 0,
    **options: Any,
) -> Flow:
    """Builds a multi-scale Glow (Kingma and Dhariwal 2018; SNF A.3).

    Every level is a squeeze and then `steps` times ActNorm, mixing, affine coupling; between levels
    half of the channels are factored out. Data must initialize the flow: `flow.initialize(batch)`.

    Args:
        event_shape: `(height, width, channels)`.
        levels: Number of levels, L.
        steps: Steps in a level, K.
        mixing: "self_normalizing", "exact", "conv1x1", "plu", "householder", "emerging" or
            "exponential" (the last two put a 1 x 1 convolution before), or a function that makes a
            layer.
        coupling_width: Hidden channels of the couplings' networks.
        coupling_scale: "tanh", as in the published runs of SNF, or "sigmoid", that of Glow's code.
        conditional: Whether a learned Gaussian normalizes the factored-out channels.
        conditional_on: "label": the flow is p(x | label), and its context labels `(batch,)`.
            Couplings and learned Gaussians get one-hot vectors, and the base has a mean and a
            deviation for every class. "context": couplings and Gaussians get the context. None: the
            flow takes no context.
        classes: Number of classes of labels.
        context_shape: Shape of one context: `(C,)`.
        preprocess: Whether the data are integers in 0..255, to be dequantized, scaled and taken to
            logits first.
        dequantization: "uniform", or "variational", of `variational_dequantize`: likelihoods are
            then bounds.
        seed: Seed of the dequantization noise in training.
        **options: Arguments of mixing, such as `kernel_size` (by default 3 for "emerging" and
            "exponential", else 1), and `reconstruction_weight`, `inverse_kernel_size` and
            `inverse_method` of `snf_tf.layers.SelfNormalizingConv2D`.

    Returns:
        A Flow.

    Raises:
        ValueError: If a name is unknown, a context has no shape, levels or steps are not positive,
            or the images cannot be halved often enough.

    Example:
        >>> flow = snf_tf.models.glow(event_shape=(8, 8, 1), steps=1, coupling_width=4)
        >>> flow.initialize(np.random.randint(0, 256, (10, 8, 8, 1)))
        >>> flow.sample(2).shape
        TensorShape([2, 8, 8, 1])
    """
    levels, steps = check_sizes(levels=levels, steps=steps)
    check_integer("coupling_width", coupling_width, 1)
    check_flag("conditional", conditional)
    check_flag("preprocess", preprocess)
    event_shape = check_shape("event_shape", event_shape, ranks=(3,))
    seed = check_seed(seed)
    height, width, channels = event_shape
    if height % 2**levels or width % 2**levels:
        raise ValueError(
            f"With {levels} levels height and width are halved {levels} times: both must be "
            f"multiples of {2**levels}. Received: event_shape={event_shape}"
        )

    coupling_scale = resolve(coupling_scale, SCALES, "coupling_scale")
    context_shape = check_shape("context_shape", context_shape, optional=True)
    if conditional_on == "context" and len(context_shape or ()) > 1:
        raise ValueError(
            "The levels have images of several sizes: a context must be a vector, (C,). "
            f"Received: context_shape={context_shape}"
        )
    context = context_options(conditional_on, classes, context_shape)

    def level(index: int) -> list[layers.Bijection]:
        """Returns the bijections of a level and of all later levels."""
        bijections = [layers.Squeeze()]
        for _ in range(steps):
            bijections += [
                layers.ActNorm(),
                *make_layers(mixing, GLOW, "mixing", **options),
                layers.AffineCoupling(width=coupling_width, scale=coupling_scale, **context),
            ]
        if index < levels - 1:
            factor = 2 ** (index + 1)
            inner = (height // factor, width // factor, channels * 2 ** (index + 1))
            rest = Flow(level(index + 1), event_shape=inner)
            of_prior = context if conditional else {}
            bijections.append(layers.FactorOut(rest, conditional, **of_prior))
        return bijections

    first = []
    if preprocess:
        first = image_preprocessing(dequantize=make_dequantize(dequantization, event_shape))
    return Flow(
        [*first, *level(0)],
        event_shape=event_shape,
        base=class_base(conditional_on, classes),
        seed=seed,
    )
