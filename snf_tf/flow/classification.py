"""Scores of a classifier, of a batch and over data sets."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from snf_tf.flow.graph_function import graph_function
from snf_tf.flow.replicated import sum_over_replicas


@functools.partial(graph_function, reduce_retracing=True)
def score_totals(
    flow: Any, x: Any, context: Any, seed: Any, y: Any, weight: tf.Tensor, version: int
) -> tf.Tensor:
    """Sums over a batch, in float64: weighted hits, weighted -log p(y|x), weights."""

    def sums(seed, weight, x, context, y):
        parts = scores(flow.class_log_probs(x, context, seed=seed), y)
        weighted = [tf.math.multiply_no_nan(tf.cast(part, tf.float64), weight) for part in parts]
        return tf.stack([tf.reduce_sum(part) for part in (*weighted, weight)])

    return sum_over_replicas(flow.distribute_strategy, sums, seed, weight, x, context, y)


def scores(log_probs: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns whether the likeliest class is the label, and -log p(y|x) in nats, `(batch,)` each.

    Args:
        log_probs: `(batch, classes)`.
        y: Labels, `(batch,)`.
    """
    y = tf.cast(y, tf.int32)
    hits = tf.equal(tf.argmax(log_probs, axis=1, output_type=tf.int32), y)
    return tf.cast(hits, log_probs.dtype), -tf.gather(log_probs, y, axis=1, batch_dims=1)


def class_scores(
    model: Any, examples: np.ndarray, labels: np.ndarray, seed: int = 0, batch_size: int = 500
) -> dict[str, float]:
    """Computes how well examples are classified, with standard errors over them.

    Args:
        model: `snf_tf.serving.Endpoints` of a `snf_tf.HybridFlow`, or its loaded SavedModel.
        examples: `(N,) + event_shape`, N > 1.
        labels: `(N,)`, integers.
        seed: Seed of the noise; row i gets that of (seed, i).
        batch_size: Rows that are evaluated at once.

    Returns:
        `accuracy`, `classifier_nll` (nats), and of each its `_standard_error`.
    """
    parts = []
    for first in range(0, len(examples), batch_size):
        rows = slice(first, first + batch_size)
        # As tensors: for new Python numbers TensorFlow would trace anew.
        seeds = tf.constant(seed, tf.int64), tf.constant(first, tf.int64)
        parts.append(scores(model.classify(examples[rows], *seeds), tf.constant(labels[rows])))
    hits, losses = (np.concatenate(values) for values in zip(*parts, strict=True))
    return _with_errors(accuracy=hits, classifier_nll=losses)


def bayes_scores(
    log_prob: Callable[[np.ndarray], np.ndarray], labels: np.ndarray, counts: np.ndarray
) -> dict[str, float]:
    """Computes how well a flow p(x|y) classifies by Bayes' rule: p(y|x) ~ p(x|y) p(y).

    Args:
        log_prob: Maps labels `(N,)` to log p(x|y) of the N examples, `(N,)`, with the same noise
            for all labels.
        labels: The true ones, `(N,)`, N > 1.
        counts: `(classes,)`, examples of training in every class, which make p(y).

    Returns:
        `bayes_accuracy`, `bayes_classifier_nll`, the mean of -log p(y|x) in nats, and of each its
        `_standard_error`.

    Example:
        >>> x, labels = np.array([0.1, -0.2, 4.9]), np.array([0, 0, 1])
        >>> bayes_scores(lambda y: -0.5 * (x - 5.0 * y) ** 2, labels, counts=[2, 1])[
        ...     "bayes_accuracy"
        ... ]
        1.0
    """
    with np.errstate(divide="ignore"):
        log_prior = np.log(np.asarray(counts, np.float64) / np.sum(counts))
    classes = range(len(log_prior))
    found = [np.asarray(log_prob(np.full_like(labels, y)), np.float64) for y in classes]
    joint = np.stack(found, axis=1) + log_prior
    log_probs = joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)
    losses = -log_probs[np.arange(len(labels)), labels]
    return _with_errors(
        bayes_accuracy=np.argmax(joint, axis=1) == labels, bayes_classifier_nll=losses
    )


def _with_errors(**values: np.ndarray) -> dict[str, float]:
    """Returns the mean of every array, and its standard error."""
    results: dict[str, float] = {}
    for name, array in values.items():
        value = array.astype(np.float64)
        results[name] = float(np.mean(value))
        error = np.std(value, ddof=1) / np.sqrt(len(value))
        results[f"{name}_standard_error"] = float(error)
    return results
