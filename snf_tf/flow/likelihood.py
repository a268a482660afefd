"""Exact likelihoods over whole datasets."""

import math

import numpy as np
import tensorflow as tf
from scipy.special import logsumexp

from snf_tf import ops
from snf_tf.layers.bijection import follow


def evaluate(flow, dataset: tf.data.Dataset, seed: int | None = None) -> dict[str, float]:
    """Evaluates a flow on every row of a dataset; see `snf_tf.Flow.evaluate`."""
    constant = constant_log_dets(flow)
    rows, totals = 0, tf.zeros(2, tf.float64)
    for element in dataset:
        x, context = split_context(element if isinstance(element, tuple) else (element,))
        totals += _batch_totals(
            flow, flow.check_data(x), context, ops.row_seed(seed, first_row=rows), constant
        )
        rows += int(x.shape[0])
    if rows == 0:
        raise ValueError(
            "evaluate needs at least one row of data. Received: a dataset without a batch"
        )
    nll, error = (total / rows for total in totals.numpy().tolist())
    results = {"nll": nll, "bits_per_dim": ops.bits_per_dim(nll, math.prod(flow.event_shape))}
    return results | ({"reconstruction_error": error} if flow.has_approximate_inverse else {})


def likelihoods(
    model, examples: np.ndarray, seed: int = 0, draws: int = 1, batch_size: int = 500, progress=iter
) -> dict[str, float]:
    """Computes exact likelihoods of examples, with their standard errors.

    Args:
        model: `snf_tf.serving.Endpoints`, or such as were loaded from a SavedModel.
        examples: `(N,) + event_shape`, N > 1.
        seed: Seed of the noise; row i gets that of (seed, i).
        draws: K, draws of noise for the importance weighted bound; its k-th draw has the seed `seed
            + k`.
        batch_size: Rows that are evaluated at once.
        progress: Wraps the list of batches, to show progress, such as `tqdm.tqdm`.

    Returns:
        `nll`: mean of -log p(x + u), in nats; `bits_per_dim`; and of each its `_standard_error`
        over examples. With several draws also `importance_weighted_nll_bound`, the mean of
        `-log(1/K sum_k p(x + u_k))`: with growing K it falls from nll to -log P(x) (Burda et al.
        2016; Ho et al. 2019).
    """
    if len(examples) < 2:
        raise ValueError(f"A standard error needs two examples at least. Received: {len(examples)}")
    tasks = [
        (draw, first) for draw in range(draws) for first in range(0, len(examples), batch_size)
    ]
    log_probs = np.zeros((draws, len(examples)))
    for draw, first in progress(tasks):
        rows = slice(first, first + batch_size)
        # As tensors: for new Python numbers TensorFlow would trace anew.
        log_probs[draw, rows] = model.log_prob(
            examples[rows], tf.constant(seed + draw, tf.int64), tf.constant(first, tf.int64)
        )
    values = {"nll": -log_probs[0]}
    if draws > 1:
        values["importance_weighted_nll_bound"] = np.log(draws) - logsumexp(log_probs, axis=0)
    results: dict[str, float] = {}
    dims = math.prod(examples.shape[1:])
    for name, value in values.items():
        mean, error = float(np.mean(value)), float(np.std(value, ddof=1) / np.sqrt(len(examples)))
        bits = name.replace("nll", "bits_per_dim")
        results |= {name: mean, f"{name}_standard_error": error}
        results |= {
            bits: ops.bits_per_dim(mean, dims),
            f"{bits}_standard_error": ops.bits_per_dim(error, dims),
        }
    return results


def split_context(element: tuple) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Brings an element of a dataset, `(x,)` or `(x, context)`, to `(x, context)`, where context
    can be None.
    """
    if len(element) > 2:
        raise ValueError(
            f"The elements of a dataset must be x or (x, context). Received: a tuple of "
            f"{len(element)}"
        )
    return element if len(element) == 2 else (element[0], None)


@tf.function
def constant_log_dets(flow) -> tf.Tensor:
    """The sum of all log-dets that do not depend on the data, a scalar in float64."""
    constants = [leaf.constant_log_det() for leaf in flow.leaves() if leaf.log_det_is_constant]
    return tf.add_n([tf.zeros((), tf.float64)] + [tf.cast(c, tf.float64) for c in constants])


def exact_log_prob(flow, x, seed, constant) -> tf.Tensor:
    """Computes `flow.log_prob(x)` in a graph, where the sum of constant log-dets is known:
    `(batch,)`, in float64.
    """
    return _log_prob_and_error(flow, x, seed, constant, None)[0]


def _log_prob_and_error(flow, x, seed, constant, context):
    log_prob, error = [constant], [tf.zeros((), tf.float64)]

    def add(step):
        layer, h, z, log_det = step
        if not layer.log_det_is_constant:
            log_prob.append(tf.cast(log_det, tf.float64))
        if layer.has_approximate_inverse:
            difference = layer.inverse(z, context, exact=False) - layer.widen(h)
            error.append(tf.reduce_sum(tf.cast(tf.square(difference), tf.float64)))

    latents = follow(flow.steps(x, context, seed=seed), add)
    return sum(log_prob) + tf.cast(flow.base_log_prob(latents), tf.float64), tf.add_n(error)


@tf.function(reduce_retracing=True)
def _batch_totals(flow, x, context, seed, constant) -> tf.Tensor:
    """Sums of -log_prob and of the layers' squared reconstruction errors over a batch."""
    log_prob, error = _log_prob_and_error(flow, x, seed, constant, context)
    return tf.stack([-tf.reduce_sum(log_prob), error])


def round_trip_error(flow, x: tf.Tensor, exact: bool = True) -> float:
    """The largest absolute error of data decoded from their latents, on the scale of x.

    Args:
        flow: A Flow.
        x: `(batch,) + event_shape`. Where the first layer dequantizes, x + 1/2 is encoded.
        exact: Whether to decode by the exact inverses, or by the learned ones where there are any.
    """
    bijections = flow.bijections_after_noise()
    z = start = tf.cast(x, flow.log_det_dtype) + (0.0 if flow.is_bijection else 0.5)
    for bijection in bijections:
        z, _ = bijection(tf.reshape(z, (-1, *bijection.event_shape)))
    for bijection in reversed(bijections):
        z = bijection.inverse(tf.reshape(z, (-1, *bijection.latent_shape)), exact=exact)
    return float(tf.reduce_max(tf.abs(tf.reshape(z, tf.shape(start)) - start)))


def distance_of_decoded(model, x: np.ndarray, seed: int = 0) -> float:
    """The largest distance of decoded latents from the data that were encoded, by
    `snf_tf.serving.Endpoints` or a SavedModel.

    Of integers, which are dequantized, from the interval [x, x + 1].
    """
    decoded = model.decode(model.encode(x, seed)).numpy()
    return float(
        np.abs(
            decoded - (np.clip(decoded, x, x + 1.0) if np.issubdtype(x.dtype, np.integer) else x)
        ).max()
    )
