"""The fully connected model of SNF section 5.1."""

from typing import Any

import gin

from snf_tf import layers
from snf_tf._checks import check_flag, check_integer, check_number, check_shape
from snf_tf.flow import Flow
from snf_tf.models.mixing import DENSE, Maker, make_layers
from snf_tf.models.preprocessing import image_preprocessing


@gin.configurable
def fully_connected(
    event_shape: tuple[int, ...] = (28, 28, 1),
    linear: str | Maker = "self_normalizing",
    depth: int = 2,
    alpha: float = 0.3,
    preprocess: bool = True,
    seed: int = 0,
    **options: Any,
) -> Flow:
    """Builds dense layers with SmoothLeakyReLU between them (SNF A.3).

    By default `dense, SmoothLeakyReLU, dense`.

    Args:
        event_shape: Shape of one example.
        linear: "self_normalizing", "exact" or "relative" (Gresele et al. 2020), or a function that
            makes a layer.
        depth: Number of dense layers.
        alpha: Slope of SmoothLeakyReLU at minus infinity.
        preprocess: Whether the data are integers in 0..255, to be dequantized, scaled and taken to
            logits first.
        seed: Seed of the dequantization noise in training.
        **options: Arguments of linear, such as `reconstruction_weight` and `inverse_method` of
            `snf_tf.layers.SelfNormalizingDense`.

    Returns:
        A Flow.

    Raises:
        ValueError: If `linear` is unknown or does not take the options, or depth < 1.

    Example:
        >>> flow = snf_tf.models.fully_connected(event_shape=(4,), preprocess=False)
        >>> [layer.name.rsplit("_", 1)[0] for layer in flow.bijections][0]
        'flatten'
    """
    event_shape = check_shape("event_shape", event_shape)
    check_integer("depth", depth, 1)
    check_number("alpha", alpha, above=0)
    check_flag("preprocess", preprocess)
    bijections = [*(image_preprocessing() if preprocess else []), layers.Flatten()]
    for index in range(depth):
        bijections += [layers.SmoothLeakyReLU(alpha)] if index else []
        bijections += make_layers(linear, DENSE, "linear", **options)
    return Flow(bijections, event_shape=event_shape, seed=seed)
