"""Small images, archives of them, and data sets that TFDS has prepared."""

import io
import tarfile
import zipfile

import numpy as np
import tensorflow as tf
from matplotlib.image import imsave


def images_of(count, seed, size=32):
    return np.random.RandomState(seed).randint(0, 256, (count, size, size, 3)).astype(np.uint8)


def rows_of(images):
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def png(image):
    buffer = io.BytesIO()
    imsave(buffer, image, format="png")
    return buffer.getvalue()


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def write_tar(path, members):
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def write_folder(path, members):
    path.mkdir()
    for name, content in members.items():
        (path / name.split("/")[-1]).write_bytes(content)


def write_tfds(directory, name, splits, classes=None):
    """Prepares a data set as TFDS does.

    Args:
        directory: TFDS' directory.
        name: The data set's, with "/" and the config where there is one.
        splits: Name -> images `(N, H, W, C)`, or a pair of images and labels.
        classes: Number of classes; None: there are no labels.
    """
    import tensorflow_datasets as tfds

    features, data = {}, {}
    for split, images in splits.items():
        parts = {"image": images}
        if classes is not None:
            parts = {"image": images[0], "label": images[1]}
        features["image"] = tfds.features.Image(shape=parts["image"].shape[1:])
        data[split] = tf.data.Dataset.from_tensor_slices(parts)
    if classes is not None:
        features["label"] = tfds.features.ClassLabel(num_classes=classes)
    name, _, config = name.partition("/")
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        config=config or None,
        version="3.0.0",
        data_dir=directory,
        features=tfds.features.FeaturesDict(features),
        split_datasets=data,
    )
