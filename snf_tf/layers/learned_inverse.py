"""What dense and convolutional self normalizing layers share: the reconstruction penalty and its weight lambda (SNF Eq. 3)."""

import keras
import tensorflow as tf

from snf_tf import ops


def check_learned_inverse(reconstruction_weight: float, inverse_method: str) -> None:
    """Checks the constructor's arguments.

    Raises:
        ValueError: If inverse_method is unknown, or reconstruction_weight is negative.
    """
    if inverse_method != "learned":
        raise ValueError(f'inverse_method must be "learned". Received: inverse_method={inverse_method!r}')
    if not reconstruction_weight >= 0:
        raise ValueError(f"reconstruction_weight must not be negative. Received: reconstruction_weight={reconstruction_weight}")


def add_reconstruction_weight(layer: keras.layers.Layer, initial_value: float) -> keras.Variable:
    """Adds lambda to a layer, as a scalar weight that is not trained."""
    return layer.add_weight(
        name="reconstruction_weight",
        shape=(),
        initializer=keras.initializers.Constant(initial_value),
        trainable=False,
        autocast=False,
    )


def add_reconstruction_loss(layer: keras.layers.Layer, error: tf.Tensor) -> None:
    """Adds lambda times the mean over the batch of the squared reconstruction errors, `(batch,)`, to a layer's losses."""
    layer.add_loss(tf.cast(layer.reconstruction_weight, error.dtype) * ops.batch_mean(error))
