"""Data that are more than the limit lie on disk, and are the same."""

import concurrent.futures
import os
import resource
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from snf_tf.data import StoredArray, load_dataset, load_files, storage
from snf_tf.data.storage import Storage
from tests.data import test_large_images, test_svhn
from tests.data.files import images_of, png, write_folder

X = np.random.RandomState(0).randint(0, 256, (40, 8, 8, 3)).astype(np.uint8)
LABELS = np.arange(40) % 4
CONTEXT = np.random.RandomState(1).randn(40, 2).astype("float32")


def serialized(array):
    return tf.train.BytesList(value=[tf.io.serialize_tensor(array).numpy()])


def record(x, y, context, kind):
    feature = {
        "x": {
            "image": lambda: tf.train.Feature(bytes_list=tf.train.BytesList(value=[png(x)])),
            "tensor": lambda: tf.train.Feature(bytes_list=serialized(x)),
            "floats": lambda: tf.train.Feature(float_list=tf.train.FloatList(value=x.ravel())),
            "integers": lambda: tf.train.Feature(int64_list=tf.train.Int64List(value=x.ravel())),
        }[kind](),
        "y": tf.train.Feature(int64_list=tf.train.Int64List(value=[y])),
        "context": tf.train.Feature(float_list=tf.train.FloatList(value=context)),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def write_records(path, kind, rows=slice(None)):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for x, y, context in zip(X[rows], LABELS[rows], CONTEXT[rows], strict=True):
            writer.write(record(x, y, context, kind))


def write(path, kind):
    """Writes the examples; returns the path, and which of labels and contexts it has."""
    path = path / "my"
    if kind == "npy":
        np.save(path.with_suffix(".npy"), X)
        return path.with_suffix(".npy"), ()
    if kind in ("npz", "compressed"):
        save = np.savez if kind == "npz" else np.savez_compressed
        save(path.with_suffix(".npz"), x=X, y=LABELS, context=CONTEXT)
        return path.with_suffix(".npz"), ("labels", "context")
    if kind in ("image", "tensor", "floats", "integers"):
        write_records(path.with_suffix(".tfrecord"), kind)
        return path.with_suffix(".tfrecord"), ("labels", "context")
    path.mkdir()
    if kind == "shards":
        for number, part in enumerate(np.split(X, [11, 12, 30])):
            np.save(path / f"{number}.npy", part)
        return path, ()
    if kind == "records":
        write_records(path / "a.tfrecord", "tensor", slice(0, 15))
        write_records(path / "b.tfrecord", "tensor", slice(15, 40))
        return path, ("labels", "context")
    if kind == "images":
        for label in range(4):
            images = {f"{i}.png": png(X[i]) for i in range(label, 40, 4)}
            write_folder(path / f"class{label}", images)
        return path, ("labels",)
    if kind == "splits":
        for name, rows in {"train": slice(20), "validation": slice(20, 30), "test": 30}.items():
            rows = slice(30, 40) if name == "test" else rows
            np.save(path / f"{name}.npy", X[rows])
            np.save(path / f"{name}_labels.npy", LABELS[rows])
            np.save(path / f"{name}_context.npy", CONTEXT[rows])
        return path, ("labels", "context")
    assert kind == "split shards"
    for name, rows in {"train": slice(20), "validation": slice(20, 30), "test": None}.items():
        (path / name).mkdir()
        rows = rows or slice(30, 40)
        np.save(path / name / "b.npy", X[rows][6:])
        np.save(path / name / "a.npy", X[rows][:6])
    return path, ()


@pytest.mark.parametrize(
    "kind",
    [
        *("npy", "npz", "compressed", "shards", "splits", "split shards"),
        *("images", "image", "tensor", "floats", "integers", "records"),
    ],
)
def test_what_is_streamed_is_what_is_loaded(tmp_path, kind):
    path, beside = write(tmp_path, kind)
    loaded, streamed = load_files(path), load_files(path, memory_limit=0)
    assert loaded.sizes == streamed.sizes
    assert sum(loaded.sizes.values()) == 40
    assert (loaded.classes, loaded.event_shape) == (streamed.classes, streamed.event_shape)
    total = 0.0
    for split in ("train", "validation", "test"):
        one, two = getattr(loaded, split), getattr(streamed, split)
        assert isinstance(one, np.ndarray)
        assert isinstance(two, StoredArray)
        assert one.dtype == two.dtype == (np.float32 if kind in ("floats", "integers") else X.dtype)
        np.testing.assert_array_equal(one, two)
        total += one.sum(dtype=float)
        for name in ("labels", "context"):
            first, second = (getattr(data, f"{split}_{name}") for data in (loaded, streamed))
            assert (first is not None) == (name in beside)
            if first is not None:
                np.testing.assert_array_equal(first, second)
    assert total == X.sum()
    # Whatever the cache holds, a later call finds it, and takes it into memory where it fits.
    np.testing.assert_array_equal(load_files(path, memory_limit=0).train, loaded.train)
    np.testing.assert_array_equal(load_files(path).train, loaded.train)


@pytest.mark.parametrize(
    ("test", "arguments"),
    [
        (test_large_images.test_imagenet, {"size": 32, "kind": "tar"}),
        (test_large_images.test_imagenet, {"size": 32, "kind": "npz"}),
        (test_large_images.test_imagenet, {"size": 64, "kind": "zip"}),
        (test_large_images.test_celeba64, {}),
        (test_large_images.test_celeba64_from_tfds, {"monkeypatch": None}),
        (test_svhn.test_tfds, {"monkeypatch": None}),
    ],
)
def test_known_data_are_the_same_when_streamed(tmp_path, monkeypatch, test, arguments):
    monkeypatch.setattr(Storage, "limit", property(lambda self: 0))
    if "monkeypatch" in arguments:
        arguments = {"monkeypatch": monkeypatch}
    test(tmp_path, **arguments)
    assert list(tmp_path.rglob("snf_tf_cache/*.npy"))


def parts_of(calls, x=X):
    def parts():
        calls.append(1)
        for first in range(0, len(x), 7):
            time.sleep(0.001)
            yield x[first : first + 7]

    return parts


def test_a_cache_is_written_once(tmp_path):
    original, calls = tmp_path / "x", []
    original.write_text("one")
    assert isinstance(Storage(X.nbytes).keep("a/b", parts_of(calls), [original]), np.ndarray)
    assert not (tmp_path / "snf_tf_cache").exists()
    with concurrent.futures.ThreadPoolExecutor() as threads:
        arrays = list(
            threads.map(
                lambda _: Storage(X.nbytes - 1).keep("a/b", parts_of(calls), [original]), range(4)
            )
        )
    for array in arrays:
        assert isinstance(array, StoredArray)
        np.testing.assert_array_equal(array, X)
    assert len(list((tmp_path / "snf_tf_cache").glob("*.npy"))) == 1
    count = len(calls)
    np.testing.assert_array_equal(Storage(0).keep("a/b", parts_of(calls), [original]), X)
    np.testing.assert_array_equal(Storage().keep("a/b", parts_of(calls), [original]), X)
    assert len(calls) == count
    # Other originals, or another name, are other data.
    original.write_text("other")
    np.testing.assert_array_equal(Storage(0).keep("a/b", parts_of(calls, X[:9]), [original]), X[:9])
    np.testing.assert_array_equal(Storage(0).keep("b", parts_of(calls, X[:5]), [original]), X[:5])
    elsewhere = Storage(0, tmp_path / "new/cache").keep("b", parts_of(calls), [original])
    assert (len(elsewhere), len(list((tmp_path / "new/cache").glob("b-*.npy")))) == (40, 1)


def test_a_cache_is_whole_or_absent(tmp_path):
    def parts():
        yield X[:20]
        raise ValueError("a damaged original")

    with pytest.raises(ValueError, match="a damaged original"):
        Storage(0).keep("x", parts, [tmp_path])
    assert not list(tmp_path.parent.glob("snf_tf_cache/*.npy*"))
    np.testing.assert_array_equal(Storage(0).keep("x", parts_of([]), [tmp_path]), X)


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    np.savez(tmp_path / "my.npz", x=X)
    with pytest.raises(ValueError, match=r"cannot be stored: give load_dataset.cache_dir"):
        load_dataset("files", path=tmp_path / "my.npz", memory_limit=0, cache_dir=tmp_path / "file")
    for limit in (-1, 1.5, True):
        with pytest.raises(ValueError, match="memory_limit must be an integer"):
            load_dataset("mnist", source="embedded", memory_limit=limit)


def test_a_table_that_lies_column_by_column(tmp_path):
    x = np.asfortranarray(np.random.RandomState(0).randn(40, 3))
    np.save(tmp_path / "x.npy", x)
    loaded, streamed = (load_files(tmp_path / "x.npy", memory_limit=limit) for limit in (None, 0))
    assert isinstance(streamed.train, StoredArray)
    np.testing.assert_array_equal(streamed.train, loaded.train)
    np.savez(tmp_path / "x.npz", x=x)
    with pytest.raises(ValueError, match=r"x.npz .*numbers in C order.*ascontiguousarray"):
        load_files(tmp_path / "x.npz", memory_limit=0)


def test_floats_on_disk_are_checked(tmp_path):
    x = np.ones((4, 3))
    x[2, 1] = np.nan
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match=r"in x of .* 1 of 12 values .*, in columns 1"):
        load_files(tmp_path / "x.npy", memory_limit=0)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda path: path.write_bytes(20 * b"none"),
            "my.tfrecord is damaged, or no TFRecord file",
        ),
        (lambda path: path.write_bytes(b""), "Records must have x.*Received: none in"),
        (
            lambda path: tf.io.TFRecordWriter(str(path)).write(b"\xff\xff"),
            "my.tfrecord is damaged, or no TFRecord file",
        ),
    ],
)
def test_damaged_records(tmp_path, write, message):
    write(tmp_path / "my.tfrecord")
    with pytest.raises(ValueError, match=message):
        load_files(tmp_path / "my.tfrecord")


def test_records_of_other_shapes(tmp_path):
    path = tmp_path / "my.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for x in (X[0], X[1, :4]):
            writer.write(record(x, 0, [1.0], "integers"))
    with pytest.raises(ValueError, match=r"x of one shape, \(192,\). Received: \(96,\) in record"):
        load_files(path)


def test_the_limit_follows_those_of_the_process(monkeypatch, tmp_path):
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < Storage().limit <= whole // 4
    group = tmp_path / "memory.max"
    monkeypatch.setattr(storage, "_control_groups", lambda: iter([tmp_path / "none", group]))
    for text, limit in (("max\n", None), (f"{2**30}\n", 2**28)):
        group.write_text(text)
        assert limit is None or Storage().limit == limit
    monkeypatch.setattr(
        resource, "getrlimit", lambda kind: (2**20 if kind == resource.RLIMIT_DATA else -1, -1)
    )
    assert Storage().limit == 2**18
    assert Storage(5).limit == 5


def test_control_groups_are_found():
    if not Path("/proc/self/cgroup").exists():
        pytest.skip("No control groups.")
    assert all(path.name.startswith("memory.") for path in storage._control_groups())


def test_images_in_memory_and_not(tmp_path):
    """The cache of a folder of images is none of its classes."""
    write_folder(tmp_path / "my", {f"{i}.png": png(x) for i, x in enumerate(images_of(12, 0))})
    (tmp_path / "all").mkdir()
    (tmp_path / "my").rename(tmp_path / "all/my")
    for limit in (0, 0, None):
        data = load_files(tmp_path / "all", memory_limit=limit)
        assert (data.classes, sum(data.sizes.values())) == (1, 12)
