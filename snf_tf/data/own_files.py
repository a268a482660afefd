"""Data of one's own: arrays, tables and folders of images."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gin
import numpy as np
import pandas as pd

from snf_tf._checks import check_array_seed, check_path
from snf_tf.data.archives import first_image_shape, image_parts, is_image
from snf_tf.data.dataset import Dataset
from snf_tf.data.limits import check_content, require_files
from snf_tf.data.npz import read_large_npz
from snf_tf.data.splits import Split, Splits, random_splits
from snf_tf.data.storage import Storage
from snf_tf.data.stored import StoredArray
from snf_tf.data.tables import read_csv, require_finite
from snf_tf.data.tfrecords import read_records

_PARTS = ("train", "validation", "test")
_TABLES = (".csv", ".parquet")
_RECORDS = (".tfrecord", ".tfrecords")
_KINDS = "a .npy, .npz, .csv, .parquet or .tfrecord file, or a folder of images or shards"


class _Raw(NamedTuple):
    """What a file holds, as it is there; columns are the names of a table's."""

    x: np.ndarray | StoredArray
    y: np.ndarray | None = None
    context: np.ndarray | StoredArray | None = None
    columns: list[str] | None = None


@gin.configurable
def load_files(
    path: str | os.PathLike,
    label: str | None = None,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    memory_limit: int | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Loads data of your own: arrays, a table, or images.

    - `.npy`: x, `(N,) + event_shape`.
    - `.npz`: `x` and, where there are any, `y`, labels `(N,)`, and `context`, `(N, ...)`.
    - `.csv`, `.parquet`: a table of numbers with named columns. Parquet needs pyarrow.
    - `.tfrecord`: records of `tf.train.Example` with `x` and, where there are any, `y` and
      `context`: numbers, a tensor of `tf.io.serialize_tensor`, or of x a PNG or JPEG image.
    - A folder of `.npy` or `.tfrecord` files: the shards of one array, in the order of their names.
    - A folder of PNG or JPEG images of one size, all grey or all of three colours; transparency is
      left out. The names of its sub-folders are the labels of the images in them.

    The splits may be given: in an `.npz` as `train`, `validation` and `test`, with `train_labels`,
    `train_context` and so on; or in a folder of these names that are files of one kind above, such
    as `train.csv`, or folders of images. Else the examples are split at random.

    Bytes stay bytes, for `Dequantize`; other numbers become float32. Labels may be integers or
    strings; classes are numbered in their order.

    What is more than memory_limit stays on disk, tables alone do not. Shards and `.npy` files are
    read where they are; other kinds are first written to cache_dir, once.

    Args:
        path: Of the file or the folder.
        label: Of a table: the column that holds the label.
        fractions: Of training, validation and test, where the splits are not given.
        seed: Of the random splits.
        memory_limit: As in `load_dataset`.
        cache_dir: As there.

    Raises:
        FileNotFoundError: If there is no such path.
        ValueError: If the file is of no such kind, is damaged, or has missing values; if columns
            are no numbers, or images differ in size; if fractions are none.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/points.csv"
        >>> with open(path, "w") as file:
        ...     _ = file.write("a,b,kind\\n" + "1,2,cat\\n" * 10 + "3,4.5,dog\\n" * 10)
        >>> data = snf_tf.data.load_files(path, label="kind")
        >>> data.event_shape, data.classes, data.sizes
        ((2,), 2, {'train': 16, 'validation': 2, 'test': 2})
    """
    check_array_seed(seed)
    path = Path(check_path("path", path)).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"There is no such file or folder. Received: path={path}")
    require_files(path)
    storage = Storage(memory_limit, cache_dir)
    given = _given_splits(path, label, storage)
    parts, classes = _with_classes(_arrays(given or {"x": _read(path, label, storage)}, path))
    splits: Splits
    if given:
        splits = (parts["train"], parts["validation"], parts["test"])
    else:
        splits = random_splits(parts["x"], fractions, seed)
    return Dataset.of(path.name, "files", splits, classes=classes)


def _with_classes(parts: dict[str, Split]) -> tuple[dict[str, Split], int | None]:
    """Numbers the labels of all parts together; returns how many classes there are."""
    labels = {name: part.labels for name, part in parts.items() if part.labels is not None}
    if not labels:
        return parts, None
    classes = np.unique(np.concatenate(list(labels.values())))
    numbers = {name: np.searchsorted(classes, y).astype(np.int32) for name, y in labels.items()}
    numbered = {
        name: Split(part.examples, numbers[name], part.context) for name, part in parts.items()
    }
    return numbered, len(classes)


def _given_splits(path: Path, label: str | None, storage: Storage) -> dict[str, _Raw]:
    """Reads splits that are given; empty where there are none."""
    found: dict[str, Path] = {}
    if path.is_dir():
        for part in _PARTS:
            names = [file for file in sorted(path.iterdir()) if _part_of(file) == part]
            if len(names) > 1:
                raise ValueError(f"{path} must hold one {part}. Received: {len(names)} of them")
            if names:
                found[part] = names[0]
        splits = {part: _read(file, label, storage) for part, file in found.items()}
        splits = {part: _with_files_beside(splits[part], found[part], storage) for part in splits}
    elif path.suffix == ".npz" and "train" in (arrays := read_large_npz(path, storage)):
        splits = {
            part: _Raw(arrays[part], arrays.get(f"{part}_labels"), arrays.get(f"{part}_context"))
            for part in _PARTS
            if part in arrays
        }
    else:
        return {}
    if splits and (missing := set(_PARTS) - set(splits)):
        raise ValueError(
            f"Splits that are given are train, validation and test. "
            f"Received: {path} without {' and '.join(sorted(missing))}"
        )
    return splits


def _with_files_beside(raw: _Raw, path: Path, storage: Storage) -> _Raw:
    """Adds the labels and contexts of the files `train_labels.npy`, `train_context.npy`."""
    files = {name: path.with_name(f"{path.stem}_{name}.npy") for name in ("labels", "context")}
    found = {name: storage.read_npy(file) for name, file in files.items() if file.is_file()}
    if "labels" in found:
        raw = raw._replace(y=np.asarray(found["labels"]))
    return raw._replace(context=found["context"]) if "context" in found else raw


def _part_of(file: Path) -> str | None:
    is_one = file.is_dir() or file.suffix in (".npy", ".npz", *_RECORDS, *_TABLES)
    return file.stem if is_one and file.stem in _PARTS else None


def _read(path: Path, label: str | None, storage: Storage) -> _Raw:
    if label is not None and path.suffix not in _TABLES:
        raise ValueError(
            f"label is the name of a column, and {path} is no table. Received: label={label!r}"
        )
    if path.is_dir():
        return _read_folder(path, storage)
    if path.suffix == ".npy":
        return _Raw(storage.read_npy(path))
    if path.suffix in _RECORDS:
        return _Raw(**read_records([path], storage))
    if path.suffix == ".npz":
        arrays = read_large_npz(path, storage)
        if "x" not in arrays:
            raise ValueError(
                f"{path} must hold x, or train, validation and test. Received: {', '.join(arrays)}"
            )
        return _Raw(arrays["x"], arrays.get("y"), arrays.get("context"))
    if path.suffix in _TABLES:
        return _read_table(path, label)
    raise ValueError(f"path must be {_KINDS}. Received: path={path}")


def _read_table(path: Path, label: str | None) -> _Raw:
    if path.suffix == ".csv":
        table = read_csv(path)
        if all(_is_number(name) for name in table.columns):
            raise ValueError(
                f"{path} must begin with a line of the columns' names. "
                f"Received: {', '.join(table.columns[:10])}"
            )
    else:
        try:
            from pyarrow import parquet

            size = parquet.read_metadata(path)
            check_content(path, 8 * size.num_rows * size.num_columns, path.stat().st_size)
            table = pd.read_parquet(path)
        except ImportError as error:
            raise ValueError(
                f"To read Parquet, pandas needs pyarrow: pip install pyarrow. Received: {path}"
            ) from error
        # pyarrow raises errors of many kinds.
        except Exception as error:
            raise ValueError(f"{path} is damaged, or no Parquet file: {error}") from error
    y = None
    if label is not None:
        if label not in table.columns:
            raise ValueError(
                f"label must be a column of {path}, {', '.join(map(str, table.columns))}. "
                f"Received: label={label!r}"
            )
        y = table.pop(label)
        if y.isna().any():
            raise ValueError(f"{y.isna().sum()} labels are missing in {path}, column {label!r}")
        y = y.to_numpy() if pd.api.types.is_numeric_dtype(y) else y.astype(str).to_numpy(str)
    columns = [str(column) for column in table.columns]
    is_number = [pd.api.types.is_numeric_dtype(table[column]) for column in table.columns]
    if not all(is_number):
        names = [name for name, good in zip(columns, is_number, strict=True) if not good]
        raise ValueError(
            f"All columns of {path} but that of the label must be numbers. "
            f"Received: text or dates in {', '.join(names)}"
        )
    return _Raw(table.to_numpy(np.float64, na_value=np.nan), y, columns=columns)


def _is_number(name: Any) -> bool:
    # pandas numbers equal names: "1.5", "1.5.1".
    try:
        float(".".join(str(name).split(".")[:2]))
    except ValueError:
        return False
    return True


def _read_folder(path: Path, storage: Storage) -> _Raw:
    files = sorted(file for file in path.iterdir() if not file.name.startswith("."))
    if shards := [file for file in files if file.suffix == ".npy"]:
        return _Raw(storage.load(shards))
    if shards := [file for file in files if file.suffix in _RECORDS]:
        return _Raw(**read_records(shards, storage))
    folders = [folder for folder in files if folder.is_dir()]
    shape = first_image_shape(folders[0] if folders else path)
    if folders and (loose := [file.name for file in files if is_image(file.name)]):
        raise ValueError(
            f"{path} must hold images, or sub-folders of them, not both. Received: {loose[0]} "
            f"beside the folder {folders[0].name}"
        )

    def parts():
        for folder in folders or [path]:
            yield from image_parts(folder, shape, channels=0)

    # Not in the folder, where the cache would be one of the sub-folders.
    images = storage.keep(f"{path.name}-images", parts, [path])
    if not folders:
        return _Raw(images)
    counts = [sum(is_image(file.name) for file in folder.iterdir()) for folder in folders]
    return _Raw(images, np.repeat([folder.name for folder in folders], counts))


def _arrays(raws: dict[str, _Raw], path: Path) -> dict[str, Split]:
    """Returns what was read as arrays of the right dtypes, after checking that they fit."""
    first = next(iter(raws.values()))
    splits = {}
    for name, raw in raws.items():
        if raw.x.ndim < 2 or raw.x.dtype.kind not in "fiub":
            raise ValueError(
                f"{path} must hold numbers {name} of shape (N,) + event_shape. "
                f"Received: shape={raw.x.shape}, dtype={raw.x.dtype}"
            )
        if raw.x.shape[1:] != first.x.shape[1:] or raw.columns != first.columns:
            raise ValueError(
                f"All splits of {path} must have examples of one shape, and the same columns. "
                f"Received: {name} of shape {raw.x.shape}, columns {raw.columns}, where others "
                f"have {first.x.shape}, {first.columns}"
            )
        has = [(part.y is None, part.context is None) for part in (raw, first)]
        if has[0] != has[1]:
            raise ValueError(f"Either all splits of {path} have labels and contexts, or none has.")
        y, context = raw.y, raw.context
        if y is not None and y.dtype.kind == "f" and (y == np.round(y)).all():
            y = y.astype(np.int64)
        if y is not None and y.dtype.kind not in "iubU":
            raise ValueError(
                "Labels must be integers or strings; numbers of another kind are a context. "
                f"Received: dtype={y.dtype} in {path}"
            )
        x = require_finite(raw.x, f"{name} of {path}", raw.columns)
        x = x if x.dtype == np.uint8 else x.astype(np.float32)
        if context is not None:
            if context.dtype.kind not in "fiub":
                raise ValueError(
                    f"context of {name} must be numbers. Received: dtype={context.dtype} in {path}"
                )
            context = require_finite(context, f"context of {name} of {path}")
            context = context.astype(np.float32)
        splits[name] = Split(x, y, context)
    return splits
