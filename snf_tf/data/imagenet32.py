"""ImageNet 32 x 32, split 1261149/20000/50000 (SNF A.3)."""

import io
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
from matplotlib.image import imread

from snf_tf.data.natural_patches import natural_patches
from snf_tf.data.sources import Sources, Splits

_SHAPE = (32, 32, 3)


def _from_files(data_dir: Path) -> Splits:
    """Reads the original files: two tars of PNG images, or arrays in npz files.

    A random part of the training images, 20,000 of 1,281,149, is for validation. The official
    validation images are for the test.
    """
    if all((data_dir / f"{name}_32x32.tar").is_file() for name in ("train", "valid")):
        train, test = (_read_tar(data_dir / f"{name}_32x32.tar") for name in ("train", "valid"))
    else:
        count = len(list(data_dir.glob("train_data_batch_*.npz")))
        if not count:
            raise FileNotFoundError(
                f"{data_dir} must hold both tars, or train_data_batch_1.npz and so on beside "
                "val_data.npz."
            )
        # By number, so that an error names the missing file.
        batches = [
            _read_npz(data_dir / f"train_data_batch_{number}.npz") for number in range(1, count + 1)
        ]
        train, test = np.concatenate(batches), _read_npz(data_dir / "val_data.npz")
    if len(train) < 2:
        raise ValueError(
            f"{data_dir} must hold two training images at least. Received: {len(train)}"
        )
    validation_size = len(train) * 20_000 // 1_281_149 or 1
    order = np.random.RandomState(0).permutation(len(train))
    return train[np.sort(order[validation_size:])], train[np.sort(order[:validation_size])], test


def _read_tar(path: Path) -> np.ndarray:
    images = []
    try:
        with tarfile.open(path) as archive:
            for member in sorted(archive.getmembers(), key=lambda member: member.name):
                if member.name.endswith(".png"):
                    content = archive.extractfile(member)
                    assert content is not None
                    images.append(
                        np.rint(
                            255 * imread(io.BytesIO(content.read()), format="png")[..., :3]
                        ).astype(np.uint8)
                    )
    except (tarfile.TarError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not images or any(image.shape != _SHAPE for image in images):
        raise ValueError(
            f"{path} must hold PNG images of shape {_SHAPE}. "
            f"Received: shapes {sorted({i.shape for i in images})}"
        )
    return np.stack(images)


def _read_npz(path: Path) -> np.ndarray:
    try:
        with np.load(path) as arrays:
            rows = arrays["data"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path} is missing or damaged, or has no array named data: {error}"
        ) from error
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != np.prod(_SHAPE):
        raise ValueError(
            f"{path} must hold bytes of shape (N, 3072). Received: shape={rows.shape}, "
            f"dtype={rows.dtype}"
        )
    # A row is the red, the green and the blue image.
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


IMAGENET32 = Sources(
    tfds_name="downsampled_imagenet/32x32",
    # TFDS shuffles the images when it prepares them: the last are a random part.
    tfds_splits=("train[:1261149]", "train[1261149:]", "validation"),
    download_host="image-net.org",
    files=("train_32x32.tar|train_data_batch_1.npz", "valid_32x32.tar|val_data.npz"),
    from_files=_from_files,
    embedded=natural_patches,
    embedded_name="natural_patches",
)
