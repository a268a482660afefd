"""Tells data from outside of a flow's distribution, where plain likelihood misleads."""

from typing import Any, NamedTuple

import numpy as np

from snf_tf._array_checks import refuse_array
from snf_tf._checks import check_array_seed, check_instance, check_sizes
from snf_tf.flow.inference import FlowInference


class Typicality(NamedTuple):
    """The test of groups of examples.

    Attributes:
        statistic: |mean of -log p over a group - entropy|, `(groups,)`, in nats.
        p_value: The share of groups of the reference whose statistic is at least as large,
            `(groups,)`. A small one tells an anomaly.
    """

    statistic: np.ndarray
    p_value: np.ndarray


def typicality(
    flow: FlowInference,
    x: Any,
    reference: Any,
    group_size: int = 1,
    context: Any = None,
    reference_context: Any = None,
    resamples: int = 10_000,
    seed: int = 0,
    batch_size: int = 500,
) -> Typicality:
    """Tests whether groups of examples are typical of a flow (Nalisnick et al. 2019).

    A high likelihood does not make data typical: flows give many data that they have never seen,
    such as flat or smooth images, a higher likelihood than their own data. Typical data have a
    likelihood near the mean, in both directions: |mean of -log p - entropy| is small. Single
    examples can still pass the test by chance; groups of data from one source tell more.

    Args:
        flow: A trained flow. Where it estimates or bounds log-densities, so does the test.
        x: `(N,) + event_shape`, N a multiple of group_size: rows in order make groups.
        reference: Data as the flow's, but not trained on, `(R,) + event_shape`: trained data have
            a likelihood that is too high. The entropy is their mean of -log p.
        group_size: Examples of a group.
        context: Of x, where the flow takes one.
        reference_context: Of the reference.
        resamples: Groups that are drawn from the reference, with replacement.
        seed: Of these draws.
        batch_size: Rows that are computed at once.

    Raises:
        ValueError: If x cannot be cut into groups, or the flow does not accept the data.

    Example:
        >>> flow = snf_tf.Flow([snf_tf.layers.Scale(1.0)], event_shape=(100,))
        >>> reference = np.random.default_rng(0).normal(size=(1000, 100))
        >>> found = snf_tf.flow.typicality(flow, np.zeros((1, 100)), reference)
        >>> bool(found.p_value < 0.01)
        True
    """
    check_instance("flow", flow, FlowInference, "a snf_tf.Flow")
    group_size, resamples = check_sizes(group_size=group_size, resamples=resamples)
    seed = check_array_seed(seed)
    log_p = _log_densities(flow, x, context, batch_size)
    if len(log_p) % group_size:
        raise ValueError(
            "x must be a whole number of groups. "
            f"Received: {len(log_p)} examples, group_size={group_size}"
        )
    expected = _log_densities(flow, reference, reference_context, batch_size)
    if not len(expected):
        refuse_array("reference", reference, "one row at least")
    mean = np.mean(expected)
    statistic = np.abs(log_p.reshape(-1, group_size).mean(axis=1) - mean)
    rows = np.random.default_rng(seed).integers(len(expected), size=(resamples, group_size))
    drawn = np.sort(np.abs(expected[rows].mean(axis=1) - mean))
    # The group itself counts as one: no p-value is 0.
    larger = resamples - np.searchsorted(drawn, statistic)
    return Typicality(statistic, (1 + larger) / (1 + resamples))


def likelihood_ratio(
    flow: FlowInference,
    background: FlowInference,
    x: Any,
    context: Any = None,
    batch_size: int = 500,
) -> np.ndarray:
    """Computes log p(x) - log p_background(x), which tells data from others (Ren et al. 2019).

    Likelihood alone misleads: much of it belongs to what all data share, such as the background of
    images. A second flow of the same kind, trained on data in which each value is replaced by a
    random one with a probability of 0.1 to 0.3, learns the background alone. In the ratio it
    cancels; data with a low ratio are anomalies. Any flow of more general data does, too.

    Args:
        flow: A trained flow.
        background: The second flow, for the same events.
        x: `(N,) + event_shape`.
        context: Of x, for each flow that takes one.
        batch_size: Rows that are computed at once.

    Returns:
        `(N,)`, in nats. Both flows have the same noise of dequantization.

    Example:
        >>> wide = snf_tf.Flow([snf_tf.layers.Scale(0.5)], event_shape=(2,))
        >>> flow = snf_tf.Flow([snf_tf.layers.Scale(1.0)], event_shape=(2,))
        >>> snf_tf.flow.likelihood_ratio(flow, wide, np.array([[0.0, 0.0], [9.0, 9.0]])) > 0
        array([ True, False])
    """
    check_instance("flow", flow, FlowInference, "a snf_tf.Flow")
    check_instance("background", background, FlowInference, "a snf_tf.Flow")
    parts = [
        _log_densities(model, x, context if model.takes_context else None, batch_size)
        for model in (flow, background)
    ]
    return parts[0] - parts[1]


def _log_densities(flow, x, context, batch_size):
    """Returns log p(x), or what the flow has in its place, in float64."""
    if flow.log_det_kind == "exact":
        found = flow.log_prob(x, context, batch_size=batch_size)
    elif flow.log_det_kind == "estimate":
        found = flow.estimate_log_prob(x, context, batch_size=batch_size).mean
    else:
        found = flow.log_prob_bound(x, context, batch_size=batch_size)
    return found.numpy().astype(np.float64)
