"""Loads one of the known data sets, from the best source at hand."""

import os
import warnings
from pathlib import Path

import gin

from snf_tf._checks import check_choice, check_path
from snf_tf.data.celeba import CELEBA64, CELEBA_HQ256
from snf_tf.data.cifar10 import CIFAR10
from snf_tf.data.dataset import Dataset
from snf_tf.data.embedded_tables import EMBEDDED_TABLES
from snf_tf.data.imagenet import IMAGENET
from snf_tf.data.mnist import MNIST
from snf_tf.data.natural_patches import NATURAL_PATCHES
from snf_tf.data.own_files import load_files
from snf_tf.data.published_tables import PUBLISHED_TABLES
from snf_tf.data.sources import Sources
from snf_tf.data.splits import Splits
from snf_tf.data.storage import Storage
from snf_tf.data.svhn import SVHN
from snf_tf.data.toy2d import TOY2D

_DATASETS: dict[str, Sources] = {
    "mnist": MNIST,
    "cifar10": CIFAR10,
    "svhn": SVHN,
    **IMAGENET,
    "celeba64": CELEBA64,
    "celeba_hq256": CELEBA_HQ256,
    "natural_patches": NATURAL_PATCHES,
    **TOY2D,
    **PUBLISHED_TABLES,
    **EMBEDDED_TABLES,
}
_SOURCES = ("auto", "tfds", "files", "embedded")


@gin.configurable
def load_dataset(
    name: str = "mnist",
    source: str = "auto",
    data_dir: str | os.PathLike | None = None,
    path: str | os.PathLike | None = None,
    memory_limit: int | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Loads a data set.

    Splits that do not fit into memory are read from disk as they are needed. No number changes by
    it, and no order of examples: see `snf_tf.data.StoredArray`, and docs/data.md.

    Images are uint8, `(H, W, C)`, and vectors are float32. Sizes are of training, validation and
    test.

    - "mnist": 28 x 28 x 1, 50000/10000/10000, 10 classes. Files: the gzipped idx files. There are
      no labels where data_dir has images alone. Embedded: 4000/500/500.
    - "cifar10": 32 x 32 x 3, 40000/10000/10000, 10 classes. Files: `cifar-10-python.tar.gz` or
      `cifar-10-binary.tar.gz`.
    - "svhn": 32 x 32 x 3, 63257/10000/26032, 10 classes. Files: `train_32x32.mat` and
      `test_32x32.mat`.
    - "imagenet32", "imagenet64": 32 x 32 x 3 and 64 x 64 x 3, 1261149/20000/50000. Files, at 64:
      `train_64x64.tar` and `valid_64x64.tar`; `train_data_batch_1.npz` and so on with
      `val_data.npz`; or these as `Imagenet64_train_part1.zip`, `Imagenet64_train_part2.zip` and
      `Imagenet64_val.zip`, or the same names with `_npz`. At 32 the names have 32, and
      `Imagenet32_train.zip` has one part.
    - "celeba64": 64 x 64 x 3, 162770/19867/19962: the central 148 x 148 pixels of the aligned
      images, averaged by area to 64 x 64. Values are reduced to 5 bits, `value // 8`, 0..31: a flow
      begins with `Dequantize(bins=32)`, and bits/dim are of these values. Files:
      `img_align_celeba.zip` and `list_eval_partition.txt`.
    - "celeba_hq256": 256 x 256 x 3, 24000/3000/3000, of 5 bits as well. Files: PNG or JPEG images
      in `data256x256.tar`, in `data256x256.zip`, or in a folder `data256x256`; by their names the
      last tenth is for the test, and the tenth before for validation. TFDS does not download it.
    - "natural_patches": patches of two photographs, 32 x 32 x 3, 6100/500/500, 2 classes: the
      number of the photograph. As "cifar10" or "svhn" they count as 10 classes.
    - "toy2d/NAME": a density on the plane, 10000/2000/5000. NAME is gaussian, banana, funnel,
      swissroll, circles, rings, moons, 8gaussians, pinwheel, 2spirals, checkerboard, line or cos;
      or conditional, a normal whose moments depend on a context `(1,)`.
    - "tabular/power", `(6,)`, 1659917/184435/204928; "tabular/gas", `(8,)`, 852174/94685/105206;
      "tabular/hepmass", `(21,)`, 315123/35013/174987; "tabular/miniboone", `(43,)`,
      29556/3284/3648; "tabular/bsds300", `(63,)`, 1000000/50000/250000: the tables of Papamakarios
      et al. (2017), prepared and scaled as there. Files alone, those of their archive:
      `power/data.npy`, `gas/ethylene_CO.pickle` or the same table as `.csv`,
      `hepmass/1000_train.csv` and `hepmass/1000_test.csv`, `miniboone/data.npy`,
      `BSDS300/BSDS300.hdf5`. Of the pickle nothing but a table of numbers is read.
    - "tabular/breast_cancer", `(30,)`, 398/86/85, 2 classes; "tabular/wine", `(13,)`, 125/26/27,
      3 classes; "tabular/diabetes", `(10,)`, 309/67/66: tables of scikit-learn in their own units,
      split at random by the seed 0. Embedded alone.
    - "digits": 8 x 8 x 1, 1258/269/270, 10 classes, values 0..16: a flow begins with
      `Dequantize(bins=17)`. The digits of scikit-learn, split as its tables. Embedded alone.
    - "files": data of your own at `path`; see `load_files`.

    Args:
        name: One of the names above.
        source: "tfds": TensorFlow Datasets, which downloads the data set where needed. "files": the
            original files in data_dir. "embedded": a small set of the same kind, which comes with
            an installed package. Of images, packages bring digits of MNIST alone: natural_patches
            of the same size and bits replace the others, and the Dataset has this name. "auto":
            TFDS where it is prepared, else the files where they are. Else a download if the host
            answers within 3 s, else embedded, with a warning.
        data_dir: Directory of the files, or of TFDS; None is TFDS' own.
        path: Of "files" alone: the file or folder, where it is relative in data_dir.
        memory_limit: Bytes of the largest array that is kept in memory; None: a quarter of what
            this process may take.
        cache_dir: Directory of files for what is larger, where the original files cannot be read
            row by row; None: `snf_tf_cache` beside them.

    Returns:
        A Dataset; its `source` names the source.

    Raises:
        ValueError: If name or source is unknown, a file is damaged or has missing values, or no
            package brings the data set.
        FileNotFoundError: If data_dir lacks the files, or TFDS the data set that it does not
            download.
        ConnectionError: If a download is needed and the host does not answer.

    Example:
        >>> data = snf_tf.data.load_dataset("mnist", source="embedded")
        >>> data.sizes
        {'train': 4000, 'validation': 500, 'test': 500}
        >>> data.train.shape, data.train_labels.shape, data.classes
        ((4000, 28, 28, 1), (4000,), 10)
    """
    check_choice("name", name, (*_DATASETS, "files"))
    check_choice("source", source, _SOURCES)
    check_path("data_dir", data_dir, optional=True)
    check_path("path", path, optional=True)
    directory = None if data_dir is None else Path(data_dir).expanduser()
    if directory is not None and source in ("auto", "files") and not directory.is_dir():
        raise FileNotFoundError(f"data_dir is not a directory. Received: data_dir={data_dir}")
    if (name == "files") != (path is not None):
        raise ValueError(
            'name="files" needs path, and no other name takes it. '
            f"Received: name={name!r}, path={path!r}"
        )
    if path is not None:
        if source not in ("auto", "files"):
            raise ValueError(f'name="files" has files alone. Received: source={source!r}')
        given = {"memory_limit": memory_limit, "cache_dir": cache_dir}
        given = {option: value for option, value in given.items() if value is not None}
        return load_files(path if directory is None else directory / path, **given)
    storage = Storage(memory_limit, cache_dir)
    sources = _DATASETS[name]
    if source == "auto":
        source, splits = _load_auto(name, sources, directory, storage)
    elif source == "tfds":
        splits = sources.read_tfds(directory, storage)
    elif source == "files":
        splits = sources.read_files(directory, storage)
    else:
        splits = sources.read_embedded()
    if source == "embedded" and sources.embedded_name is not None:
        warnings.warn(
            f"The data are {sources.embedded_name}, not {name}, which comes with no package.",
            stacklevel=2,
        )
        name = sources.embedded_name
    classes = None if splits[0].labels is None else sources.classes
    return Dataset.of(name, source, splits, entropy=sources.entropy, classes=classes)


def _load_auto(
    name: str, sources: Sources, data_dir: Path | None, storage: Storage
) -> tuple[str, Splits]:
    if sources.is_prepared(data_dir):
        return "tfds", sources.read_tfds(data_dir, storage)
    if len(sources.missing_files(data_dir)) < len(sources.files):
        return "files", sources.read_files(data_dir, storage)
    if sources.tfds_name is None:
        # Nothing but files: what is missing is said.
        if sources.embedded is None:
            return "files", sources.read_files(data_dir, storage)
        return "embedded", sources.read_embedded()
    try:
        return "tfds", sources.read_tfds(data_dir, storage)
    except Exception as error:  # TFDS raises what its download library raises.
        reason = error
    warnings.warn(
        f"{name} is not on this machine and could not be downloaded ({reason}). The small "
        "embedded set is used instead; for the whole one give "
        'load_dataset.source="files" and load_dataset.data_dir=DIRECTORY.',
        stacklevel=3,
    )
    return "embedded", sources.read_embedded()
