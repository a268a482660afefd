"""The first layers of every image model."""

from snf_tf import layers


def image_preprocessing() -> list[layers.FlowLayer]:
    """Layers from integers in 0..255 to unbounded reals: `y = (x + u) / 256`, squeezed into (1e-6,
    1 - 1e-6), logit (SNF A.3).
    """
    return [layers.Dequantize(), layers.Scale(1 / 256), layers.Logit()]
