"""CelebA at 64 x 64 and CelebA-HQ at 256 x 256 pixels, both reduced to 5 bits (RF App. E)."""

import functools
from pathlib import Path

import tensorflow as tf

from snf_tf.data.archives import read_images
from snf_tf.data.natural_patches import natural_patches
from snf_tf.data.sources import Sources
from snf_tf.data.splits import Split, Splits
from snf_tf.data.storage import Storage

_BITS = 5
_CELEBA_SHAPE = (218, 178, 3)
_CROP, _SIZE = 148, 64
_HQ_SHAPE = (256, 256, 3)
_PARTITION = "list_eval_partition.txt"


def _reduce(image: tf.Tensor) -> tf.Tensor:
    """Reduces values 0..255 to 0..31."""
    return image // 2 ** (8 - _BITS)


def _shrink(image: tf.Tensor) -> tf.Tensor:
    """Crops the central 148 x 148 pixels, averages them by area to 64 x 64, and reduces them."""
    top, left = ((length - _CROP) // 2 for length in _CELEBA_SHAPE[:2])
    square = tf.image.crop_to_bounding_box(image, top, left, _CROP, _CROP)
    small = tf.image.resize(square, (_SIZE, _SIZE), method="area")
    return _reduce(tf.cast(tf.round(small), tf.uint8))


def _celeba_from_files(data_dir: Path, storage: Storage) -> Splits:
    """Reads the aligned images, with the splits of the official partition: 162770/19867/19962."""
    path = data_dir / _PARTITION
    names: dict[str, list[str]] = {"0": [], "1": [], "2": []}
    for line in path.read_text(errors="replace").splitlines():
        try:
            name, part = line.split()
            names[part].append(name)
        except (ValueError, KeyError) as error:
            raise ValueError(
                f"{path} must hold lines of a name and 0, 1 or 2. Received: {line!r}"
            ) from error
    if not all(names.values()):
        raise ValueError(
            f"{path} must give images to training, validation and test. "
            f"Received: {', '.join(str(len(part)) for part in names.values())} of them"
        )
    archive = data_dir / "img_align_celeba.zip"
    train, validation, test = (
        Split(
            read_images(archive, _CELEBA_SHAPE, storage, set(part), _shrink, f"celeba64-{number}")
        )
        for number, part in names.items()
    )
    return train, validation, test


def _hq_from_files(data_dir: Path, storage: Storage) -> Splits:
    """Reads PNG or JPEG images from a tar, a zip or a folder.

    By their names, the last tenth is for the test, and the tenth before for validation.
    """
    path = next(data_dir / name for name in _HQ_FILES.split("|") if (data_dir / name).exists())
    images = Split(read_images(path, _HQ_SHAPE, storage, prepare=_reduce, name="celeba_hq256"))
    if len(images) < 3:
        raise ValueError(f"{path} must hold three images at least. Received: {len(images)}")
    tenth = len(images) // 10 or 1
    return images[: -2 * tenth], images[-2 * tenth : -tenth], images[-tenth:]


_HQ_FILES = "data256x256.tar|data256x256.zip|data256x256"

CELEBA64 = Sources(
    tfds_name="celeb_a",
    tfds_splits=("train", "validation", "test"),
    download_host="drive.google.com",
    prepare=_shrink,
    files=("img_align_celeba.zip", _PARTITION),
    from_large_files=_celeba_from_files,
    embedded=functools.partial(natural_patches, _SIZE, _BITS),
    embedded_name="natural_patches",
)
CELEBA_HQ256 = Sources(
    tfds_name="celeb_a_hq/256",
    tfds_splits=("train[:24000]", "train[24000:27000]", "train[27000:]"),
    prepare=_reduce,
    files=(_HQ_FILES,),
    from_large_files=_hq_from_files,
    embedded=functools.partial(natural_patches, _HQ_SHAPE[0], _BITS),
    embedded_name="natural_patches",
)
