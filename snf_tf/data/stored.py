"""Arrays in files, of which the rows that are needed are read when they are needed."""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from snf_tf.data.order import Permutation

# Bytes that are read at once, where all rows are read one after the other.
_PART = 2**24


class StoredArray:
    """An array in one `.npy` file or several, which stays there.

    Rows are read from their place in a file, neither mapped into memory nor kept. It is indexed
    like an array, by its first axis: what is asked for comes as an array.

    Args:
        paths: Of the `.npy` files, of which one continues the other.

    Attributes:
        shape: `(N,) + event_shape`.
        dtype: Of the rows.

    Raises:
        ValueError: If a file is no `.npy` file of numbers in C order, is cut short, or differs
            from the first in dtype or in the shape of its rows.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/x.npy"
        >>> np.save(path, np.arange(20.0).reshape(10, 2))
        >>> stored = snf_tf.data.StoredArray([path])
        >>> stored.shape, stored[:2].tolist(), stored.take([9, 0]).tolist()
        ((10, 2), [[0.0, 1.0], [2.0, 3.0]], [[18.0, 19.0], [0.0, 1.0]])
    """

    def __init__(self, paths: Sequence[str | os.PathLike]) -> None:
        self._files = [_File(Path(path)) for path in paths]
        if not self._files:
            raise ValueError("paths must name a .npy file at least. Received: none")
        first = self._files[0]
        for file in self._files:
            if file.is_fortran:
                raise ValueError(
                    f"{file.path} must hold numbers in C order, row by row: "
                    "numpy.ascontiguousarray. Received: fortran_order=True"
                )
            if (file.shape[1:], file.dtype) != (first.shape[1:], first.dtype):
                raise ValueError(
                    "All .npy files of an array must have rows of one shape and dtype. Received: "
                    f"{file.path} of shape {file.shape}, {file.dtype}, where {first.path} has "
                    f"{first.shape}, {first.dtype}"
                )
        self._ends = np.cumsum([file.shape[0] for file in self._files])
        self._rows: np.ndarray | Permutation | None = None
        self.dtype = first.dtype.newbyteorder("=")
        self.shape: tuple[int, ...] = (int(self._ends[-1]), *first.shape[1:])

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that all rows would take in memory."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Reads rows: of a slice, of an array of row numbers, or one row; further axes follow."""
        if isinstance(rows, tuple):
            first, *others = rows
            is_one = not isinstance(first, slice) and np.ndim(first) == 0
            return self[first][tuple(others) if is_one else (slice(None), *others)]
        if isinstance(rows, slice):
            return self.take(np.arange(*rows.indices(len(self))))
        rows = np.asarray(rows)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        return self.take(np.where(rows < 0, rows + len(self), rows))

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def take(self, rows: Any, axis: int = 0) -> np.ndarray:
        """Reads rows by their numbers, `(n,)`; the axis is always the first."""
        rows = np.asarray(rows, np.int64)
        flat = rows.reshape(-1)
        if flat.size and not 0 <= flat.min() <= flat.max() < len(self):
            raise IndexError(
                f"Rows must be in 0..{len(self) - 1}. Received: {flat.min()}..{flat.max()}"
            )
        if self._rows is not None:
            flat = self._rows.take(flat)
        order = np.argsort(flat, kind="stable")
        found = np.empty((len(flat), *self.shape[1:]), self._files[0].dtype)
        in_order = bool((order == np.arange(len(order))).all())
        read = found if in_order else np.empty_like(found)
        self._read(flat[order], read)
        if not in_order:
            found[order] = read
        return found.astype(self.dtype, copy=False).reshape(*rows.shape, *self.shape[1:])

    def select(self, rows: slice | np.ndarray | Permutation) -> "StoredArray":
        """Returns the array of some rows, which are not read yet."""
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        if self._rows is not None:
            rows = self._rows.take(np.asarray(rows))
        chosen = self._copy()
        chosen._rows, chosen.shape = rows, (len(rows), *self.shape[1:])
        return chosen

    def astype(self, dtype: Any) -> "StoredArray":
        """Returns the array whose rows are read as numbers of a dtype."""
        other = self._copy()
        other.dtype = np.dtype(dtype)
        return other

    def parts(self) -> Iterator[np.ndarray]:
        """Reads all rows one after the other, in parts of some MiB."""
        count = max(1, _PART * len(self) // max(1, self.nbytes))
        for first in range(0, len(self), count):
            yield self[first : first + count]

    def _copy(self):
        other = object.__new__(StoredArray)
        other.__dict__.update(self.__dict__)
        return other

    def _read(self, rows, found):
        """Reads rows of the files, in growing order; such that are neighbours in one go."""
        files = np.searchsorted(self._ends, rows, side="right")
        is_new = (np.diff(rows) != 1) | (np.diff(files) != 0)
        starts = [0, *(np.flatnonzero(is_new) + 1), len(rows)] if len(rows) else []
        for start, stop in itertools.pairwise(starts):
            file = self._files[files[start]]
            end_before = self._ends[files[start]] - file.shape[0]
            file.read(int(rows[start] - end_before), found[start:stop])


def lies_by_columns(path: Path) -> bool:
    """Returns whether the array of a `.npy` file lies column by column, as pandas hands them out.

    Raises:
        ValueError: If the file is no `.npy` file of numbers, or is cut short.
    """
    return _File(path).is_fortran


class _File:
    """A `.npy` file of numbers."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115
            version = np.lib.format.read_magic(self._file)
            readers: dict[tuple[int, int], Callable] = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }
            self.shape, self.is_fortran, self.dtype = readers[version](self._file)
        except FileNotFoundError:
            raise
        except (KeyError, ValueError, EOFError, OSError) as error:
            raise ValueError(f"{path} is damaged, or no .npy file: {error}") from error
        self.is_fortran &= len(self.shape) > 1
        if self.dtype.kind not in "fiub" or not self.shape:
            raise ValueError(
                f"{path} must hold numbers, rows first. "
                f"Received: shape={self.shape}, dtype={self.dtype}"
            )
        self._offset = self._file.tell()
        self._row_bytes = int(np.prod(self.shape[1:], dtype=object)) * self.dtype.itemsize
        if os.fstat(self._file.fileno()).st_size < self._offset + self.shape[0] * self._row_bytes:
            raise ValueError(
                f"{path} is damaged: it is shorter than its {self.shape[0]} rows of "
                f"{self._row_bytes} bytes"
            )

    def read(self, row: int, found: np.ndarray) -> None:
        """Fills an array by the rows from one on."""
        offset, left = self._offset + row * self._row_bytes, found.reshape(-1).view(np.uint8).data
        while left:
            # With an offset of its own: threads share the file.
            count = os.preadv(self._file.fileno(), [left], offset)
            if not count:
                raise ValueError(f"{self.path} has become shorter while it was read")
            offset, left = offset + count, left[count:]
