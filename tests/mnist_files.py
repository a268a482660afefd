"""Small files in the format of MNIST."""

import gzip
import struct
from pathlib import Path

import numpy as np


def write_idx(path: Path, values: np.ndarray, kind: int = 0x08) -> None:
    """Writes a gzipped idx file."""
    header = struct.pack(f">HBB{values.ndim}I", 0, kind, values.ndim, *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes()))


def write_mnist(directory: Path, train=60, test=20) -> Path:
    """Writes the image files of a small MNIST: blurred blobs."""
    random = np.random.RandomState(0)
    for name, count in (("train-images-idx3-ubyte.gz", train), ("t10k-images-idx3-ubyte.gz", test)):
        write_idx(directory / name, random.randint(0, 256, (count, 28, 28)).astype("uint8"))
    return directory
