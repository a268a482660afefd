"""CIFAR-10: 32 x 32 colour images, split 40000/10000/10000 (SNF A.3)."""

import functools
from pathlib import Path

import numpy as np

from snf_tf.data.archives import contents
from snf_tf.data.natural_patches import natural_patches
from snf_tf.data.sources import Sources
from snf_tf.data.splits import Split, Splits
from snf_tf.data.unpickling import unpickle_arrays

_SHAPE = (3, 32, 32)
_CLASSES = 10


def _from_files(data_dir: Path) -> Splits:
    """Reads the original archive, for Python or binary.

    The last fifth of the training images is for validation.
    """
    path = next(path for path in sorted(data_dir.glob("cifar-10-*.tar.gz")))
    parts: dict[str, list[Split]] = {"data_batch": [], "test_batch": []}
    try:
        for name, read in contents(path):
            kind = Path(name).name[: len("data_batch")]
            if kind in parts:
                parts[kind].append(_read_batch(read(), is_binary=name.endswith(".bin")))
    # A damaged pickle raises errors of many kinds.
    except Exception as error:
        raise ValueError(f"{path} is damaged, or no archive of CIFAR-10: {error}") from error
    if not all(parts.values()):
        raise ValueError(
            f"{path} is no archive of CIFAR-10: it has no data_batch_* or no test_batch."
        )
    train, test = (
        Split(
            np.concatenate([batch.examples for batch in batches]),
            np.concatenate([batch.labels for batch in batches]),
        )
        for batches in parts.values()
    )
    validation_size = len(train) // 5
    if not validation_size:
        raise ValueError(f"{path} must hold five training images at least. Received: {len(train)}")
    return train[:-validation_size], train[-validation_size:], test


def _read_batch(content: bytes, is_binary: bool) -> Split:
    """Reads images `(N, 32, 32, 3)`; a row of the file is a red, a green and a blue image."""
    if is_binary:
        # A label before every row.
        table = np.frombuffer(content, np.uint8).reshape(-1, 1 + int(np.prod(_SHAPE)))
        rows = table[:, 1:]
    else:
        batch = unpickle_arrays(content)
        rows = np.asarray(batch[b"data"])
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != np.prod(_SHAPE):
        raise ValueError(
            "images must be bytes of shape (N, 3072). "
            f"Received: shape={rows.shape}, dtype={rows.dtype}"
        )
    labels = table[:, 0] if is_binary else np.asarray(batch[b"labels"])
    if not np.isin(labels, range(_CLASSES)).all():
        raise ValueError(f"labels must be in 0..{_CLASSES - 1}. Received: {labels}")
    return Split(rows.reshape(-1, *_SHAPE).transpose(0, 2, 3, 1), labels.astype(np.int32))


CIFAR10 = Sources(
    tfds_name="cifar10",
    tfds_splits=("train[:40000]", "train[40000:]", "test"),
    download_host="www.cs.toronto.edu",
    files=("cifar-10-python.tar.gz|cifar-10-binary.tar.gz",),
    from_files=_from_files,
    embedded=functools.partial(natural_patches, labels=True),
    embedded_name="natural_patches",
    classes=_CLASSES,
)
