"""What a run leaves behind: `results.json` and its pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import gin
import numpy as np

from snf_tf import ops
from snf_tf.data import Dataset, batches
from snf_tf.flow import Flow
from snf_tf.flow.classification import bayes_scores
from snf_tf.flow.likelihood import criterion_name, has_round_trip, nll_name, round_trip_error
from snf_tf.training.beside import Beside
from snf_tf.training.density import save_density
from snf_tf.training.interruption import Interrupted, StopSignals
from snf_tf.training.plotting import pixel_values, plot_history, plot_images
from snf_tf.training.run_directory import RunDirectory
from snf_tf.training.strategy import device_names

_GRID, _COLUMNS = 64, 8
_EVALUATION_BATCH = 500


def write_report(
    directory: RunDirectory,
    flow: Flow,
    dataset: Dataset,
    beside: Beside,
    history: Sequence[Mapping[str, float]],
    signals: StopSignals,
) -> dict:
    """Tests a flow; writes `best.weights.h5`, `results.json`, `nll.png`, and of images
    `samples/samples.png`, `samples/reconstructions.png`, on the plane `samples/density.png`.

    Args:
        directory: The directory of the run.
        flow: With the weights to be tested.
        dataset: Its test split is used, and what it says of itself.
        beside: What goes with the examples. Samples have the contexts of the first test examples;
            where these are labels, there is one row of samples for every class.
        history: One mapping an epoch, with `val_nll`, `seconds` and `step_seconds`.
        signals: When one has been received, the report is stopped after its present part.

    Returns:
        The content of `results.json`; likelihoods are exact, in nats, or estimates in name. A flow
        that takes labels has `test_accuracy` and `test_classifier_nll`; one that is conditional on
        labels, and exact, `test_bayes_accuracy` and `test_bayes_classifier_nll`.

    Raises:
        snf_tf.training.interruption.Interrupted: Between two parts, after a signal.
    """

    def stop_at_a_signal():
        if signals.received:
            raise Interrupted(signals.received, "in the report", directory.path)

    test = flow.evaluate(batches(dataset.test, beside.evaluation_batch, beside.of("test")))
    stop_at_a_signal()
    # Where only classes are trained, the nll of the weights that are tested is not the best.
    bests = dict.fromkeys((nll_name(flow, "val_"), criterion_name(flow, "val_")))
    examples, context = dataset.test[:_GRID], beside.first_context("test", _GRID)
    results = {
        "config": gin.operative_config_str(),
        "dataset": dataset.name,
        "source": dataset.source,
        "sizes": dataset.sizes,
        "event_shape": list(dataset.event_shape),
        **{f"test_{name}": value for name, value in test.items()},
        **{f"best_{name}": min(row[name] for row in history) for name in bests},
        "devices": device_names(flow.distribute_strategy),
        "replicas": flow.distribute_strategy.num_replicas_in_sync,
        "epochs": len(history),
        "seconds": sum(row["seconds"] for row in history),
        "seconds_per_step": float(np.median([row["step_seconds"] for row in history])),
        "parameters": sum(int(np.prod(weight.shape)) for weight in flow.trainable_variables),
    }
    if beside.is_label and flow.log_det_kind == "exact":
        results |= _bayes(flow, dataset, beside)
        stop_at_a_signal()
    if dataset.entropy is not None:
        results["entropy"] = dataset.entropy
    if has_round_trip(flow):
        results["test_round_trip_error"] = round_trip_error(flow, examples, True, context)
        if flow.has_learned_inverse:
            learned = round_trip_error(flow, examples, False, context)
            results["test_learned_round_trip_error"] = learned
    if not directory.writes:
        return results
    stop_at_a_signal()
    directory.write_weights(flow)
    plot_history(directory.path / "nll.png", history)
    if len(dataset.event_shape) == 3 and dataset.event_shape[2] in (1, 3):
        of_samples = context
        if beside.is_label:
            of_samples = np.repeat(np.arange(beside.classes, dtype=np.int32), _COLUMNS)
        _draw(directory.path / "samples", flow, examples, context, of_samples)
    elif dataset.event_shape == (2,) and context is None and flow.log_det_kind != "bound":
        save_density(directory.path / "samples/density.png", flow, dataset.test)
    stop_at_a_signal()
    return directory.write_results(results)


def _bayes(flow: Flow, dataset: Dataset, beside: Beside) -> dict[str, float]:
    def log_prob(labels):
        # The noise is that of evaluate, for every class. Not all at once: data may be on disk.
        parts = [
            flow.log_prob(
                dataset.test[first : first + _EVALUATION_BATCH],
                labels[first : first + _EVALUATION_BATCH],
                ops.row_seed(None, first_row=first),
            )
            for first in range(0, len(dataset.test), _EVALUATION_BATCH)
        ]
        return np.concatenate(parts)

    counts = np.bincount(beside.labels("train"), minlength=beside.classes)
    scores = bayes_scores(log_prob, beside.labels("test"), counts)
    return {f"test_{name}": value for name, value in scores.items()}


def _draw(
    directory: Path,
    flow: Flow,
    examples: np.ndarray,
    context: np.ndarray | None,
    of_samples: np.ndarray | None,
) -> None:
    inverses = ({"learned inverse": False} if flow.has_learned_inverse else {}) | {
        "exact inverse": True
    }
    samples = {
        title: flow.sample(
            _GRID if of_samples is None else len(of_samples),
            context=of_samples,
            exact=exact,
            seed=0,
        ).numpy()
        for title, exact in inverses.items()
    }
    values = pixel_values(flow)
    plot_images(directory / "samples.png", samples, _COLUMNS, values)
    latents = flow.encode(examples, context=context)
    decoded = {
        title: flow.decode(latents, context=context, exact=exact).numpy()
        for title, exact in inverses.items()
    }
    plot_images(directory / "reconstructions.png", {"data": examples} | decoded, values=values)
