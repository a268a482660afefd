"""NICE, the first flow of couplings."""

import math

import gin
import keras

from snf_tf import bases, layers
from snf_tf._checks import check_shape, check_sizes
from snf_tf.flow import Flow


@gin.configurable
def nice(
    event_shape: tuple[int, ...] = (28, 28, 1),
    couplings: int = 4,
    width: int = 1000,
    hidden_layers: int = 5,
    seed: int = 0,
) -> Flow:
    """Builds NICE (Dinh et al. 2015): additive couplings on vectors, then a scale of each number.

    Images, of integers in 0..255, are dequantized, scaled to [0, 1) and flattened. A coupling
    changes every other number, the next one the rest. Sec. 5.1 has a logistic prior for MNIST; here
    it is normal, as that of TFD.

    Args:
        event_shape: `(height, width, channels)` of images, or `(D,)` of vectors.
        couplings: Number of couplings.
        width: Hidden units.
        hidden_layers: Hidden layers of a coupling's network, of ReLU.
        seed: Seed of the noise in training.

    Returns:
        A Flow.

    Raises:
        ValueError: If a number is not positive, or the events are neither images nor vectors.

    Example:
        >>> flow = snf_tf.models.nice((4,), width=8)
        >>> flow.log_prob(tf.zeros((2, 4))).shape
        TensorShape([2])
    """
    check_sizes(couplings=couplings, width=width, hidden_layers=hidden_layers)
    event_shape = check_shape("event_shape", event_shape, ranks=(1, 3))
    is_image = len(event_shape) == 3
    first = [layers.Dequantize(), layers.Scale(1 / 256), layers.Flatten()] if is_image else []
    bijections = []
    for index in range(couplings):
        mask = layers.Alternate(flip=bool(index % 2))
        _, changed = mask.shapes((math.prod(event_shape),))
        hidden = [keras.layers.Dense(width, activation="relu") for _ in range(hidden_layers)]
        last = keras.layers.Dense(*changed, kernel_initializer="zeros")
        bijections.append(layers.Coupling("additive", mask, keras.Sequential([*hidden, last])))
    # A scale of the prior is one of the latents.
    return Flow(
        [*first, *bijections], event_shape=event_shape, base=bases.LocationScale(), seed=seed
    )
