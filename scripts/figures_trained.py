"""Figures of trained runs: samples, likelihoods, densities."""

from collections.abc import Sequence

import curves
import numpy as np
import pandas as pd
import text_tables
from figure_work import (
    Drawn,
    Work,
    history_of,
    label,
    likelihood,
    results_of,
    seeds,
    stand_ins,
)
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_SAMPLES, _COLUMNS = 32, 8


def samples(work: Work) -> Drawn:
    """Draws samples of the same latents by the exact inverse, and below by the learned one."""
    from snf_tf.training import load_run
    from snf_tf.training.plotting import tile

    runs = [run for run in work.runs if run.seed == 0]
    figure = Figure(figsize=(5.5 * len(runs), 6.2), layout="constrained")
    panels = figure.subplots(2, len(runs), squeeze=False)
    lines = []
    for column, run in enumerate(runs):
        flow = load_run(run.path)
        drawn = [flow.sample(_SAMPLES, exact=exact, seed=0).numpy() for exact in (True, False)]
        for axes, images, inverse in zip(
            panels[:, column], drawn, ("exact", "learned"), strict=True
        ):
            axes.imshow(np.clip(tile(images, _COLUMNS) / 255, 0, 1), cmap="gray", vmin=0, vmax=1)
            axes.set_title(f"{run.row.name}, {inverse} inverse", fontsize="medium")
            axes.axis("off")
        difference = np.abs(drawn[0] - drawn[1])
        lines.append(
            {
                "model": run.row.name,
                "epochs": f"{results_of(run)['epochs']} of {run.row.epochs}",
                "mean difference of a pixel, of 255": f"{difference.mean():.3g}",
                "largest": f"{difference.max():.3g}",
            }
        )
    return Drawn(figure, pd.DataFrame(lines), text_tables.markdown(lines), stand_ins(runs))


def likelihoods(work: Work) -> Drawn:
    """Draws the likelihood of validation against epochs and seconds."""
    metric = "bits_per_dim" if work.name == "rf.8" else "nll"
    count = seeds(work.runs)
    histories = {label(run, count): history_of(run) for run in work.runs}
    lines = [_last(run, metric) for run in work.runs]
    data = _long({name: likelihood(h, f"val_{metric}") for name, h in histories.items()}, metric)
    seconds = [curves.training_seconds(history) for history in histories.values()]
    data["seconds"] = np.concatenate(seconds)
    return Drawn(
        curves.draw(histories, metric), data, text_tables.markdown(lines), stand_ins(work.runs)
    )


def bias(work: Work) -> Drawn:
    """Draws what training minimises beside the exact likelihood of the same epoch."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    series, lines = {}, []
    for index, run in enumerate(work.runs):
        name, history = label(run, seeds(work.runs)), history_of(run)
        minimised = history.set_index("epoch")["surrogate"]
        exact = likelihood(history, "val_nll")
        for y, style, words in (
            (minimised, "x--", "training, estimate"),
            (exact, ".-", "validation, exact"),
        ):
            axes.plot(y.index, y, style, color=f"C{index}", label=f"{name}: {words}")
            series[f"{name}: {words}"] = y
        train = likelihood(history, "train_nll")
        lines.append(
            {
                "model": name,
                "epochs": int(minimised.index[-1]),
                "training, estimate (nats)": f"{minimised.iloc[-1]:.3f}",
                "training, exact (nats)": f"{train.iloc[-1]:.3f}",
                "validation, exact (nats)": f"{exact.iloc[-1]:.3f}",
            }
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set(xlabel="epochs", ylabel="nll (nats)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    words = (
        "Data are the checkerboard of the plane: the paper names none. The estimate is the mean of "
        "an epoch, the exact numbers are those of its end. A biased "
        f"estimate falls below the exact number.\n\n{text_tables.markdown(lines)}"
    )
    return Drawn(figure, _long(series, "nll"), words, stand_ins(work.runs))


def norms(work: Work) -> Drawn:
    """Draws (a) nll against blocks on the checkerboard, (b) bits/dim against epochs on images."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    found: dict[tuple[str, int], list[float]] = {}
    series = {}
    for run in work.runs:
        if "toy2d" in run.row.config:
            blocks = _blocks(results_of(run)["config"])
            order = run.row.name.split(", ")[1]
            found.setdefault((order, blocks), []).append(results_of(run)["test_nll"])
        else:
            series[label(run, seeds(work.runs))] = likelihood(history_of(run), "val_bits_per_dim")
    lines = [
        {
            "norm": order,
            "blocks": blocks,
            "seeds": len(values),
            "test nll": np.mean(values),
            "deviation": np.std(values, ddof=1) if len(values) > 1 else "",
        }
        for (order, blocks), values in found.items()
    ]
    for index, order in enumerate(dict.fromkeys(line["norm"] for line in lines)):
        own = [line for line in lines if line["norm"] == order]
        left.errorbar(
            [line["blocks"] for line in own],
            [line["test nll"] for line in own],
            [line["deviation"] or 0.0 for line in own],
            marker="o",
            # Curves that fall together are seen.
            markersize=12 - 4 * index,
            fillstyle="none",
            capsize=3,
            label=order,
        )
    left.set(xlabel="residual blocks", ylabel="test nll (nats)", title="(a) checkerboard")
    for index, (name, y) in enumerate(series.items()):
        right.plot(
            y.index, y, marker="o", markersize=12 - 4 * (index % 3), fillstyle="none", label=name
        )
    left.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    right.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    right.set(xlabel="epochs", ylabel="validation bits/dim (estimate)", title="(b) CIFAR-10")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    shown = [line | {"test nll": f"{line['test nll']:.4f}"} for line in lines]
    for line in shown:
        line["deviation"] = line["deviation"] and f"{line['deviation']:.4f}"
    return Drawn(figure, pd.DataFrame(lines), text_tables.markdown(shown), stand_ins(work.runs))


def densities(work: Work) -> Drawn:
    """Draws the checkerboard, and the densities that were learned of it."""
    from snf_tf.training import load_data, load_run
    from snf_tf.training.density import density_grid

    runs = [run for run in work.runs if run.seed == 0]
    figure = Figure(figsize=(4 * (len(runs) + 1), 4.3), layout="constrained")
    panels = figure.subplots(1, len(runs) + 1)
    lines, grids = [], []
    for run in runs:
        flow, data = load_run(run.path), load_data().test[:]
        low, high = data.min(axis=0), data.max(axis=0)
        grids.append((run, density_grid(flow, low, high)))
    extent = (low[0], high[0], low[1], high[1])
    panels[0].hist2d(*data.T, bins=60, range=[extent[:2], extent[2:]])
    panels[0].set_title("data")
    largest = max(np.quantile(grid, 0.999) for _, grid in grids)
    for axes, (run, grid) in zip(panels[1:], grids, strict=True):
        axes.imshow(grid, extent=extent, origin="lower", vmin=0, vmax=largest)
        axes.set_title(run.row.name)
        results = results_of(run)
        lines.append(
            {
                "norm": run.row.name,
                "blocks": _blocks(results["config"]),
                "epochs": results["epochs"],
                "test nll, nats": f"{results['test_nll']:.4f}",
                "entropy of the data": f"{results['entropy']:.4f}",
            }
        )
    for axes in panels:
        axes.set_aspect("equal")
        axes.axis("off")
    return Drawn(figure, pd.DataFrame(lines), text_tables.markdown(lines), stand_ins(runs))


def improvement(work: Work) -> Drawn:
    """Draws bits/dim with the spectral norm less those with learned orders."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    spectral, learned = (
        {run.seed: run for run in work.runs if run.row.name == row.name} for row in work.rows
    )
    series = {}
    for seed in sorted(set(spectral) & set(learned)):
        before, after = (
            likelihood(history_of(runs[seed]), "val_bits_per_dim") for runs in (spectral, learned)
        )
        series[f"seed {seed}"] = y = (before - after).dropna()
        axes.plot(y.index, y, marker=".", label=f"seed {seed}")
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set(xlabel="epochs", ylabel="improvement by learned orders (bits/dim, estimates)")
    axes.grid(alpha=0.3)
    axes.legend()
    lines = [
        {"seed": name, "epochs": int(y.index[-1]), "improvement, bits/dim": f"{y.iloc[-1]:+.4f}"}
        for name, y in series.items()
    ]
    words = (
        "Every space between the layers of a block has an order of its own, but for the first and "
        "the last, which are equal. The paper's second setup, one order in a block, is not made."
    )
    words += f"\n\n{text_tables.markdown(lines)}" if lines else ""
    return Drawn(figure, _long(series, "bits_per_dim"), words, stand_ins(work.runs))


def _last(run, metric):
    """Returns a line of how a run has ended."""
    history, results = history_of(run), results_of(run)
    values = likelihood(history, f"val_{metric}")
    return {
        "model": run.row.name,
        "seed": run.seed,
        "epochs": f"{len(values)} of {run.row.epochs or 'unknown'}",
        "seconds of training steps": f"{curves.training_seconds(history).iloc[-1]:.1f}",
        f"best validation {metric}": f"{values.min():.4f}",
        "ms a step": f"{1e3 * results['seconds_per_step']:.1f}",
    }


def _blocks(config):
    """Returns the number of residual blocks that a run's configuration names."""
    (count,) = (
        line.split(" = ")[1]
        for line in config.splitlines()
        if line.startswith("residual_flow.blocks = ")
    )
    return int(count)


def _long(series: dict[str, pd.Series], name: str) -> pd.DataFrame:
    """Returns series by epoch as one table, below each other."""
    parts: Sequence[pd.DataFrame] = [
        pd.DataFrame({"run": run, "epoch": y.index, name: y.to_numpy()})
        for run, y in series.items()
    ]
    return pd.concat(parts) if parts else pd.DataFrame(columns=["run", "epoch", name])
