"""The first layers of every image model."""

from snf_tf import layers


def image_preprocessing() -> list[layers.FlowLayer]:
    """Makes the layers from integers in 0..255 to unbounded reals (SNF A.3).

    `y = (x + u) / 256`, squeezed into (1e-6, 1 - 1e-6), then the logit.
    """
    return [layers.Dequantize(), layers.Scale(1 / 256), layers.Logit()]
