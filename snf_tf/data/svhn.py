"""SVHN: 32 x 32 colour images of house numbers, split 63257/10000/26032."""

import functools
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import scipy.io

from snf_tf.data.limits import check_content, largest_content
from snf_tf.data.natural_patches import natural_patches
from snf_tf.data.sources import Sources
from snf_tf.data.splits import Split, Splits

# Bytes before the first array, and the type of a compressed one.
_HEADER, _COMPRESSED = 128, 15
_FILES = ("train_32x32.mat", "test_32x32.mat")


def _from_files(data_dir: Path) -> Splits:
    """Reads the original files of cropped digits.

    The last 10,000 of 73,257 training images are for validation. The extra images are not used.
    """
    train, test = (_read_mat(data_dir / name) for name in _FILES)
    if len(train) < 2:
        raise ValueError(
            f"{data_dir / _FILES[0]} must hold two images at least. Received: {len(train)}"
        )
    validation_size = len(train) * 10_000 // 73_257 or 1
    return train[:-validation_size], train[-validation_size:], test


def _read_mat(path: Path) -> Split:
    """Reads images `(32, 32, 3, N)` and labels `(N, 1)` in 1..10; the label of a zero is 10."""
    try:
        content = scipy.io.loadmat(io.BytesIO(_decompressed(path)))
        images, labels = content["X"], content["y"]
    # SciPy raises errors of many kinds.
    except Exception as error:
        raise ValueError(f"{path} is damaged, or lacks the arrays X and y: {error}") from error
    if (
        images.dtype != np.uint8
        or images.shape[:3] != (32, 32, 3)
        or labels.shape != (*images.shape[3:], 1)
        or not np.isin(labels, range(1, 11)).all()
    ):
        raise ValueError(
            f"{path} must hold bytes X of shape (32, 32, 3, N) and labels y of shape (N, 1) in "
            f"1..10. Received: X of shape {images.shape}, dtype {images.dtype}, and y of shape "
            f"{labels.shape}"
        )
    return Split(
        np.ascontiguousarray(images.transpose(3, 0, 1, 2)), labels[:, 0].astype(np.int32) % 10
    )


def _decompressed(path: Path) -> bytes:
    """Returns a MATLAB file of version 5 with its arrays decompressed, but not without end."""
    content = path.read_bytes()
    order = "<" if content[126:128] == b"IM" else ">"
    parts, place, size = [content[:_HEADER]], _HEADER, 0
    while place + 8 <= len(content):
        kind, length = struct.unpack(f"{order}II", content[place : place + 8])
        part = content[place : place + 8 + length]
        place += len(part)
        if kind == _COMPRESSED:
            left = largest_content(len(content)) - size
            part = zlib.decompressobj().decompress(part[8:], left + 1)
        size += len(part)
        check_content(path, size, len(content))
        parts.append(part)
    return b"".join(parts)


SVHN = Sources(
    tfds_name="svhn_cropped",
    tfds_splits=("train[:63257]", "train[63257:]", "test"),
    download_host="ufldl.stanford.edu",
    files=_FILES,
    from_files=_from_files,
    classes=10,
    embedded=functools.partial(natural_patches, labels=True),
    embedded_name="natural_patches",
)
