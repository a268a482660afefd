"""Flows of couplings alone, on images: Real NVP and Flow++."""

from collections.abc import Callable, Sequence

import gin
import keras

from snf_tf import layers
from snf_tf._checks import check_seed, check_shape, check_sizes, refuse
from snf_tf.flow import Flow
from snf_tf.layers.options import resolve
from snf_tf.layers.transforms import TRANSFORMS, Transform
from snf_tf.models.conditional import class_base, context_options
from snf_tf.models.preprocessing import image_preprocessing, make_dequantize


@gin.configurable
def coupling_flow(
    event_shape: tuple[int, ...] = (28, 28, 1),
    levels: int = 2,
    couplings: int = 3,
    coupling: str | Transform = "affine",
    conditioner: Callable[[], keras.layers.Layer] | None = None,
    width: int = 64,
    dequantization: str = "uniform",
    conditional_on: str | None = None,
    classes: int = 10,
    context_shape: Sequence[int] | None = None,
    seed: int = 0,
) -> Flow:
    """Builds a multi-scale flow of couplings on images (Real NVP, Dinh et al. 2017, Sec. 3.6).

    A level has `couplings` couplings on checkerboards, a squeeze, and as many couplings of halves
    of the channels; then half of the channels are factored out. The last level has one more
    coupling than the others on checkerboards, and no squeeze. ActNorm comes before every coupling,
    in the place of batch normalization. Data must initialize the flow: `flow.initialize(batch)`.

    Flow++ (Ho et al. 2019) is `coupling="logistic_mixture"`, `dequantization="variational"` and
    `conditioner=snf_tf.networks.GatedConvNetwork`. Additive couplings are those of NICE (Dinh et
    al. 2015).

    Args:
        event_shape: `(height, width, channels)`.
        levels: Number of levels.
        couplings: Couplings of each kind in a level.
        coupling: "affine", "additive", "logistic_mixture" or another transform of
            `snf_tf.layers.Coupling`.
        conditioner: Makes the network of one coupling, such as
            `snf_tf.networks.GatedConvNetwork`; None: that of Glow's code.
        width: Hidden channels of Glow's networks.
        dequantization: "uniform", or "variational": likelihoods are then bounds.
        conditional_on: As in `glow`.
        classes: As in `glow`.
        context_shape: As in `glow`; images may be contexts, see `snf_tf.networks.JoinContext`.
        seed: Seed of the noise in training.

    Returns:
        A Flow.

    Raises:
        ValueError: If a name is unknown, levels or couplings are not positive, or the images cannot
            be halved often enough.

    Example:
        >>> flow = snf_tf.models.coupling_flow((8, 8, 1), couplings=1, width=4)
        >>> flow.initialize(np.random.randint(0, 256, (10, 8, 8, 1)))
        >>> flow.sample(2).shape
        TensorShape([2, 8, 8, 1])
    """
    check_sizes(levels=levels, couplings=couplings, width=width)
    if conditioner is not None and not callable(conditioner):
        refuse("conditioner", conditioner, "a function that makes a network, such as a class")
    coupling = resolve(coupling, TRANSFORMS, "coupling")
    event_shape = check_shape("event_shape", event_shape, ranks=(3,))
    seed = check_seed(seed)
    if event_shape[0] % 2 ** (levels - 1) or event_shape[1] % 2**levels:
        raise ValueError(
            f"event_shape must be (height, width, channels). With {levels} levels the height must "
            f"be a multiple of {2 ** (levels - 1)}, the width of {2**levels}. "
            f"Received: event_shape={event_shape}"
        )
    context = context_options(conditional_on, classes, context_shape)

    def couple(mask, count):
        result = []
        for index in range(count):
            network = None if conditioner is None else conditioner()
            flip = bool(index % 2)
            result += [
                layers.ActNorm(),
                layers.Coupling(coupling, mask(flip=flip), network, width=width, **context),
            ]
        return result

    def level(shape, left):
        if left == 1:
            return couple(layers.Checkerboard, couplings + 1)
        height, width, channels = shape
        bijections = couple(layers.Checkerboard, couplings)
        bijections += [layers.Squeeze(), *couple(layers.Channels, couplings)]
        inner = (height // 2, width // 2, 2 * channels)
        rest = Flow(level(inner, left - 1), event_shape=inner)
        return [*bijections, layers.FactorOut(rest, conditional=False)]

    return Flow(
        [
            *image_preprocessing(dequantize=make_dequantize(dequantization, event_shape)),
            *level(event_shape, levels),
        ],
        event_shape=event_shape,
        base=class_base(conditional_on, classes),
        seed=seed,
    )
