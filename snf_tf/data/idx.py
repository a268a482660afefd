"""Reads gzipped idx files of unsigned bytes, the format of MNIST (LeCun et al. 1998)."""

import gzip
import math
import os
import struct
import zlib

import numpy as np

from snf_tf.data.limits import check_content

_UNSIGNED_BYTE = 0x08
_LARGEST_RANK = 8


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """Reads an array of uint8 from a gzipped idx file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a whole gzipped idx file of unsigned bytes.
    """
    try:
        with gzip.open(path) as file:
            shape = _read_header(file, path)
            size = math.prod(shape)
            check_content(path, size, os.stat(path).st_size)
            # One more: a longer file is damaged.
            content = file.read(size + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{path} is truncated or not a gzip file ({error}). Fetch it again."
        ) from error
    if len(content) != size:
        raise ValueError(
            f"{path} should hold {size} values, shape {shape}, by its header. "
            f"Received: {'more' if len(content) > size else len(content)} values. Fetch it again."
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _read_header(file: gzip.GzipFile, path: str | os.PathLike) -> tuple[int, ...]:
    """Returns the shape."""
    content = file.read(4)
    if len(content) < 4 or content[:2] != b"\0\0":
        raise ValueError(
            f"{path} is not an idx file: it must begin with two zero bytes. "
            f"Received: {content[:4]!r}"
        )
    if content[2] != _UNSIGNED_BYTE:
        raise ValueError(
            f"{path} must hold unsigned bytes, idx type 0x08. Received: type {content[2]:#04x}"
        )
    rank = content[3]
    sizes = file.read(4 * rank)
    if len(sizes) < 4 * rank or rank > _LARGEST_RANK:
        raise ValueError(
            f"{path} must have a header of at most {_LARGEST_RANK} sizes of 4 bytes. "
            f"Received: {rank} sizes, in {len(sizes)} bytes"
        )
    return struct.unpack(f">{rank}I", sizes)
