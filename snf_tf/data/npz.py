"""Reads the arrays of an .npz file, large ones part by part."""

import functools
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from snf_tf.data.limits import check_content
from snf_tf.data.storage import Storage
from snf_tf.data.tables import read_npz

# Bytes that are read at once.
_PART = 2**24


def read_large_npz(path: Path, storage: Storage) -> dict[str, Any]:
    """Reads all arrays of an .npz file by their names; the storage keeps what is large.

    Labels are always in memory.

    Raises:
        ValueError: If the file is damaged, or holds anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {i.filename.removesuffix(".npy"): i.file_size for i in archive.infolist()}
    # A damaged zip raises errors of many kinds.
    except Exception as error:
        raise ValueError(f"{path} is damaged, or holds no arrays of numbers: {error}") from error
    large = [
        name
        for name, size in sizes.items()
        if size > storage.limit and name != "y" and not name.endswith("_labels")
    ]
    if not large:
        return read_npz(path, path, path.stat().st_size)
    check_content(path, sum(sizes.values()), path.stat().st_size)
    arrays: dict[str, Any] = {}
    for name in sizes:
        if name in large:
            parts = functools.partial(npz_parts, functools.partial(path.open, "rb"), path, name)
            arrays[name] = storage.keep(f"{path.stem}-{name}", parts, [path])
        else:
            arrays |= read_npz(path, path, path.stat().st_size, [name])
    return arrays


def npz_parts(open_file: Callable[[], Any], path: Path, name: str) -> Iterator[np.ndarray]:
    """Reads an array of an .npz file, compressed or not, in parts of some MiB.

    Args:
        open_file: Opens the file.
        path: Its path, for messages.
        name: Of the array.

    Yields:
        Some rows, `(n, ...)`.

    Raises:
        ValueError: If the file is damaged, lacks the array, or holds far more than its size; or the
            array is none of numbers in C order.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> np.savez(file, x=np.arange(6).reshape(3, 2))
        >>> np.concatenate(list(npz_parts(lambda: file, "my.npz", "x"))).tolist()
        [[0, 1], [2, 3], [4, 5]]
    """
    try:
        with open_file() as file, zipfile.ZipFile(file) as archive:
            info = archive.getinfo(f"{name}.npy")
            with archive.open(info) as array:
                yield from _parts(array, path, info)
    # A damaged zip raises errors of many kinds.
    except Exception as error:
        raise ValueError(f"{path} is damaged, or has no array {name}: {error}") from error


def _parts(array, path, info):
    version = np.lib.format.read_magic(array)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, is_fortran, dtype = read_header(array)
    if dtype.kind not in "fiub" or not shape or (is_fortran and len(shape) > 1):
        raise ValueError(
            "it must hold real numbers in C order, rows first: numpy.ascontiguousarray. "
            f"Received: shape={shape}, dtype={dtype}, fortran_order={is_fortran}"
        )
    row_bytes = dtype.itemsize * int(np.prod(shape[1:], dtype=object))
    check_content(path, max(info.file_size, shape[0] * row_bytes), info.compress_size)
    count = max(1, _PART // max(1, row_bytes))
    for first in range(0, shape[0], count):
        rows = min(count, shape[0] - first)
        content = array.read(rows * row_bytes)
        if len(content) < rows * row_bytes:
            raise ValueError(f"it is shorter than its {shape[0]} rows")
        yield np.frombuffer(content, dtype).reshape(rows, *shape[1:])
