"""SVHN, from files and from TFDS."""

import dataclasses

import numpy as np
import pytest
import scipy.io

from snf_tf.data import load_dataset, loading
from tests.data.files import images_of, write_tfds

FILES = ("train_32x32.mat", "test_32x32.mat")


def write_svhn(directory):
    """Writes 22 training and 5 test images; returns all. Their labels are 1..10, in turn."""
    parts = images_of(22, 0), images_of(5, 1)
    for name, images in zip(FILES, parts, strict=True):
        labels = (np.arange(len(images), dtype=np.uint8) % 10 + 1)[:, None]
        content = {"X": images.transpose(1, 2, 3, 0), "y": labels}
        scipy.io.savemat(directory / name, content, do_compression=True)
    return np.concatenate(parts)


def test_files(tmp_path):
    images = write_svhn(tmp_path)
    data = load_dataset("svhn", data_dir=tmp_path)
    # 10,000 of 73,257 are three of 22.
    assert (data.source, data.sizes) == ("files", {"train": 19, "validation": 3, "test": 5})
    np.testing.assert_array_equal(np.concatenate([data.train, data.validation, data.test]), images)
    labels = [*data.train_labels, *data.validation_labels, *data.test_labels]
    # A ten stands for the digit zero.
    assert labels == [(i % 22 + 1) % 10 for i in range(27)]
    assert (data.classes, data.train_labels.dtype, data.train.dtype) == (10, np.int32, np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"X": np.zeros((32, 32, 3, 2), np.uint8)}, "lacks the arrays X and y"),
        ({"X": np.zeros((32, 32, 3, 2)), "y": [[1], [2]]}, "must hold bytes X"),
        ({"X": np.zeros((2, 32, 32, 3), np.uint8), "y": [[1], [2]]}, "of shape"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": [[1]]}, r"y of shape \(1, 1\)"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": [[0], [1]]}, r"in 1\.\.10"),
        ({"X": np.zeros((32, 32, 3, 1), np.uint8), "y": [[1]]}, "two images at least"),
    ],
)
def test_damaged_files(tmp_path, content, message):
    write_svhn(tmp_path)
    scipy.io.savemat(tmp_path / FILES[0], content)
    with pytest.raises(ValueError, match=message) as error:
        load_dataset("svhn", source="files", data_dir=tmp_path)
    assert FILES[0] in str(error.value)


@pytest.mark.parametrize("size", [0, 50, 200, 10_000])
def test_truncated_files(tmp_path, size):
    write_svhn(tmp_path)
    path = tmp_path / FILES[1]
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"test_32x32.mat is damaged"):
        load_dataset("svhn", source="files", data_dir=tmp_path)


def test_tfds(tmp_path, monkeypatch):
    numbers = np.arange(12, dtype=np.uint8)
    images = np.broadcast_to(numbers[:, None, None, None], (12, 32, 32, 3))
    labels = numbers.astype(np.int64) % 10
    write_tfds(tmp_path, "svhn_cropped", {"train": (images, labels), "test": (images, labels)}, 10)
    splits = ("train[:9]", "train[9:]", "test")
    small = dataclasses.replace(loading._DATASETS["svhn"], tfds_splits=splits)
    monkeypatch.setitem(loading._DATASETS, "svhn", small)
    data = load_dataset("svhn", data_dir=tmp_path)
    assert (data.source, data.sizes) == ("tfds", {"train": 9, "validation": 3, "test": 12})
    found = np.concatenate([data.train, data.validation])[:, 0, 0, 0]
    assert sorted(found) == list(range(12))
    np.testing.assert_array_equal([*data.train_labels, *data.validation_labels], found % 10)
