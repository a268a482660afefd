"""Tables of numbers: read from files, and refused where values are missing."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

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
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged, or no CSV table: {error}") from error


def read_array(path: Path, columns: int | None = None) -> np.ndarray:
    """Reads a .npy file of shape `(N, columns)`, in float64.

    Raises:
        ValueError: If the file is damaged, or holds anything else.
    """
    try:
        data = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} is damaged, or no .npy file of numbers: {error}") from error
    if data.ndim != 2 or data.dtype.kind not in "fiu" or columns not in (None, data.shape[1]):
        raise ValueError(
            f"{path} must hold numbers of shape (N, {columns or 'columns'}). "
            f"Received: shape={data.shape}, dtype={data.dtype}"
        )
    return data.astype(np.float64)


def splits_of(train: np.ndarray, validation: np.ndarray, test: np.ndarray) -> Splits:
    """Returns float32 splits without labels, after checking that no value is missing."""
    parts = {"train": train, "validation": validation, "test": test}
    train, validation, test = (
        require_finite(part.astype(np.float32), name) for name, part in parts.items()
    )
    return Split(train), Split(validation), Split(test)


def require_finite(values: Any, name: str, columns: Any = None) -> Any:
    """Returns values, an array or a stored one, after checking that all are finite.

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
    if isinstance(values, StoredArray):
        for part in values.parts():
            require_finite(part, name, columns)
        return values
    if values.dtype.kind != "f" or (finite := np.isfinite(values)).all():
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
