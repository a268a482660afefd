"""What dense and convolutional self normalizing layers share: the reconstruction penalty and its
weight lambda (SNF Eq. 3).
"""

import keras
import tensorflow as tf

from snf_tf import ops


def check_reconstruction_weight(reconstruction_weight: float | None, inverse_method) -> None:
    """Checks the constructor's arguments.

    Raises:
        ValueError: If reconstruction_weight is negative, or given where no inverse is learned.
    """
    if reconstruction_weight is not None and inverse_method != "learned":
        raise ValueError(
            'Only inverse_method="learned" has a penalty: leave out reconstruction_weight. '
            f"Received: reconstruction_weight={reconstruction_weight}, "
            f"inverse_method={inverse_method!r}"
        )
    if reconstruction_weight is not None and not reconstruction_weight >= 0:
        raise ValueError(
            f"reconstruction_weight must not be negative. Received: "
            f"reconstruction_weight={reconstruction_weight}"
        )


def add_reconstruction_weight(
    layer: keras.layers.Layer, initial_value: float | None
) -> keras.Variable:
    """Adds lambda to a layer, as a scalar weight that is not trained; 1 by default."""
    return layer.add_weight(
        name="reconstruction_weight",
        shape=(),
        initializer=keras.initializers.Constant(1.0 if initial_value is None else initial_value),
        trainable=False,
        autocast=False,
    )


def add_reconstruction_loss(layer: keras.layers.Layer, error: tf.Tensor) -> None:
    """Adds lambda times the mean over the batch of the squared reconstruction errors, `(batch,)`,
    to a layer's losses.
    """
    layer.add_loss(tf.cast(layer.reconstruction_weight, error.dtype) * ops.batch_mean(error))
