"""Curves of runs: likelihoods against epochs and seconds, and angles of gradients."""

from collections.abc import Mapping
from pathlib import Path

import command_line
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_UNITS = {"nll": "nll (nats)", "bits_per_dim": "bits/dim"}
ANGLES = {"log|det|": "/log_det_gradient_angle", "the loss": "/gradient_angle"}


def draw(
    histories: Mapping[str, pd.DataFrame],
    metric: str = "nll",
    angles: bool = False,
    step_seconds: Mapping[str, float] | None = None,
) -> Figure:
    """Draws validation against epochs and seconds, a line for each run.

    Args:
        histories: Label -> content of `history.csv`.
        metric: "nll" or "bits_per_dim".
        angles: Whether a third panel shows the angles of layers that keep an inverse.
        step_seconds: Label -> seconds of a step; others are not drawn against seconds. None: those
            of the runs.
    """
    panels = 3 if angles else 2
    figure = Figure(figsize=(5 * panels + 2, 4.5), layout="constrained")
    axes = figure.subplots(1, panels)
    axes[1].sharey(axes[0])
    values = []
    for index, (label, history) in enumerate(histories.items()):
        kind = command_line.likelihood_kind(history, f"val_{metric}")
        name = f"{label} ({kind[1:]})" if kind else label
        y = history[f"val_{metric}{kind}"]
        values.append(y)
        # A line alone hides a run of one epoch.
        style = {"color": f"C{index % 10}", "marker": "." if len(y) < 30 else None}
        style["linestyle"] = "-" if index < 10 else "--"
        axes[0].plot(history["epoch"], y, label=name, **style)
        if step_seconds is None or label in step_seconds:
            axes[1].plot(training_seconds(history, (step_seconds or {}).get(label)), y, **style)
        if angles:
            found = mean_angles(history)
            axes[2].semilogy(found.index, found, **style | {"marker": "."})
    _limit(axes[0], values)
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes[0].set(xlabel="epochs", ylabel=f"validation {_UNITS[metric]}")
    axes[1].set(xlabel="seconds of training steps")
    if angles:
        axes[2].axhline(1.0, color="0.6", linewidth=0.8)
        axes[2].set(
            xlabel="epochs", ylabel="angle to the exact gradient of log|det| (degrees), mean"
        )
    for each in axes:
        each.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small", frameon=False)
    return figure


def training_seconds(history: pd.DataFrame, step_seconds: float | None = None) -> pd.Series:
    """Returns the time of all steps up to every epoch: a machine that paused does not count.

    Args:
        history: Content of `history.csv`.
        step_seconds: Of one step; None: the run's median.
    """
    return history["steps"].cumsum() * (step_seconds or history["step_seconds"].median())


def under(angles: pd.Series, limit: float = 1.0) -> object | None:
    """Returns the first place from which all angles are below a limit; None if the last is not."""
    above = angles.index[angles >= limit]
    below = angles.index if not len(above) else angles.index[angles.index > above[-1]]
    return below[0] if len(below) else None


def mean_angles(history: pd.DataFrame, of: str = "log|det|") -> pd.Series:
    """Returns the angle between a gradient by kernels in training and the exact one, by epoch.

    It is in degrees, the mean over layers, for the epochs that measured it; empty if no layer keeps
    an inverse.

    Args:
        history: Content of `history.csv`.
        of: "log|det|"; or "the loss", penalties included, against the exact nll.
    """
    columns = [name for name in history if name.endswith(ANGLES[of])]
    if not columns:
        return pd.Series(dtype=float)
    return history.set_index("epoch")[columns].mean(axis=1).dropna()


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, in a size that pages show well."""
    figure.savefig(path, dpi=80, format="png", pil_kwargs={"optimize": True})


def _limit(axes, values):
    """Leaves the first epochs out of the picture, where they would flatten the others."""
    late = [np.asarray(y)[len(y) // 20 :] for y in values if len(y) > 20]
    if late:
        low, high = min(map(np.min, late)), max(map(np.max, late))
        axes.set_ylim(low - 0.03 * (high - low), high + 0.03 * (high - low))
