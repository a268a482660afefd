"""The base density and the units of likelihoods."""

import math

import tensorflow as tf

from snf_tf._checks import check_integer


def standard_normal_log_prob(z: tf.Tensor) -> tf.Tensor:
    """Log-density (nats) of a standard normal: `(batch, D)` -> `(batch,)`."""
    return -0.5 * tf.reduce_sum(tf.square(z), axis=1) - 0.5 * math.log(2 * math.pi) * z.shape[1]


def batch_mean(values: tf.Tensor) -> tf.Tensor:
    """Mean of `(batch,)` values; 0 for a batch of none, which a replica can get of a last, partial
    batch.
    """
    return tf.math.divide_no_nan(tf.reduce_sum(values), tf.cast(tf.shape(values)[0], values.dtype))


def bits_per_dim(nll: float | tf.Tensor, dims: int) -> float | tf.Tensor:
    """Converts a negative log-likelihood of D-dimensional data from nats to bits/dim.

    Example:
        >>> round(bits_per_dim(784.0, dims=784), 4)
        1.4427
    """
    check_integer("dims", dims, 1)
    return nll / (dims * math.log(2))
