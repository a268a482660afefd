"""The first layers of every image model."""

import gin

from snf_tf import layers
from snf_tf._checks import check_choice, check_shape, check_sizes
from snf_tf.flow import Flow

PREPROCESSING = ("logit", "standardize")


def image_preprocessing(
    bins: int = 256,
    alpha: float = 1e-6,
    kind: str = "logit",
    dequantize: layers.Dequantize | None = None,
) -> list[layers.FlowLayer]:
    """Makes the layers from integers in 0..bins - 1 to reals around 0.

    First `y = (x + u) / bins`.

    Args:
        bins: Number of values of a pixel.
        alpha: As in `snf_tf.layers.Logit`.
        kind: "logit": y is squeezed into (alpha, 1 - alpha), and its logit is taken (SNF A.3).
            "standardize": every channel of y has mean 0 and standard deviation 1 on the batch that
            initializes the flow; training does not change this map.
        dequantize: The layer that adds u; by default `snf_tf.layers.Dequantize`.

    Raises:
        ValueError: If kind is none of these.
    """
    makers = {
        "logit": lambda: layers.Logit(alpha),
        "standardize": lambda: layers.ActNorm(trainable=False),
    }
    check_choice("preprocessing", kind, PREPROCESSING)
    return [dequantize or layers.Dequantize(bins), layers.Scale(1 / bins), makers[kind]()]


def make_dequantize(kind: str, event_shape: tuple[int, ...]) -> layers.Dequantize:
    """Makes the layer that adds noise to integers in 0..255.

    Args:
        kind: "uniform", or "variational": `variational_dequantize` with its defaults, or those that
            gin sets.
        event_shape: `(height, width, channels)`.

    Raises:
        ValueError: If kind is neither.
    """
    check_choice("dequantization", kind, ("uniform", "variational"))
    return layers.Dequantize() if kind == "uniform" else variational_dequantize(event_shape)


@gin.configurable
def variational_dequantize(
    event_shape: tuple[int, ...], couplings: int = 4, width: int = 32
) -> layers.VariationalDequantize:
    """Makes dequantization noise of affine couplings on checkerboards, given the image (Flow++).

    At first the noise is uniform. Flow++ (Ho et al. 2019) has mixtures of logistics and gated
    convolutions here.

    Args:
        event_shape: `(height, width, channels)`, of an even width.
        couplings: Number of couplings.
        width: Hidden channels of their networks.
    """
    event_shape = check_shape("event_shape", event_shape, ranks=(3,))
    check_sizes(couplings=couplings, width=width)
    noise = [
        layers.Coupling(
            "affine",
            layers.Checkerboard(flip=bool(index % 2)),
            width=width,
            context_shape=event_shape,
        )
        for index in range(couplings)
    ]
    return layers.VariationalDequantize(Flow(noise, event_shape=event_shape))
