"""Pictures of a run, as PNG files."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import MaxNLocator

from snf_tf.flow import Flow


def tile(images: np.ndarray, columns: int) -> np.ndarray:
    """Tiles images `(N, H, W, C)` to one `(rows H, columns W, C)`, row by row; what is left of the
    last row is black.

    Example:
        >>> tile(np.ones((5, 2, 3, 1)), columns=3).shape
        (4, 9, 1)
    """
    count, height, width, channels = images.shape
    rows = math.ceil(count / columns)
    padded = np.zeros((rows * columns, height, width, channels))
    padded[:count] = images
    return (
        padded.reshape(rows, columns, height, width, channels)
        .swapaxes(1, 2)
        .reshape(rows * height, -1, channels)
    )


def pixel_values(flow: Flow) -> int:
    """Returns the number of values of a pixel: the bins of the flow's first layer, or else 256.

    Example:
        >>> flow = snf_tf.models.residual_flow((4, 4, 3), blocks=1, scales=1, widths=(2,), bins=32)
        >>> pixel_values(flow)
        32
    """
    first = flow.leaves()[0]
    return getattr(first, "bins", 256) if first.dequantizes else 256


def save_grid(path: Path, images: np.ndarray, columns: int = 8, values: int = 256) -> None:
    """Writes images `(N, H, W, 1 or 3)` as one PNG file, pixel by pixel.

    Args:
        path: PNG file to write.
        images: With values in [0, values).
        columns: Images in a row.
        values: Number of values of a pixel: 32 for images of 5 bits. The largest is white.
    """
    bins = np.clip(np.floor(tile(images, columns)), 0, values - 1)
    pixels = np.round(255 / (values - 1) * bins).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    imsave(path, pixels.repeat(3, axis=2) if pixels.shape[2] == 1 else pixels)


def plot_images(
    path: Path, panels: Mapping[str, np.ndarray], columns: int = 8, values: int = 256
) -> None:
    """Draws grids of images side by side.

    Args:
        path: PNG file to write.
        panels: Title -> images `(N, H, W, 1 or 3)` with values in [0, values).
        columns: Columns of each grid.
        values: Number of values of a pixel: 32 for images of 5 bits. The largest is white.
    """
    figure = Figure(figsize=(4 * len(panels), 4.3), dpi=120, layout="tight")
    for axes, (title, images) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        shades = np.clip(tile(images, columns) / (values - 1), 0, 1)
        axes.imshow(shades, cmap="gray", vmin=0, vmax=1)
        axes.set_title(title)
        axes.axis("off")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def plot_history(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Draws the nll of training and validation against epochs; says whether it is exact.

    Args:
        path: PNG file to write.
        history: One mapping an epoch, with `epoch`, `val_nll` and `train_nll`, or with the
            names of estimates or bounds.
    """
    figure = Figure(figsize=(6, 4), dpi=120, layout="tight")
    axes = figure.subplots()
    names = {"nll": "exact nll", "nll_estimate": "nll, estimate", "nll_bound": "nll, bound"}
    name = next(name for name in names if f"val_{name}" in history[0])
    for key, label in ((f"train_{name}", "train (subset)"), (f"val_{name}", "validation")):
        axes.plot(
            [row["epoch"] for row in history],
            [row[key] for row in history],
            marker=".",
            label=label,
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"{names[name]} (nats)")
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
