"""Reads images from a tar, a zip or a folder."""

import functools
import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from snf_tf.data.limits import check_content
from snf_tf.data.storage import Storage
from snf_tf.data.stored import StoredArray

# Images that are put together in an array at once.
_PART = 64
_IMAGES = (".png", ".jpg", ".jpeg")
# Errors that damaged archives and images raise.
ERRORS = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError),
    *(KeyError, NotImplementedError, RuntimeError, MemoryError, OverflowError),
)


def files_of(path: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Lists the files of a tar, a zip or a folder, in the order of their names.

    Yields:
        The name, and a function that opens the file while the iteration is there.

    Raises:
        ValueError: If the files are far larger than the archive.
    """
    stored = path.stat().st_size
    if path.is_dir():
        for file in sorted(path.iterdir()):
            if file.is_file():
                yield file.name, functools.partial(file.open, "rb")
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_content(path, sum(info.file_size for info in archive.infolist()), stored)
            for name in sorted(archive.namelist()):
                yield name, functools.partial(archive.open, name)
    else:
        with tarfile.open(path) as tar:
            for name, offset in sorted(_places(tar, path, stored)):
                yield name, functools.partial(_open_at, tar, offset)


def _places(tar: Any, path: Path, stored: int) -> Iterator[tuple[str, int]]:
    """Finds the files of a tar by the places of their headers.

    What `tarfile` keeps of a million files would be more than memory takes.
    """
    total = 0
    while (member := tar.next()) is not None:
        total = total + member.size if member.size >= 0 else -1
        check_content(path, total, stored)
        if member.isfile():
            yield member.name, member.offset
        tar.members.clear()


def _open_at(tar: Any, offset: int) -> Any:
    tar.fileobj.seek(offset)
    return tar.extractfile(tarfile.TarInfo.fromtarfile(tar))


def contents(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Lists files as `files_of` does, with functions that read them."""

    def read(open_file):
        with open_file() as file:
            return file.read()

    for name, open_file in files_of(path):
        yield name, functools.partial(read, open_file)


def read_images(
    path: Path,
    shape: tuple[int, int, int],
    storage: Storage,
    names: Collection[str] | None = None,
    prepare: Callable[[tf.Tensor], tf.Tensor] | None = None,
    name: str = "images",
) -> np.ndarray | StoredArray:
    """Reads the PNG and JPEG images of a tar, a zip or a folder, in the order of their names.

    Args:
        path: Of the tar, the zip or the folder.
        shape: Shape that every image must have.
        storage: Where the images go.
        names: File names of the images to read; None: all.
        prepare: Maps an image, uint8 `(H, W, 3)`, to what is returned of the image.
        name: Of what is stored; another one for other `names`, or another `prepare`.

    Returns:
        `(N,) + shape`, uint8, or what `prepare` makes of the images.

    Raises:
        ValueError: If the archive or an image is damaged, an image has another shape, or one of
            `names` is missing.
    """
    return storage.keep(name, lambda: image_parts(path, shape, names, prepare), [path])


def image_parts(
    path: Path,
    shape: tuple[int, int, int],
    names: Collection[str] | None = None,
    prepare: Callable[[tf.Tensor], tf.Tensor] | None = None,
    channels: int = 3,
) -> Iterator[np.ndarray]:
    """Reads images as `read_images` does, and yields some at once, `(n,) + shape`.

    Args:
        path: As there.
        shape: As there.
        names: As there.
        prepare: As there.
        channels: To which images are converted; 0: one or three, as they are, without alpha.
    """
    images: list[np.ndarray] = []
    count = 0
    try:
        for name, read in contents(path):
            file_name = Path(name).name
            if not is_image(file_name):
                continue
            if names is not None and file_name not in names:
                continue
            image = decode_image(read(), f"{path}/{name}", channels, shape[:2])
            if image.shape != shape:
                raise ValueError(
                    f"{path} must hold images of shape {shape}. "
                    f"Received: {name} of shape {tuple(image.shape)}"
                )
            images.append((image if prepare is None else prepare(image)).numpy())
            count += 1
            if len(images) == _PART:
                yield np.stack(images)
                images = []
    except ERRORS as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not count or (names is not None and count != len(names)):
        expected = "images" if names is None else f"{len(names)} images by their names"
        raise ValueError(f"{path} must hold {expected}. Received: {count} of them")
    if images:
        yield np.stack(images)


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
            return tuple(decode_image(read(), f"{path}/{name}").shape)
    raise ValueError(f"{path} must hold PNG or JPEG images. Received: none of them")


def decode_image(
    content: bytes, path: str, channels: int = 0, size: tuple[int, int] | None = None
) -> tf.Tensor:
    """Decodes an image, after a look at its header: a small file may claim a huge image.

    Args:
        content: A PNG or JPEG file.
        path: Of the file, for messages.
        channels: Those of `image_parts`.
        size: Height and width that it must have; None: any.

    Raises:
        ValueError: If the image is damaged, has another size, or claims more than it can hold.
    """
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
