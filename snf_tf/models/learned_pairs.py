"""Flows of networks with learned inverses."""

from collections.abc import Callable
from typing import Any

import gin
import keras

from snf_tf import layers, networks
from snf_tf._checks import check_flag, check_number, check_shape, check_sizes, refuse
from snf_tf.flow import Flow
from snf_tf.models.preprocessing import image_preprocessing


@gin.configurable
def learned_pairs(
    event_shape: tuple[int, ...] = (2,),
    pairs: int = 8,
    network: Callable[[], keras.layers.Layer] = networks.ResidualNetwork,
    flatten: bool = True,
    variance_floor: float = 0.2,
    preprocess: bool = True,
    bins: int = 256,
    alpha: float = 0.05,
    seed: int = 0,
    **options: Any,
) -> Flow:
    """Builds pairs of a map and its learned inverse, with ActNorm around them (SNF section 3).

    Data must initialize the flow: `flow.initialize(batch)`.

    Args:
        event_shape: `(D,)`, or `(height, width, channels)` for images.
        pairs: Number of pairs.
        network: Makes a network that begins as the identity; called twice for a pair. In gin a
            reference, `@ResidualNetwork`, whose arguments are bound likewise.
        flatten: Whether images become vectors before the first pair.
        variance_floor: As in `snf_tf.layers.ActNorm`.
        preprocess: Whether images are integers in 0..bins - 1, to be dequantized, scaled and taken
            to logits first. Vectors never are.
        bins: Number of values of a pixel.
        alpha: As in `snf_tf.layers.Logit`.
        seed: Seed of the noise in training.
        **options: Arguments of `snf_tf.layers.SelfNormalizingPair`, such as `log_det`.

    Returns:
        A Flow.

    Raises:
        ValueError: If pairs is not a positive integer, or an argument of the pair does not fit.

    Example:
        >>> flow = snf_tf.models.learned_pairs((2,), pairs=2, log_det="russian_roulette")
        >>> flow.initialize(tf.random.normal((100, 2)))
        >>> flow.log_prob(tf.zeros((3, 2))).shape
        TensorShape([3])
    """
    event_shape = check_shape("event_shape", event_shape)
    check_sizes(pairs=pairs, bins=bins)
    check_flag("flatten", flatten)
    check_flag("preprocess", preprocess)
    check_number("alpha", alpha, at_least=0, below=0.5)
    if not callable(network):
        refuse("network", network, "a function that makes a network, such as a class")
    is_image = len(event_shape) == 3
    bijections = image_preprocessing(bins, alpha) if is_image and preprocess else []
    bijections += [layers.Flatten()] if is_image and flatten else []
    bijections.append(layers.ActNorm(variance_floor))
    for _ in range(pairs):
        pair = layers.SelfNormalizingPair(network(), network(), **options)
        bijections += [pair, layers.ActNorm(variance_floor)]
    return Flow(bijections, event_shape, seed=seed)
