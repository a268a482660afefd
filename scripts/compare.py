"""Compares finished runs: a table of their results, and a plot of their curves.

Where layers keep an inverse, both show an angle: the largest, over layers, between a kernel's
gradient in training and the exact gradient.

    python scripts/compare.py runs/A runs/B ... --output=comparison.png
"""

import sys
from pathlib import Path

import command_line
import pandas as pd
from absl import flags
from matplotlib.figure import Figure

_OUTPUT = flags.DEFINE_string("output", "comparison.png", "PNG file of the curves.")
# Results that not every run has.
_OPTIONAL = ("test_reconstruction_error", "test_accuracy")


def main(arguments) -> None:
    directories = [Path(name) for name in arguments[1:]]
    if not directories:
        sys.exit("compare.py: give the directories of the runs, such as runs/A runs/B.")
    output = command_line.require_file("--output", _OUTPUT.value)
    command_line.import_libraries()
    from snf_tf.training.finished_run import read_results

    results = [read_results(directory, "history.csv") for directory in directories]
    for directory, result in zip(directories, results, strict=True):
        _check_results(directory / "results.json", result)
    histories = [
        _history(directory / "history.csv", result)
        for directory, result in zip(directories, results, strict=True)
    ]
    table = pd.DataFrame(
        {
            "run": [str(directory) for directory in directories],
            "data": [f"{result['dataset']} ({result['source']})" for result in results],
            "epochs": [result["epochs"] for result in results],
            "test nll": [_likelihood(result, "test_nll", 2) for result in results],
            "bits/dim": [_likelihood(result, "test_bits_per_dim", 4) for result in results],
            **_accuracies(results),
            "reconstruction error": [
                _format(result.get("test_reconstruction_error")) for result in results
            ],
            "angle": [
                _format(_angles(history).max() if len(_angles(history)) else None)
                for history in histories
            ],
            "ms a step": [f"{1e3 * result['seconds_per_step']:.1f}" for result in results],
            "parameters": [result["parameters"] for result in results],
        }
    )
    print(table.to_string(index=False))
    _plot(directories, histories, output)
    print(f"Curves: {output}")


def _check_results(path, result):
    """Raises a ValueError unless results.json holds all that the table shows."""
    names = ["epochs", "parameters", "seconds_per_step"]
    for name in ("test_nll", "test_bits_per_dim"):
        kinds = [kind for kind in command_line.LIKELIHOOD_KINDS if f"{name}{kind}" in result]
        likelihood = name + kinds[0] if kinds else name
        names += (
            [likelihood] if likelihood == name else [likelihood, f"{likelihood}_standard_error"]
        )
    names += [name for name in _OPTIONAL if result.get(name) is not None]
    texts = ("dataset", "source")
    wrong = [name for name in texts if not isinstance(result.get(name), str)]
    wrong += [name for name in names if not _is_number(result.get(name))]
    if wrong:
        raise ValueError(
            f"results.json must have a text of {' and '.join(texts)}, and a number of every other "
            f"result, and is damaged. Received: {path}, where these are none: {', '.join(wrong)}"
        )


def _is_number(value):
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**63)


def _history(path, result):
    """Reads the history of a run, of as many epochs as its results have."""
    try:
        history = pd.read_csv(path)
        epochs = list(history["epoch"].astype(int))
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"history.csv must have a row for every epoch, and is damaged. Received: {path}: "
            f"{error}"
        ) from None
    if len(epochs) != result["epochs"] or epochs != list(range(1, len(epochs) + 1)):
        raise ValueError(
            f"history.csv must have rows of the epochs 1 to {result['epochs']}, as results.json "
            f"says. Received: {path}, with {len(epochs)} rows"
        )
    known = {f"val_nll{kind}" for kind in command_line.LIKELIHOOD_KINDS} & set(history)
    numbers = [
        "seconds",
        *(known or ["val_nll"]),
        *({"steps"} & set(history)),
        *_angle_names(history),
    ]
    numeric = set(history.select_dtypes("number"))
    if wrong := [name for name in numbers if name not in numeric]:
        raise ValueError(
            "history.csv must have columns of numbers, and is damaged. "
            f"Received: {path}, where these are none: {', '.join(wrong)}"
        )
    return history


def _accuracies(results):
    """Returns the column of accuracies, where a run has one."""
    column = [_format(result.get("test_accuracy")) for result in results]
    return {"accuracy": column} if set(column) != {"-"} else {}


def _likelihood(result, name, digits):
    """Writes a likelihood of `results.json`; an estimate or bound with its standard error."""
    kind = command_line.likelihood_kind(result, name)
    if not kind:
        return f"{result[name]:.{digits}f}"
    error = result[f"{name}{kind}_standard_error"]
    return f"{result[name + kind]:.{digits}f} +- {error:.{digits}f} ({kind[1:]})"


def _val_nll(history):
    return history[f"val_nll{command_line.likelihood_kind(history, 'val_nll')}"]


def _format(value):
    return "-" if value is None else f"{value:.4g}"


def _angles(history):
    """Returns the largest angle of a kernel's gradient by epoch, in degrees, where there is one.

    The result is empty if no layer keeps an inverse.
    """
    columns = _angle_names(history)
    return history[columns].max(axis=1).dropna() if columns else pd.Series(dtype=float)


def _angle_names(history):
    return [name for name in history if name.endswith("/gradient_angle")]


def _plot(directories, histories, output):
    figure = Figure(figsize=(16, 4.5), dpi=120, layout="tight")
    by_epochs, by_seconds, angles = figure.subplots(1, 3)
    for directory, history in zip(directories, histories, strict=True):
        kind = command_line.likelihood_kind(history, "val_nll")
        label = f"{directory} ({kind[1:]})" if kind else f"{directory}"
        by_epochs.plot(history["epoch"], _val_nll(history), marker=".", label=label)
        by_seconds.plot(history["seconds"].cumsum(), _val_nll(history), marker=".")
        steps = history["steps"].cumsum() if "steps" in history else history["epoch"]
        # An empty line keeps the colours in step.
        angle = _angles(history)
        angles.semilogy(steps[angle.index], angle, marker=".")
    for axes, x, y in (
        (by_epochs, "epochs", "validation nll (nats), exact but where said"),
        (by_seconds, "seconds", "validation nll (nats), exact but where said"),
        (angles, "steps", "largest angle of a kernel's gradient (degrees)"),
    ):
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(alpha=0.3)
    by_epochs.legend()
    figure.savefig(output)


if __name__ == "__main__":
    command_line.run(main, takes_arguments=True)
