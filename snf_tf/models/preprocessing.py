"""The first layers of every image model."""

from snf_tf import layers


def image_preprocessing(bins: int = 256, alpha: float = 1e-6) -> list[layers.FlowLayer]:
    """Makes the layers from integers in 0..bins - 1 to unbounded reals (SNF A.3).

    `y = (x + u) / bins`, squeezed into (alpha, 1 - alpha), then the logit.
    """
    return [layers.Dequantize(bins), layers.Scale(1 / bins), layers.Logit(alpha)]
