"""Estimates log-densities, where log-determinants are estimates; bounds log-probabilities."""

import math
from typing import Any, NamedTuple

import tensorflow as tf


class LogProbEstimate(NamedTuple):
    """An estimate of log-densities by several draws.

    Attributes:
        mean: Over the draws, `(batch,)`, in nats.
        standard_error: Of the mean, `(batch,)`; NaN for a single draw.
    """

    mean: tf.Tensor
    standard_error: tf.Tensor


def estimate(
    flow: Any, x: tf.Tensor, context: tf.Tensor | None, seed: tf.Tensor, draws: tf.Tensor
) -> LogProbEstimate:
    """Estimates log-densities of checked data, in a graph; see `snf_tf.Flow.estimate_log_prob`.

    Args:
        flow: A Flow.
        x: `(batch,) + event_shape`.
        context: As in `flow.log_prob`, or None.
        seed: A row seed; the number of a draw takes the place of its step.
        draws: An integer scalar.
    """
    dtype = tf.as_dtype(flow.log_det_dtype)
    draws = tf.cast(draws, tf.int64)

    def draw(k, mean, squares):
        z, log_det = flow.forward(x, context, seed=tf.stack([seed[0], k, seed[2]]))
        change = tf.cast(flow.base_log_prob(z, context) + log_det, dtype) - mean
        # Welford's sums stay exact for many draws.
        mean += change / tf.cast(k + 1, dtype)
        squares += tf.square(change) * tf.cast(k / (k + 1), dtype)
        return k + 1, mean, squares

    zeros = tf.zeros(tf.shape(x)[:1], dtype)
    _, mean, squares = tf.while_loop(
        lambda k, *_: k < draws, draw, (tf.constant(0, tf.int64), zeros, zeros)
    )
    count = tf.cast(draws, dtype)
    # 0 / 0 is NaN: one draw says nothing about its error.
    return LogProbEstimate(mean, tf.sqrt(squares / (count - 1.0) / count))


def bound(
    flow: Any, x: tf.Tensor, context: tf.Tensor | None, seed: tf.Tensor, draws: tf.Tensor
) -> tf.Tensor:
    """Bounds log-probabilities of checked data, in a graph; see `snf_tf.Flow.log_prob_bound`.

    Args:
        flow: A Flow.
        x: `(batch,) + event_shape`.
        context: As in `flow.log_prob`, or None.
        seed: A row seed; draw k has its seed and k.
        draws: An integer scalar.

    Returns:
        `(batch,)`, in nats.
    """
    dtype = tf.as_dtype(flow.log_det_dtype)
    draws = tf.cast(draws, tf.int64)

    def draw(k, total):
        z, log_det = flow.forward(x, context, seed=seed + tf.stack([k, 0, 0]))
        log_weight = tf.cast(flow.base_log_prob(z, context) + log_det, dtype)
        return k + 1, tf.reduce_logsumexp(tf.stack([total, log_weight]), axis=0)

    nothing = tf.fill(tf.shape(x)[:1], tf.constant(-math.inf, dtype))
    _, total = tf.while_loop(lambda k, *_: k < draws, draw, (tf.constant(0, tf.int64), nothing))
    return total - tf.math.log(tf.cast(draws, dtype))
