"""Pictures of a run, as PNG files."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import MaxNLocator


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


def save_grid(path: Path, images: np.ndarray, columns: int = 8) -> None:
    """Writes images `(N, H, W, 1 or 3)` with values in 0..256 as one PNG file, pixel by pixel,
    `columns` in a row.
    """
    pixels = np.clip(np.floor(tile(images, columns)), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    imsave(path, pixels.repeat(3, axis=2) if pixels.shape[2] == 1 else pixels)


def plot_images(path: Path, panels: Mapping[str, np.ndarray], columns: int = 8) -> None:
    """Draws grids of images side by side.

    Args:
        path: PNG file to write.
        panels: Title -> images `(N, H, W, 1 or 3)` with values in 0..256.
        columns: Columns of each grid.
    """
    figure = Figure(figsize=(4 * len(panels), 4.3), dpi=120, layout="tight")
    for axes, (title, images) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        axes.imshow(np.clip(tile(images, columns) / 255, 0, 1), cmap="gray", vmin=0, vmax=1)
        axes.set_title(title)
        axes.axis("off")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def plot_history(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Draws the nll of training and validation against epochs; says whether it is exact.

    Args:
        path: PNG file to write.
        history: One mapping an epoch, with `epoch`, `val_nll` and `train_nll`, or
            `val_nll_estimate` and `train_nll_estimate`.
    """
    figure = Figure(figsize=(6, 4), dpi=120, layout="tight")
    axes = figure.subplots()
    name = "nll" if "val_nll" in history[0] else "nll_estimate"
    for key, label in ((f"train_{name}", "train (subset)"), (f"val_{name}", "validation")):
        axes.plot(
            [row["epoch"] for row in history],
            [row[key] for row in history],
            marker=".",
            label=label,
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"{'exact nll' if name == 'nll' else 'nll, estimate'} (nats)")
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
