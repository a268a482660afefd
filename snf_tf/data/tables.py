"""Tables of numbers: read from files, and refused where values are missing."""

import math
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from snf_tf.data.limits import check_content
from snf_tf.data.splits import Split, Splits
from snf_tf.data.stored import StoredArray


def read_csv(path: Path) -> pd.DataFrame:
    """Reads a CSV file with a line of names.

    Raises:
        ValueError: If the file cannot be read.
    """
    try:
        # Without an index: lines that end with a comma would move all columns.
        return pd.read_csv(path, index_col=False, skipinitialspace=True)
    # All that pandas raises for a damaged file.
    except (ValueError, OverflowError, MemoryError) as error:
        raise ValueError(f"{path} is damaged, or no CSV table: {error}") from error


def read_array(path: Path, columns: int | None = None) -> np.ndarray:
    """Reads a .npy file of shape `(N, columns)`, in float64.

    Raises:
        ValueError: If the file is damaged, or holds anything else.
    """
    data = read_npy(path)
    if data.ndim != 2 or data.dtype.kind not in "fiu" or columns not in (None, data.shape[1]):
        raise ValueError(
            f"{path} must hold numbers of shape (N, {columns or 'columns'}). "
            f"Received: shape={data.shape}, dtype={data.dtype}"
        )
    return require_finite(data.astype(np.float64), str(path))


def read_npy(path: Path) -> np.ndarray:
    """Reads a .npy file.

    Raises:
        ValueError: If the file is damaged, or shorter than its header says.
    """
    # A map of the file refuses a shape that does not fit before memory is taken.
    return np.array(map_npy(path))


def map_npy(path: Path) -> np.ndarray:
    """Maps a .npy file into memory; errors are those of `read_npy`."""
    try:
        data = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(data, np.ndarray):
            return data
        reason: Any = "it holds several arrays"
    # A damaged header raises errors of many kinds.
    except Exception as error:
        reason = error
    raise ValueError(f"{path} is damaged, or no .npy file of numbers: {reason}")


def read_npz(
    file: Path | IO[bytes], path: Path, stored: int, names: Iterable[str] | None = None
) -> dict[str, np.ndarray]:
    """Reads the arrays of an .npz file.

    Args:
        file: The file, or its path.
        path: Its path, for messages.
        stored: Its size.
        names: Of the arrays; None: all.

    Raises:
        ValueError: If the file is damaged, lacks an array, or holds far more than its size.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            found = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            found = {name: found[name] for name in names or found}
            sizes = [max(info.file_size, _claimed(archive, info)) for info in found.values()]
            check_content(path, sum(sizes), stored)
            return {name: _read_member(archive, info) for name, info in found.items()}
    # A damaged zip raises errors of many kinds.
    except Exception as error:
        raise ValueError(f"{path} is damaged, or holds no arrays of numbers: {error}") from error


def _claimed(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
    """Returns how many bytes an array has, by its header."""
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
            version, np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(member)
    return math.prod(shape) * dtype.itemsize


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def splits_of(path: Path, train: np.ndarray, validation: np.ndarray, test: np.ndarray) -> Splits:
    """Returns float32 splits of a file without labels, after checking that no value is missing."""
    parts = {"train": train, "validation": validation, "test": test}
    train, validation, test = (
        require_finite(part, f"{name} of {path}").astype(np.float32) for name, part in parts.items()
    )
    return Split(train), Split(validation), Split(test)


def require_finite(values: Any, name: str, columns: Any = None) -> Any:
    """Returns values, in memory or stored, after checking that all are finite, and so in float32.

    Args:
        values: `(N, ...)`.
        name: What they are, for the message.
        columns: Names of the columns of a table, for the message; None: their numbers.

    Raises:
        ValueError: If a value is NaN or infinite.

    Example:
        >>> require_finite(np.array([[1.0, np.nan]]), "train", ["a", "b"])
        Traceback (most recent call last):
        ...
        ValueError: A flow has no density for missing values: leave these rows or columns out, or \
fill them and give the mask as a context (docs/data.md). Received: in train 1 of 2 values NaN or \
infinite, in columns b
    """
    if values.dtype.kind != "f":
        return values
    if isinstance(values, StoredArray):
        for part in values.parts():
            require_finite(part, name, columns)
        return values
    with np.errstate(over="ignore"):
        finite = np.isfinite(values.astype(np.float32, copy=False))
    if finite.all():
        return values
    where = ""
    if values.ndim == 2:
        bad = np.flatnonzero(~finite.all(axis=0))
        names = [str(column if columns is None else columns[column]) for column in bad]
        where = f", in columns {', '.join(names[:10])}" + (" ..." if len(names) > 10 else "")
    raise ValueError(
        "A flow has no density for missing values: leave these rows or columns out, or fill them "
        "and give the mask as a context (docs/data.md). Received: in "
        f"{name} {(~finite).sum()} of {values.size} values NaN or infinite{where}"
    )
