"""Reads the arrays of an .npz file, large ones part by part."""

import functools
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from snf_tf.data.storage import Storage

# Bytes that are read at once.
_PART = 2**24


def read_npz(path: Path, storage: Storage) -> dict[str, Any]:
    """Reads all arrays of an .npz file by their names; the storage keeps what is large.

    Raises:
        ValueError: If the file is damaged, or holds anything else.
    """

    def read(arrays, name):
        if arrays.zip.getinfo(f"{name}.npy").file_size <= storage.limit:
            return arrays[name]
        open_file = functools.partial(open, path, "rb")
        return storage.keep(f"{path.stem}-{name}", lambda: npz_parts(open_file, name), [path])

    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: read(arrays, name) for name in arrays}
    # A damaged zip raises errors of many kinds.
    except Exception as error:
        raise ValueError(f"{path} is damaged, or holds no arrays of numbers: {error}") from error


def npz_parts(open_file: Callable[[], IO[bytes]], name: str) -> Iterator[np.ndarray]:
    """Reads an array of an .npz file, compressed or not, in parts of some MiB.

    Args:
        open_file: Opens the file.
        name: Of the array.

    Yields:
        Some rows, `(n, ...)`.

    Raises:
        ValueError: If the array holds no numbers in C order, or is cut short.
        KeyError: If there is no such array.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> np.savez(file, x=np.arange(6).reshape(3, 2))
        >>> np.concatenate(list(npz_parts(lambda: file, "x"))).tolist()
        [[0, 1], [2, 3], [4, 5]]
    """
    with (
        open_file() as file,
        zipfile.ZipFile(file) as archive,
        archive.open(f"{name}.npy") as array,
    ):
        version = np.lib.format.read_magic(array)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, is_fortran, dtype = read_header(array)
        if dtype.hasobject or not shape or (is_fortran and len(shape) > 1):
            raise ValueError(
                f"{name} must hold numbers in C order, rows first: numpy.ascontiguousarray. "
                f"Received: shape={shape}, dtype={dtype}, fortran_order={is_fortran}"
            )
        row_bytes = dtype.itemsize * int(np.prod(shape[1:], dtype=object))
        count = max(1, _PART // max(1, row_bytes))
        for first in range(0, shape[0], count):
            rows = min(count, shape[0] - first)
            content = array.read(rows * row_bytes)
            if len(content) < rows * row_bytes:
                raise ValueError(f"{name} is shorter than its {shape[0]} rows")
            yield np.frombuffer(content, dtype).reshape(rows, *shape[1:])
