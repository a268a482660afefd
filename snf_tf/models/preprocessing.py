"""The first layers of every image model."""

from snf_tf import layers


def image_preprocessing(
    bins: int = 256, alpha: float = 1e-6, kind: str = "logit"
) -> list[layers.FlowLayer]:
    """Makes the layers from integers in 0..bins - 1 to reals around 0.

    First `y = (x + u) / bins`.

    Args:
        bins: Number of values of a pixel.
        alpha: As in `snf_tf.layers.Logit`.
        kind: "logit": y is squeezed into (alpha, 1 - alpha), and its logit is taken (SNF A.3).
            "standardize": every channel of y has mean 0 and standard deviation 1 on the batch that
            initializes the flow; training does not change this map.

    Raises:
        ValueError: If kind is none of these.
    """
    makers = {
        "logit": lambda: layers.Logit(alpha),
        "standardize": lambda: layers.ActNorm(trainable=False),
    }
    if kind not in makers:
        raise ValueError(
            f"preprocessing must be one of {', '.join(map(repr, makers))}. "
            f"Received: preprocessing={kind!r}"
        )
    return [layers.Dequantize(bins), layers.Scale(1 / bins), makers[kind]()]
