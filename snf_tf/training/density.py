"""Draws a flow on the plane: data, samples, and density side by side."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from snf_tf.data import StoredArray
from snf_tf.flow import Flow

_CELLS = 200
_POINTS = 5000
_DRAWS = 8
_BATCH = 10_000


def density_figure(flow: Flow, data: np.ndarray | StoredArray) -> Figure:
    """Draws data, as many samples by the exact inverse, and the density on a grid.

    The three panels have the range of the data. The density is exact where the flow's `log_prob`
    is; elsewhere its title says estimate.

    Args:
        flow: A flow on vectors `(2,)`.
        data: `(N, 2)`; the first 5,000 are drawn.

    Example:
        >>> flow = snf_tf.Flow([snf_tf.layers.SmoothTanh()], event_shape=(2,))
        >>> data = np.random.default_rng(0).normal(size=(50, 2)).astype("float32")
        >>> figure = density_figure(flow, data)
        >>> [axes.get_title() for axes in figure.axes]
        ['data', 'samples', 'density']
    """
    data = data[:_POINTS]
    samples = flow.sample(len(data), exact=True, seed=0).numpy()
    low, high = data.min(axis=0), data.max(axis=0)
    figure = Figure(figsize=(12, 4.3), dpi=120, layout="tight")
    panels = figure.subplots(1, 3)
    for axes, title, points in zip(panels, ("data", "samples"), (data, samples), strict=False):
        axes.scatter(*points.T, s=1, linewidths=0)
        axes.set_title(title)
    is_exact = flow.log_det_kind == "exact"
    panels[2].imshow(
        density_grid(flow, low, high),
        extent=(low[0], high[0], low[1], high[1]),
        origin="lower",
        aspect="auto",
    )
    panels[2].set_title("density" if is_exact else "density (estimate)")
    for axes in panels:
        axes.set_xlim(low[0], high[0])
        axes.set_ylim(low[1], high[1])
    return figure


def save_density(path: Path, flow: Flow, data: np.ndarray | StoredArray) -> None:
    """Writes `density_figure` as a PNG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    density_figure(flow, data).savefig(path)


def log_density(directory: Path, flow: Flow, data: np.ndarray | StoredArray, epoch: int) -> None:
    """Writes `density_figure` to TensorBoard's logs in a directory, at a step `epoch`."""
    canvas = FigureCanvasAgg(density_figure(flow, data))
    canvas.draw()
    writer = tf.summary.create_file_writer(str(directory))
    with writer.as_default():
        tf.summary.image("density", np.asarray(canvas.buffer_rgba())[None], step=epoch)
    writer.close()


def density_grid(flow: Flow, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Computes the density at the middles of the cells of a rectangle.

    Args:
        flow: A flow on vectors `(2,)`.
        low: `(2,)`, the corner of the rectangle with the least coordinates.
        high: `(2,)`, that with the largest.

    Returns:
        `(200, 200)`, rows upwards; an estimate unless the flow's `log_det_kind` is "exact".

    Example:
        >>> flow = snf_tf.Flow([snf_tf.layers.SmoothTanh()], event_shape=(2,))
        >>> density_grid(flow, np.zeros(2, "float32"), np.ones(2, "float32")).shape
        (200, 200)
    """
    middles = (np.arange(_CELLS) + 0.5) / _CELLS
    x, y = (a + (b - a) * middles for a, b in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(low.dtype)
    if flow.log_det_kind == "exact":
        log_prob = flow.log_prob(grid, batch_size=_BATCH)
    else:
        log_prob = flow.estimate_log_prob(grid, draws=_DRAWS, seed=0, batch_size=_BATCH).mean
    return np.exp(log_prob.numpy()).reshape(_CELLS, _CELLS)
