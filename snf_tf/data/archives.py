"""Reads images from a tar, a zip or a folder."""

import functools
import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from snf_tf.data.limits import check_content

_IMAGES = (".png", ".jpg", ".jpeg")
# Errors that damaged archives and images raise.
ERRORS = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError),
    *(KeyError, NotImplementedError, RuntimeError, MemoryError, OverflowError),
)


def contents(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Lists the files of a tar, a zip or a folder, in the order of their names.

    Yields:
        The name, and a function that reads the file while the iteration is there.

    Raises:
        ValueError: If the files are far larger than the archive.
    """
    stored = path.stat().st_size
    if path.is_dir():
        yield from sorted((file.name, file.read_bytes) for file in path.iterdir() if file.is_file())
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_content(path, sum(info.file_size for info in archive.infolist()), stored)
            for name in sorted(archive.namelist()):
                yield name, functools.partial(archive.read, name)
    else:
        with tarfile.open(path) as tar:
            total = 0
            for member in tar:
                total = total + member.size if member.size >= 0 else -1
                check_content(path, total, stored)
            for member in sorted(tar.getmembers(), key=lambda member: member.name):
                file = tar.extractfile(member)
                if file is not None:
                    yield member.name, file.read


def read_images(
    path: Path,
    shape: tuple[int, int, int],
    names: Collection[str] | None = None,
    prepare: Callable[[tf.Tensor], tf.Tensor] | None = None,
    channels: int = 3,
) -> np.ndarray:
    """Reads the PNG and JPEG images of a tar, a zip or a folder, in the order of their names.

    Args:
        path: Of the tar, the zip or the folder.
        shape: Shape that every image must have.
        names: File names of the images to read; None: all.
        prepare: Maps an image, uint8 `(H, W, 3)`, to what is returned of the image.
        channels: To which images are converted; 0: one or three, as they are, without alpha.

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
            if not is_image(file_name):
                continue
            if names is not None and file_name not in names:
                continue
            image = _decode(read(), channels, f"{path}/{name}", shape[:2])
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


def is_image(name: str) -> bool:
    """Tells whether a file is a PNG or JPEG image, by its name; hidden files are none.

    Example:
        >>> is_image("a.PNG"), is_image("._a.png")
        (True, False)
    """
    return not name.startswith(".") and Path(name).suffix.lower() in _IMAGES


def first_image_shape(path: Path) -> tuple[int, int, int]:
    """Returns the shape of the first image of a folder, which has one channel or three.

    Raises:
        ValueError: If there is no image, or the image is damaged.
    """
    for name, read in contents(path):
        if is_image(name):
            return tuple(_decode(read(), 0, f"{path}/{name}").shape)
    raise ValueError(f"{path} must hold PNG or JPEG images. Received: none of them")


def _decode(
    content: bytes, channels: int, path: str, size: tuple[int, int] | None = None
) -> tf.Tensor:
    """Decodes an image, after a look at its header: a small file may claim a huge image."""
    try:
        with Image.open(io.BytesIO(content)) as header:
            width, height = header.size
    # PIL raises errors of many kinds.
    except Exception as error:
        raise ValueError(f"{path} is damaged, or no image: {error}") from error
    if size is not None and (height, width) != size:
        raise ValueError(
            f"{path} must be an image of {size[0]} x {size[1]} pixels. "
            f"Received: {height} x {width} pixels"
        )
    check_content(path, 4 * height * width, len(content))
    try:
        image = tf.io.decode_image(content, channels=channels, expand_animations=False)
    except tf.errors.OpError as error:
        raise ValueError(f"{path} is damaged: TensorFlow cannot decode it") from error
    has_alpha = not channels and image.shape[2] in (2, 4)
    return image[..., :-1] if has_alpha else image
