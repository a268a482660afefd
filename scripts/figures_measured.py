"""Figures without runs: times, memory, and derivatives of activations."""

import time

import benchmark_cases
import benchmark_work
import memory
import numpy as np
import pandas as pd
import text_tables
from figure_work import Drawn, Work
from matplotlib.figure import Figure

_BATCH = 128
# Images of MNIST, of CIFAR-10 squeezed at once, and of CIFAR-10.
_IMAGES = {"MNIST": (28, 28, 1), "CIFAR10-small": (16, 16, 12), "CIFAR10": (32, 32, 3)}
_WORDS = {
    "series gradient": "naive backpropagation",
    "Neumann gradient": "Neumann series",
    "series, in the forward pass": "backward in forward",
    "Neumann, in the forward pass": "both",
}


def times(work: Work) -> Drawn:
    """Draws the time of a training step of one dense layer against its dimension (SNF Fig. 4)."""
    from snf_tf import Flow, layers

    sizes = [32 + 96 * k for k in (range(0, 11, 2) if work.is_smoke else range(0, 43, 3))]
    limit = {"smoke": 0.5, "minutes": 60 * work.budget.amount / (2 * len(sizes))}.get(
        work.budget.kind, 60.0
    )
    kinds = {"self normalizing": layers.SelfNormalizingDense, "exact": layers.ExactDense}
    lines = []
    for size in sizes:
        for kind, layer in kinds.items():
            step = benchmark_work.training_step(Flow([layer()], event_shape=(size,)), _BATCH)
            measured = timed(step, limit)
            lines.append(
                {
                    "gradient": kind,
                    "D": size,
                    "median_ms": float(np.median(measured)),
                    "deviation_ms": float(np.std(measured)),
                    "calls": len(measured),
                }
            )
    data = pd.DataFrame(lines)
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    fits = []
    for index, kind in enumerate(kinds):
        own = data[data["gradient"] == kind]
        axes.errorbar(
            own["D"],
            own["median_ms"],
            own["deviation_ms"],
            fmt="o",
            markersize=3,
            capsize=2,
            color=f"C{index}",
            label=kind,
        )
        large = own[own["D"] >= own["D"].max() / 4]
        exponent, factor = np.polyfit(np.log(large["D"]), np.log(large["median_ms"]), 1)
        d = np.linspace(large["D"].min(), own["D"].max(), 100)
        axes.plot(
            d, np.exp(factor) * d**exponent, color=f"C{index}", label=f"fit: D^{exponent:.2f}"
        )
        fits.append(f"{kind}: D^{exponent:.2f}")
    axes.set_ylim(0)
    axes.set(xlabel="dimension D", ylabel=f"ms a step, batch {_BATCH}")
    axes.grid(alpha=0.3)
    axes.legend()
    words = (
        f"Medians, with standard deviations, on {benchmark_cases.device()}; the paper has means on "
        f"a GeForce 1080Ti. Fits from a quarter of the largest D on: {'; '.join(fits)}."
    )
    return Drawn(figure, data, words)


def timed(call, seconds: float, least: int = 3, most: int = 4000) -> list[float]:
    """Times calls, in ms, for some seconds; the first three, which compile, are left out."""
    for _ in range(3):
        call()
    measured: list[float] = []
    end = time.perf_counter() + seconds
    while len(measured) < least or (time.perf_counter() < end and len(measured) < most):
        begun = time.perf_counter()
        call()
        measured.append(1e3 * (time.perf_counter() - begun))
    return measured


def memories(work: Work) -> Drawn:
    """Draws the memory of a training step by the way its gradient is computed (RF Fig. 3)."""
    size = dict(blocks=4, width=32, batch=16) if work.is_smoke else dict(blocks=16, batch=16)
    chosen = dict(list(_IMAGES.items())[:1]) if work.is_smoke else _IMAGES
    lines = [
        {"images": images, "gradient": words, "MiB": memory.peak(gradient, shape=shape, **size)}
        for images, shape in chosen.items()
        for gradient, words in _WORDS.items()
    ]
    data = pd.DataFrame(lines)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for index, words in enumerate(_WORDS.values()):
        own = data[data["gradient"] == words]
        bars = axes.bar(np.arange(len(own)) + 0.2 * (index - 1.5), own["MiB"], 0.2, label=words)
        axes.bar_label(bars, fontsize="x-small")
    axes.set_xticks(range(len(chosen)), list(chosen))
    axes.set_ylabel("MiB above the start")
    figure.legend(loc="outside right upper", fontsize="small", frameon=False)
    words = (
        f"Peak memory of a process in a training step, above that before it, {size['blocks']} "
        f"blocks, {size['batch']} images, series of 10 terms; the graph and what TensorFlow keeps "
        f"are in it. The paper has 64 images, on a GPU.\n\n{text_tables.markdown(lines)}"
    )
    return Drawn(figure, data, words)


def activations(work: Work) -> Drawn:
    """Draws first and second derivatives of smooth activations (RF Fig. 4)."""
    import tensorflow as tf

    from snf_tf import networks

    x = tf.linspace(-6.0, 6.0, 601)
    functions = {"Softplus": tf.nn.softplus, "ELU": tf.nn.elu, "LipSwish": networks.LipSwish()}
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    parts, lines = [], []
    for axes, (name, function) in zip(
        figure.subplots(1, len(functions), sharey=True), functions.items(), strict=True
    ):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = function(x)
            first = inner.gradient(y, x)
        second = outer.gradient(first, x)
        table = pd.DataFrame({"activation": name, "x": x, "first": first, "second": second})
        parts.append(table)
        axes.plot(table["x"], table["first"], label="first derivative")
        axes.plot(table["x"], table["second"], label="second derivative")
        axes.set(title=name, xlabel="x")
        axes.grid(alpha=0.3)
        # The second derivative where the slope is nearly the largest.
        is_steep = (table["first"] >= 0.9 * table["first"].max()) & (table["x"] <= 3)
        second = table["second"].abs()[is_steep].mean()
        lines.append(
            {
                "activation": name,
                "largest slope": f"{table['first'].max():.3f}",
                "mean size of the second derivative": f"{second:.3f}",
            }
        )
        axes.legend(fontsize="small", loc="upper left")
    words = (
        "The mean is over x up to 3 where the slope is 0.9 of its largest and more.\n\n"
        f"{text_tables.markdown(lines)}"
    )
    return Drawn(figure, pd.concat(parts), words)
