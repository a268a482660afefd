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
    """Writes the files of a small MNIST: noise. A label is the number of its image, modulo 10."""
    random = np.random.RandomState(0)
    for name, count in (("train", train), ("t10k", test)):
        images = random.randint(0, 256, (count, 28, 28)).astype("uint8")
        write_idx(directory / f"{name}-images-idx3-ubyte.gz", images)
        labels = (np.arange(count) % 10).astype("uint8")
        write_idx(directory / f"{name}-labels-idx1-ubyte.gz", labels)
    return directory
