"""Loads one of the known data sets, from the best source at hand."""

import os
import warnings
from pathlib import Path

import gin

from snf_tf.data.cifar10 import CIFAR10
from snf_tf.data.dataset import Dataset
from snf_tf.data.imagenet32 import IMAGENET32
from snf_tf.data.mnist import MNIST
from snf_tf.data.natural_patches import NATURAL_PATCHES
from snf_tf.data.sources import Sources, Splits
from snf_tf.data.toy2d import TOY2D

_DATASETS: dict[str, Sources] = {
    "mnist": MNIST,
    "cifar10": CIFAR10,
    "imagenet32": IMAGENET32,
    "natural_patches": NATURAL_PATCHES,
    **TOY2D,
}
_SOURCES = ("auto", "tfds", "files", "embedded")


@gin.configurable
def load_dataset(
    name: str = "mnist", source: str = "auto", data_dir: str | os.PathLike | None = None
) -> Dataset:
    """Loads a data set.

    Args:
        name: "mnist", "cifar10", "imagenet32", "natural_patches", or a density on the plane:
            "toy2d/gaussian", "toy2d/banana", "toy2d/funnel", "toy2d/checkerboard".
        source: "tfds": TensorFlow Datasets, which downloads the data set where needed. "files": the
            original files in data_dir. "embedded": a small set of the same kind, which comes with
            an installed package. No package brings cifar10 or imagenet32: natural_patches replaces
            them, and the Dataset has its name. "auto": TFDS where it is prepared, else the files
            where they are. Else a download if the host answers within 3 s, else embedded, with a
            warning.
        data_dir: Directory of the files, or of TFDS; None is TFDS' own.

    Returns:
        A Dataset; its `source` names the source.

    Raises:
        ValueError: If name or source is unknown, a file is damaged, or no package brings the data
            set.
        FileNotFoundError: If data_dir lacks the files.
        ConnectionError: If a download is needed and the host does not answer.

    Example:
        >>> data = snf_tf.data.load_dataset("mnist", source="embedded")
        >>> data.sizes
        {'train': 4000, 'validation': 500, 'test': 500}
    """
    if name not in _DATASETS:
        raise ValueError(
            f"name must be one of {', '.join(map(repr, _DATASETS))}. Received: name={name!r}"
        )
    if source not in _SOURCES:
        raise ValueError(
            f"source must be one of {', '.join(map(repr, _SOURCES))}. Received: source={source!r}"
        )
    directory = None if data_dir is None else Path(data_dir).expanduser()
    if directory is not None and source in ("auto", "files") and not directory.is_dir():
        raise FileNotFoundError(f"data_dir is not a directory. Received: data_dir={data_dir}")
    sources = _DATASETS[name]
    if source == "auto":
        source, splits = _load_auto(name, sources, directory)
    elif source == "tfds":
        splits = sources.read_tfds(directory)
    elif source == "files":
        splits = sources.read_files(directory)
    else:
        splits = sources.read_embedded()
    if source == "embedded" and sources.embedded_name is not None:
        warnings.warn(
            f"The data are {sources.embedded_name}, not {name}, which comes with no package.",
            stacklevel=2,
        )
        name = sources.embedded_name
    return Dataset(name, source, *splits, entropy=sources.entropy)


def _load_auto(name: str, sources: Sources, data_dir: Path | None) -> tuple[str, Splits]:
    if sources.is_prepared(data_dir):
        return "tfds", sources.read_tfds(data_dir)
    if len(sources.missing_files(data_dir)) < len(sources.files):
        return "files", sources.read_files(data_dir)
    if sources.tfds_name is None:
        return "embedded", sources.read_embedded()
    try:
        return "tfds", sources.read_tfds(data_dir)
    except Exception as error:  # TFDS raises what its download library raises.
        reason = error
    warnings.warn(
        f"{name} is not on this machine and could not be downloaded ({reason}). The small "
        "embedded set is used instead; for the whole one give "
        'load_dataset.source="files" and load_dataset.data_dir=DIRECTORY.',
        stacklevel=3,
    )
    return "embedded", sources.read_embedded()
