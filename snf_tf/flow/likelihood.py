"""Computes exact likelihoods over whole datasets."""

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf
from scipy.special import logsumexp

from snf_tf import ops
from snf_tf.flow.classification import score_totals
from snf_tf.flow.graph_function import graph_function
from snf_tf.flow.inference import FlowInference
from snf_tf.flow.replicated import sum_over_replicas
from snf_tf.layers.bijection import follow
from snf_tf.layers.flow_layer import sum_event


def evaluate(flow: FlowInference, data: Iterable[Any], seed: int | None = None) -> dict[str, float]:
    """Evaluates a flow on every row of batches; see `snf_tf.Flow.evaluate`."""
    flow.prepare()
    constant = constant_log_dets(flow)
    rows, totals, scores = 0, tf.zeros(6, tf.float64), tf.zeros(3, tf.float64)
    for element in data:
        x, context, weight, y = flow.check_element(element)
        weight = tf.ones(len(x), tf.float64) if weight is None else tf.cast(weight, tf.float64)
        noise = ops.row_seed(seed, first_row=rows)
        totals += _batch_totals(flow, x, context, noise, constant, weight, flow.version)
        if y is not None:
            scores += score_totals(flow, x, context, noise, y, weight, flow.version)
        rows += len(x)
    if rows == 0:
        raise ValueError(
            "evaluate needs at least one row of data. Received: a dataset without a batch"
        )
    total, error, weight, *squares = totals.numpy().tolist()
    if not weight > 0:
        raise ValueError(f"sample_weight must have a positive sum. Received: a sum of {weight}")
    dims = math.prod(flow.event_shape)
    nll = total / weight
    if flow.log_det_kind == "exact":
        results = {"nll": nll, "bits_per_dim": ops.bits_per_dim(nll, dims)}
    else:
        spread = squares[2] - 2.0 * nll * squares[1] + nll**2 * squares[0]
        standard_error = math.sqrt(max(spread, 0.0)) / weight
        name, bits = nll_name(flow), f"bits_per_dim_{flow.log_det_kind}"
        results = {
            name: nll,
            f"{name}_standard_error": standard_error,
            bits: ops.bits_per_dim(nll, dims),
            f"{bits}_standard_error": ops.bits_per_dim(standard_error, dims),
        }
    if flow.has_approximate_inverse:
        results["reconstruction_error"] = error / weight
    hits, classifier_nll, labelled = scores.numpy().tolist()
    if labelled > 0:
        results |= {"accuracy": hits / labelled, "classifier_nll": classifier_nll / labelled}
    return results


def nll_name(flow: FlowInference, prefix: str = "") -> str:
    """Returns the name of a flow's nll: "nll", "nll_estimate" or "nll_bound"."""
    return prefix + ("nll" if flow.log_det_kind == "exact" else f"nll_{flow.log_det_kind}")


def criterion_name(flow: FlowInference, prefix: str = "") -> str:
    """Returns what tells a flow's best weights: its nll, or where only classes are trained theirs.

    Less is better.
    """
    return nll_name(flow, prefix) if flow.trains_likelihood else f"{prefix}classifier_nll"


def predict(
    flow: FlowInference, data: Iterable[Any], seed: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Computes latents and log-densities of every row of batches; see `snf_tf.Flow.predict`."""
    flow.require_exact("predict")
    flow.prepare()
    rows, latents, log_probs = 0, [], []
    for element in data:
        x, context, *_ = flow.check_element(element)
        z, log_prob = flow.latents_and_log_prob(x, context, ops.row_seed(seed, first_row=rows))
        latents.append(z.numpy())
        log_probs.append(log_prob.numpy())
        rows += len(x)
    if not latents:
        raise ValueError("predict needs at least one batch of data. Received: an empty dataset")
    return np.concatenate(latents), np.concatenate(log_probs)


def likelihoods(
    model: Any,
    examples: np.ndarray,
    seed: int = 0,
    draws: int = 1,
    batch_size: int = 500,
    progress: Callable[[list], Iterable] = iter,
    context: np.ndarray | None = None,
) -> dict[str, float]:
    """Computes exact likelihoods of examples, with their standard errors.

    Args:
        model: `snf_tf.serving.Endpoints`, or a loaded SavedModel.
        examples: `(N,) + event_shape`, N > 1.
        seed: Seed of the noise; row i gets that of (seed, i).
        draws: K, draws of noise for the importance weighted bound. Draw k has the seed `seed + k`.
        batch_size: Rows that are evaluated at once.
        progress: Wraps the list of batches, to show progress, such as `tqdm.tqdm`.
        context: `(N, ...)`, where the model takes one.

    Returns:
        `nll`: mean of -log p(x + u), in nats; `bits_per_dim`; and of each its `_standard_error`
        over examples. Where the model can only estimate, names say `nll_estimate`, and their
        standard errors are over draws of probes as well. Where noise has a learned density, they
        say `nll_bound`. With several draws also
        `importance_weighted_nll_bound`, the mean of `-log(1/K sum_k p(x + u_k) / q(u_k|x))`. With
        growing K the bound falls to -log P(x) (Burda et al. 2016; Ho et al. 2019).
    """
    if len(examples) < 2:
        raise ValueError(f"A standard error needs two examples at least. Received: {len(examples)}")
    kinds = {"log_prob": "nll", "log_prob_bound": "nll_bound", "estimate_log_prob": "nll_estimate"}
    method, own_name = next((m, kind) for m, kind in kinds.items() if hasattr(model, m))
    if draws > 1 and own_name == "nll_estimate":
        raise ValueError(
            "A bound needs exact log-densities, and this model estimates them. "
            f"Received: draws={draws}"
        )
    tasks = [
        (draw, first) for draw in range(draws) for first in range(0, len(examples), batch_size)
    ]
    log_probs = np.zeros((draws, len(examples)))
    for draw, first in progress(tasks):
        rows = slice(first, first + batch_size)
        # As tensors: for new Python numbers TensorFlow would trace anew.
        seeds = tf.constant(seed + draw, tf.int64), tf.constant(first, tf.int64)
        found = getattr(model, method)(examples[rows], *seeds, **_context_of(context, rows))
        log_probs[draw, rows] = found["mean"] if own_name == "nll_estimate" else found
    values = {own_name: -log_probs[0]}
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


def log_probs(
    model: Any,
    examples: np.ndarray,
    seed: int = 0,
    context: np.ndarray | None = None,
    batch_size: int = 500,
) -> np.ndarray:
    """Computes exact log-densities, `(N,)`; arguments are those of `likelihoods`."""
    parts = []
    for first in range(0, len(examples), batch_size):
        rows = slice(first, first + batch_size)
        seeds = tf.constant(seed, tf.int64), tf.constant(first, tf.int64)
        parts.append(model.log_prob(examples[rows], *seeds, **_context_of(context, rows)))
    return np.concatenate(parts)


def _context_of(context, rows):
    return {} if context is None else {"context": context[rows]}


@graph_function
def constant_log_dets(flow: FlowInference) -> tf.Tensor:
    """Sums all log-dets that do not depend on the data: a scalar in float64."""
    constants = [leaf.constant_log_det() for leaf in flow.leaves() if leaf.log_det_is_constant]
    return tf.add_n([tf.zeros((), tf.float64)] + [tf.cast(c, tf.float64) for c in constants])


def exact_log_prob(
    flow: FlowInference,
    x: tf.Tensor,
    seed: tf.Tensor,
    constant: tf.Tensor,
    context: tf.Tensor | None = None,
) -> tf.Tensor:
    """Computes `flow.log_prob(x)` in a graph, from the known sum of constant log-dets.

    Returns:
        `(batch,)`, in nats, in float64.
    """
    return _log_prob_and_error(flow, x, seed, constant, context)[0]


def _log_prob_and_error(flow, x, seed, constant, context):
    """Computes log_prob, `(batch,)`, and the layers' squared reconstruction errors, `(batch,)`."""
    log_prob, error = [constant], [tf.zeros((), tf.float64)]

    def add(step):
        layer, h, z, log_det = step
        # TensorFlow drops the computation of the log-dets that `constant` holds: nothing uses them.
        if not layer.log_det_is_constant:
            log_prob.append(tf.cast(log_det, tf.float64))
        if layer.has_approximate_inverse:
            difference = layer.inverse(z, context, exact=False) - layer.widen(h)
            error.append(sum_event(tf.cast(tf.square(difference), tf.float64)))

    latents = follow(flow.steps(x, context, seed=seed), add)
    return sum(log_prob) + tf.cast(flow.base_log_prob(latents, context), tf.float64), sum(error)


@functools.partial(graph_function, reduce_retracing=True)
def _batch_totals(flow, x, context, seed, constant, weight, version) -> tf.Tensor:
    """Computes sums over a batch: of weighted nll, reconstruction errors, 1, and of their squares.

    The last three are of `weight^2` times 1, nll and nll^2, for a standard error.
    """

    def sums(seed, weight, x, context):
        log_prob, error = _log_prob_and_error(flow, x, seed, constant, context)
        nll = -log_prob
        square = tf.square(weight)
        # A weight of 0 leaves a row out, whatever its nll.
        nll, error = (tf.where(weight > 0, part, 0) for part in (nll, error))
        parts = (weight * nll, weight * error, weight, square, square * nll, square * nll**2)
        return tf.stack([tf.reduce_sum(tf.broadcast_to(part, tf.shape(weight))) for part in parts])

    return sum_over_replicas(flow.distribute_strategy, sums, seed, weight, x, context)


def has_round_trip(flow: FlowInference) -> bool:
    """Returns whether latents determine the data, or the dequantized data."""
    return all(leaf.is_bijection or leaf.dequantizes for leaf in flow.leaves())


def round_trip_error(
    flow: FlowInference, x: tf.Tensor, exact: bool = True, context: tf.Tensor | None = None
) -> float:
    """Computes the largest absolute error of data decoded from their latents, on the scale of x.

    Args:
        flow: A Flow.
        x: `(batch,) + event_shape`. Where the first layer dequantizes, x + 1/2 is encoded.
        exact: Whether to decode by the exact inverses, or by the learned ones where there are any.
        context: As in `flow.log_prob`.
    """
    flow.prepare()
    bijections = flow.bijections_after_noise()
    z = start = tf.cast(x, flow.log_det_dtype) + (0.5 if flow.dequantizes else 0.0)
    for bijection in bijections:
        z, _ = bijection(tf.reshape(z, (-1, *bijection.event_shape)), context=context)
    for bijection in reversed(bijections):
        z = tf.reshape(z, (-1, *bijection.latent_shape))
        z = bijection.inverse(z, context=context, exact=exact)
    return float(tf.reduce_max(tf.abs(tf.reshape(z, tf.shape(start)) - start)))


def distance_of_decoded(
    model: Any, x: np.ndarray, seed: int = 0, context: np.ndarray | None = None
) -> float:
    """Computes the largest distance of decoded latents from the data that were encoded.

    Integers are dequantized: their distance is that from the interval [x, x + 1].

    Args:
        model: `snf_tf.serving.Endpoints`, or a loaded SavedModel.
        x: `(batch,) + event_shape`.
        seed: Seed of the noise.
        context: `(batch, ...)`, where the model takes one.
    """
    given = _context_of(context, slice(None))
    decoded = model.decode(model.encode(x, seed, **given), **given).numpy()
    return float(
        np.abs(
            decoded - (np.clip(decoded, x, x + 1.0) if np.issubdtype(x.dtype, np.integer) else x)
        ).max()
    )
