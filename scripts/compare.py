"""Compares finished runs: a table of their results, and a plot of their curves.

python scripts/compare.py runs/A runs/B ... --output=comparison.png
"""

import json
import sys
from pathlib import Path

import pandas as pd
from absl import app, flags
from matplotlib.figure import Figure

_OUTPUT = flags.DEFINE_string("output", "comparison.png", "PNG file of the curves.")


def main(arguments) -> None:
    directories = [Path(name) for name in arguments[1:]]
    if not directories:
        sys.exit("compare.py: give the directories of the runs, such as runs/A runs/B.")
    missing = [str(directory) for directory in directories if not (directory / "results.json").is_file()]
    if missing:
        sys.exit(f"compare.py: no results.json, of a run that has come to its end, in {', '.join(missing)}.")
    results = [json.loads((directory / "results.json").read_text()) for directory in directories]
    histories = [pd.read_csv(directory / "history.csv") for directory in directories]
    table = pd.DataFrame(
        {
            "run": [str(directory) for directory in directories],
            "data": [f"{result['dataset']} ({result['source']})" for result in results],
            "epochs": [result["epochs"] for result in results],
            "test nll": [f"{result['test_nll']:.2f}" for result in results],
            "bits/dim": [f"{result['test_bits_per_dim']:.4f}" for result in results],
            "reconstruction error": [_format(result.get("test_reconstruction_error")) for result in results],
            "ms a step": [f"{1e3 * result['seconds_per_step']:.1f}" for result in results],
            "parameters": [result["parameters"] for result in results],
        }
    )
    print(table.to_string(index=False))
    _plot(directories, histories)
    print(f"Curves: {_OUTPUT.value}")


def _format(value):
    return "-" if value is None else f"{value:.4g}"


def _plot(directories, histories):
    figure = Figure(figsize=(11, 4), dpi=120, layout="tight")
    for axes, label in zip(figure.subplots(1, 2, sharey=True), ("epochs", "seconds"), strict=True):
        for directory, history in zip(directories, histories, strict=True):
            x = history["epoch"] if label == "epochs" else history["seconds"].cumsum()
            axes.plot(x, history["val_nll"], marker=".", label=str(directory))
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("exact validation nll (nats)")
    figure.axes[0].legend()
    figure.savefig(_OUTPUT.value)


if __name__ == "__main__":
    app.run(main)
