"""The fully connected model of SNF section 5.1."""

import gin

from snf_tf import layers
from snf_tf.flow import Flow
from snf_tf.models.preprocessing import image_preprocessing
from snf_tf.models.select import select

_LINEAR = {
    "self_normalizing": layers.SelfNormalizingDense,
    "exact": layers.ExactDense,
    "relative": layers.RelativeGradientDense,
}


@gin.configurable
def fully_connected(
    event_shape=(28, 28, 1),
    linear="self_normalizing",
    depth=2,
    alpha=0.3,
    reconstruction_weight=None,
    inverse_method="learned",
    preprocess=True,
    seed=0,
) -> Flow:
    """Builds dense layers with SmoothLeakyReLU between them: `dense -> SmoothLeakyReLU -> dense` by
    default (SNF A.3).

    Args:
        event_shape: Shape of one example.
        linear: "self_normalizing", "exact" or "relative" (Gresele et al. 2020).
        depth: Number of dense layers.
        alpha: Slope of SmoothLeakyReLU at minus infinity.
        reconstruction_weight, inverse_method: For "self_normalizing", as in
            `snf_tf.layers.SelfNormalizingDense`.
        preprocess: Whether the data are integers in 0..255, to be dequantized, scaled and taken to
            logits first.
        seed: Seed of the dequantization noise in training.

    Returns:
        A Flow.

    Raises:
        ValueError: If `linear` is unknown, or depth < 1.

    Example:
        >>> flow = snf_tf.models.fully_connected(event_shape=(4,), preprocess=False)
        >>> [layer.name.rsplit("_", 1)[0] for layer in flow.bijections][0]
        'flatten'
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1. Received: depth={depth}")
    layer = select(linear, _LINEAR, "linear")
    options = {}
    if linear == "self_normalizing":
        options = {"reconstruction_weight": reconstruction_weight, "inverse_method": inverse_method}
    elif inverse_method != "learned":
        raise ValueError(f"{linear} keeps no inverse. Received: inverse_method={inverse_method!r}")
    bijections = [
        *(image_preprocessing() if preprocess else []),
        layers.Flatten(),
        layer(**options),
    ]
    for _ in range(depth - 1):
        bijections += [layers.SmoothLeakyReLU(alpha), layer(**options)]
    return Flow(bijections, event_shape=event_shape, seed=seed)
