"""Draws the picture of the README: exact nll against seconds of several runs, and digits.

    python scripts/why.py docs/records/mnist_fc-seed0 docs/records/mnist_fc_exact-seed0 \\
        --samples=runs/mnist_glow --output=docs/why.png

Seconds are steps times the median time of a step: that of the runs, or --step_ms=13.8,51.2, what
scripts/benchmark.py has measured on a quiet machine.
"""

import itertools
import sys
from pathlib import Path

import command_line
import curves
import matplotlib.image
import pandas as pd
from absl import flags
from matplotlib.figure import Figure

_SAMPLES = flags.DEFINE_string("samples", None, "The run whose samples are shown.", required=True)
_STEP_MS = flags.DEFINE_list("step_ms", None, "Milliseconds of a step, one number a run.")
_OUTPUT = flags.DEFINE_string("output", "why.png", "PNG file to write.")


def main(arguments) -> None:
    runs = [Path(name) for name in arguments[1:]]
    if not runs:
        sys.exit("why.py: give the directories of the runs, such as runs/A runs/B.")
    figure = Figure(figsize=(9, 3.4), dpi=95, layout="tight")
    lines, digits = figure.subplots(1, 2, width_ratios=(1.3, 1))
    given = _STEP_MS.value or [None] * len(runs)
    # Curves may lie upon each other.
    styles = itertools.cycle(("-", "--", ":", "-."))
    for run, milliseconds in zip(runs, given, strict=True):
        history = pd.read_csv(run / "history.csv")
        seconds = curves.training_seconds(history, milliseconds and float(milliseconds) / 1000)
        lines.plot(seconds, history["val_nll"], next(styles), label=run.name.removesuffix("-seed0"))
    lines.set(xlabel="seconds of training steps", ylabel="exact validation nll (nats)")
    # The first epochs would take most of the height.
    late = [line.get_ydata()[2:] for line in lines.lines if len(line.get_ydata()) > 5]
    if late:
        lines.set_ylim(min(map(min, late)) - 10, max(map(max, late)))
    lines.legend()
    digits.imshow(matplotlib.image.imread(Path(_SAMPLES.value, "samples/samples.png")))
    digits.set_title(f"samples of {Path(_SAMPLES.value).name.partition('-')[0]}")
    digits.axis("off")
    path = command_line.require_file("--output", _OUTPUT.value)
    figure.savefig(path, format="png", pil_kwargs={"optimize": True})
    print(f"Picture: {_OUTPUT.value}")


if __name__ == "__main__":
    command_line.run(main, takes_arguments=True)
