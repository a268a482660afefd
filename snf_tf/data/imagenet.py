"""ImageNet at 32 x 32 and 64 x 64 pixels, split 1261149/20000/50000 (SNF A.3)."""

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from snf_tf.data.archives import ERRORS, files_of, read_images
from snf_tf.data.natural_patches import natural_patches
from snf_tf.data.npz import npz_parts
from snf_tf.data.sources import Sources
from snf_tf.data.splits import Split, Splits
from snf_tf.data.storage import Storage
from snf_tf.data.stored import StoredArray

_TARS = ("train", "valid")


def _from_files(data_dir: Path, storage: Storage, size: int) -> Splits:
    """Reads the original files: two tars of PNG images, or arrays in npz files, zipped or not.

    A random part of the training images, 20,000 of 1,281,149, is for validation. The official
    validation images are for the test.
    """
    tars = [data_dir / f"{name}_{size}x{size}.tar" for name in _TARS]
    if all(tar.is_file() for tar in tars):
        train, test = (
            Split(read_images(tar, (size, size, 3), storage, name=tar.name)) for tar in tars
        )
    else:
        train, test = (
            Split(_read_arrays(data_dir, kind, size, storage)) for kind in ("train", "val")
        )
    if len(train) < 2:
        raise ValueError(
            f"{data_dir} must hold two training images at least. Received: {len(train)}"
        )
    validation_size = len(train) * 20_000 // 1_281_149 or 1
    order = np.random.RandomState(0).permutation(len(train))
    return train[np.sort(order[validation_size:])], train[np.sort(order[:validation_size])], test


def _zips(kind: str, size: int) -> list[str]:
    """Returns the patterns of the names of the zips that hold the npz files."""
    parts = ("_part1", "_part2") if (kind, size) == ("train", 64) else ("",)
    return [f"Imagenet{size}_{kind}{part}*.zip" for part in parts]


def _read_arrays(
    data_dir: Path, kind: str, size: int, storage: Storage
) -> np.ndarray | StoredArray:
    """Reads the arrays of one kind, "train" or "val", by the numbers of their npz files."""
    if any(data_dir.glob(f"{kind}_data*.npz")):
        archives = [data_dir]
        originals = sorted(data_dir.glob(f"{kind}_data*.npz"))
    else:
        archives = [path for zips in _zips(kind, size) for path in sorted(data_dir.glob(zips))[:1]]
        originals = archives
        if len(archives) < len(_zips(kind, size)):
            raise FileNotFoundError(
                f"{data_dir} must hold both tars, or the npz files of {kind}, or "
                f"{' and '.join(_zips(kind, size))}."
            )
    places: dict[int, Path] = {}
    for archive in archives:
        numbers = _numbers(archive, kind)
        if not numbers:
            raise ValueError(f"{archive} must hold npz files of {kind}. Received: none of them")
        places |= dict.fromkeys(numbers, archive)
    if not places or max(places) != len(places):
        raise ValueError(
            f"{data_dir} must hold the npz files of {kind} from number 1 on. "
            f"Received: numbers {sorted(places)}"
        )

    def parts():
        for number in sorted(places):
            yield from _npz_images(places[number], kind, number, size)

    return storage.keep(f"imagenet{size}-{kind}", parts, originals)


def _number(name: str, kind: str) -> int | None:
    """Returns the number of an npz file by its name; None if it is no file of the kind."""
    match = re.fullmatch(rf"{kind}_data(?:_batch_(\d+))?\.npz", Path(name).name)
    return int(match[1] or 1) if match else None


def _numbers(archive: Path, kind: str) -> list[int]:
    try:
        numbers = [_number(name, kind) for name, _ in files_of(archive)]
    except ERRORS as error:
        raise ValueError(f"{archive} is damaged: {error}") from error
    return [number for number in numbers if number is not None]


def _npz_images(archive: Path, kind: str, number: int, size: int) -> Iterator[np.ndarray]:
    """Reads the images of an npz file in a folder or a zip, in parts."""
    path = archive
    try:
        for name, open_file in files_of(archive):
            if _number(name, kind) == number:
                path = archive / name
                for rows in npz_parts(open_file, path, "data"):
                    yield _images(path, rows, size)
    except (*ERRORS, ValueError) as error:
        raise ValueError(
            f"{path} is missing or damaged, or has no array named data: {error}"
        ) from error


def _images(path, rows, size):
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != 3 * size**2:
        raise ValueError(
            f"{path} must hold bytes of shape (N, {3 * size**2}). Received: shape={rows.shape}, "
            f"dtype={rows.dtype}"
        )
    # A row is the red, the green and the blue image.
    return np.ascontiguousarray(rows.reshape(-1, 3, size, size).transpose(0, 2, 3, 1))


def _sources(size: int) -> Sources:
    return Sources(
        tfds_name=f"downsampled_imagenet/{size}x{size}",
        # TFDS shuffles the images when it prepares them: the last are a random part.
        tfds_splits=("train[:1261149]", "train[1261149:]", "validation"),
        download_host="image-net.org",
        files=tuple(
            "|".join((f"{tar}_{size}x{size}.tar", npz, *_zips(kind, size)[:1]))
            for tar, npz, kind in zip(
                _TARS, ("train_data_batch_1.npz", "val_data.npz"), ("train", "val"), strict=True
            )
        ),
        from_large_files=functools.partial(_from_files, size=size),
        embedded=functools.partial(natural_patches, size),
        embedded_name="natural_patches",
    )


IMAGENET = {f"imagenet{size}": _sources(size) for size in (32, 64)}
