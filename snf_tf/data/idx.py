"""Reads gzipped idx files of unsigned bytes, the format of MNIST (LeCun et al. 1998)."""

import gzip
import math
import os
import struct
import zlib

import numpy as np

_UNSIGNED_BYTE = 0x08


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """Reads an array of uint8 from a gzipped idx file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a whole gzipped idx file of unsigned bytes.
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{path} is truncated or not a gzip file ({error}). Fetch it again."
        ) from error
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
    start = 4 + 4 * rank
    if len(content) < start:
        raise ValueError(
            f"{path} ends within its header of {start} bytes. Received: {len(content)} bytes"
        )
    shape = struct.unpack(f">{rank}I", content[4:start])
    if len(content) != start + math.prod(shape):
        raise ValueError(
            f"{path} should hold {math.prod(shape)} values, shape {shape}, by its header. "
            f"Received: {len(content) - start} values. Fetch it again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
