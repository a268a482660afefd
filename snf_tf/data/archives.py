"""Reads images from a tar, a zip or a folder."""

import functools
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

_IMAGES = (".png", ".jpg", ".jpeg")
# Errors that damaged archives and images raise.
ERRORS = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError),
    *(KeyError, NotImplementedError, RuntimeError, tf.errors.InvalidArgumentError),
)


def contents(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Lists the files of a tar, a zip or a folder, in the order of their names.

    Yields:
        The name, and a function that reads the file while the iteration is there.
    """
    if path.is_dir():
        yield from sorted((file.name, file.read_bytes) for file in path.iterdir() if file.is_file())
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                yield name, functools.partial(archive.read, name)
    else:
        with tarfile.open(path) as tar:
            for member in sorted(tar.getmembers(), key=lambda member: member.name):
                file = tar.extractfile(member)
                if file is not None:
                    yield member.name, file.read


def read_images(
    path: Path,
    shape: tuple[int, int, int],
    names: Collection[str] | None = None,
    prepare: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> np.ndarray:
    """Reads the PNG and JPEG images of a tar, a zip or a folder, in the order of their names.

    Args:
        path: Of the tar, the zip or the folder.
        shape: Shape that every image must have.
        names: File names of the images to read; None: all.
        prepare: Maps an image, uint8 `(H, W, 3)`, to what is returned of the image.

    Returns:
        `(N,) + shape`, uint8, or what `prepare` makes of the images.

    Raises:
        ValueError: If the archive or an image is damaged, an image has another shape, or one of
            `names` is missing.
    """
    images = []
    try:
        for name, read in contents(path):
            file_name = Path(name).name
            if file_name.startswith(".") or Path(name).suffix.lower() not in _IMAGES:
                continue
            if names is not None and file_name not in names:
                continue
            image = tf.io.decode_image(read(), channels=3, expand_animations=False)
            if image.shape != shape:
                raise ValueError(
                    f"{path} must hold images of shape {shape}. "
                    f"Received: {name} of shape {tuple(image.shape)}"
                )
            images.append((image if prepare is None else prepare(image)).numpy())
    except ERRORS as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not images or (names is not None and len(images) != len(names)):
        expected = "images" if names is None else f"{len(names)} images by their names"
        raise ValueError(f"{path} must hold {expected}. Received: {len(images)} of them")
    return np.stack(images)
