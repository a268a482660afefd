"""Data of one's own: arrays, tables, images; what is refused, and in which words."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from snf_tf.data import load_dataset, load_files
from tests.data.files import images_of, png, write_folder

X = np.random.RandomState(0).randn(40, 3)
LABELS = np.arange(40) % 4


def rows(data):
    """All examples, sorted by their first number."""
    x = np.concatenate([data.train, data.validation, data.test])
    return x[np.argsort(x.reshape(len(x), -1)[:, 0])]


def sorted_x(x=X):
    return x[np.argsort(x[:, 0])].astype("float32")


def table(**columns):
    return pd.DataFrame(X, columns=["a", "b", "c"]).assign(**columns)


def write(path, data):
    if path.suffix == ".npy":
        np.save(path, data[["a", "b", "c"]].to_numpy())
    elif path.suffix == ".npz":
        np.savez(path, x=data[["a", "b", "c"]].to_numpy(), y=data["kind"].to_numpy(str))
    elif path.suffix == ".csv":
        data.to_csv(path, index=False)
    else:
        data.to_parquet(path)
    return path


@pytest.mark.parametrize("kind", ["npy", "npz", "csv", "parquet"])
def test_every_kind_of_file(tmp_path, kind):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    names = np.array(["dog", "ant", "cow", "cat"])[LABELS]
    path = write(tmp_path / f"my.{kind}", table(kind=names))
    options = {"label": "kind"} if kind in ("csv", "parquet") else {}
    data = load_files(path, seed=3, **options)
    assert (data.name, data.source, data.event_shape) == (f"my.{kind}", "files", (3,))
    assert data.sizes == {"train": 32, "validation": 4, "test": 4}
    np.testing.assert_array_equal(rows(data), sorted_x())
    assert data.train.dtype == np.float32
    if kind == "npy":
        assert (data.train_labels, data.classes) == (None, None)
    else:
        # Classes are numbered in the order of their names.
        number = {name: index for index, name in enumerate(["ant", "cat", "cow", "dog"])}
        label_of = {float(np.float32(x[0])): number[n] for x, n in zip(X, names, strict=True)}
        for part in ("train", "validation", "test"):
            expected = [label_of[float(x[0])] for x in getattr(data, part)]
            np.testing.assert_array_equal(getattr(data, f"{part}_labels"), expected)
        assert (data.classes, data.train_labels.dtype) == (4, np.int32)


def test_splits_by_seed_and_fractions(tmp_path):
    path = write(tmp_path / "my.npy", table())
    one, same, other = (load_files(path, fractions=(0.5, 0.2, 0.3), seed=s) for s in (1, 1, 2))
    assert one.sizes == {"train": 20, "validation": 8, "test": 12}
    np.testing.assert_array_equal(one.train, same.train)
    assert (one.train != other.train).any()
    np.testing.assert_array_equal(rows(one), rows(other))


@pytest.mark.parametrize("kind", ["npz", "folder of csv", "folder of npy"])
def test_given_splits(tmp_path, kind):
    parts = {"train": slice(0, 20), "validation": slice(20, 30), "test": slice(30, 40)}
    path = tmp_path / "my.npz"
    if kind == "npz":
        arrays = {name: X[part] for name, part in parts.items()}
        arrays |= {f"{name}_labels": LABELS[part] + 5 for name, part in parts.items()}
        arrays |= {f"{name}_context": X[part, :2] for name, part in parts.items()}
        np.savez(path, **arrays)
    else:
        path = tmp_path / "folder"
        path.mkdir()
        for name, part in parts.items():
            write(path / f"{name}.{kind[-3:]}", table(kind=LABELS + 5)[part])
    data = load_files(path, label="kind" if "csv" in kind else None)
    for name, part in parts.items():
        np.testing.assert_array_equal(getattr(data, name), X[part].astype("float32"))
        if "npy" not in kind:
            np.testing.assert_array_equal(getattr(data, f"{name}_labels"), LABELS[part])
        if kind == "npz":
            expected = X[part, :2].astype("float32")
            np.testing.assert_array_equal(getattr(data, f"{name}_context"), expected)


def test_contexts_follow_their_examples(tmp_path):
    np.savez(tmp_path / "my.npz", x=X, context=X[:, 0] + 1.0)
    data = load_files(tmp_path / "my.npz")
    for part in ("train", "validation", "test"):
        context = getattr(data, f"{part}_context")
        np.testing.assert_allclose(context, getattr(data, part)[:, 0] + 1.0, rtol=1e-6)


def test_images_in_folders(tmp_path):
    images = images_of(30, seed=1, size=8)
    path = tmp_path / "images"
    write_folder(path, {})
    for label in range(3):
        part = {f"{i}.png": png(images[i]) for i in range(label, 30, 3)}
        write_folder(path / f"class{label}", part)
    (path / "class0/notes.txt").write_text("no image")
    data = load_files(path)
    assert (data.event_shape, data.classes, data.train.dtype) == ((8, 8, 3), 3, np.uint8)
    labels = {image.tobytes(): index % 3 for index, image in enumerate(images)}
    for part in ("train", "validation", "test"):
        found = [labels.pop(image.tobytes()) for image in getattr(data, part)]
        np.testing.assert_array_equal(found, getattr(data, f"{part}_labels"))
    assert not labels


def test_grey_images(tmp_path):
    images = np.arange(12 * 16, dtype=np.uint8).reshape(12, 4, 4, 1)
    for index, image in enumerate(images):
        content = tf.io.encode_png(image).numpy()
        (tmp_path / f"{index:02d}.png").write_bytes(content)
    data = load_files(tmp_path)
    np.testing.assert_array_equal(rows(data), images)
    (tmp_path / "20.png").write_bytes(png(images_of(1, seed=0, size=4)[0]))
    with pytest.raises(ValueError, match=r"20\.png of shape \(4, 4, 3\)"):
        load_files(tmp_path)


def test_given_folders_of_images(tmp_path):
    images = images_of(9, seed=1, size=4)
    for index, part in enumerate(("train", "validation", "test")):
        three = images[3 * index : 3 * index + 3]
        write_folder(tmp_path / part, {f"{i}.png": png(image) for i, image in enumerate(three)})
    data = load_files(tmp_path)
    np.testing.assert_array_equal(data.validation, images[3:6])
    assert data.classes is None


def test_bytes_stay_bytes(tmp_path):
    np.save(tmp_path / "my.npy", images_of(20, seed=0, size=4))
    assert load_files(tmp_path / "my.npy").train.dtype == np.uint8


def test_load_dataset_knows_them(tmp_path):
    write(tmp_path / "my.csv", table())
    data = load_dataset("files", path=tmp_path / "my.csv")
    same = load_dataset("files", source="files", data_dir=tmp_path, path="my.csv")
    np.testing.assert_array_equal(data.train, same.train)
    for options in ({"name": "files"}, {"name": "mnist", "path": "my.csv"}):
        with pytest.raises(ValueError, match='"files" needs path'):
            load_dataset(**options)
    with pytest.raises(ValueError, match="has files alone"):
        load_dataset("files", source="tfds", path=tmp_path / "my.csv")


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("my.csv", table(b=np.nan).to_csv(index=False), {}, "missing values.*40 of 120.*columns b"),
        ("my.csv", table(b="x").to_csv(index=False), {}, "must be numbers.*text or dates in b"),
        ("my.csv", table().to_csv(index=False), {"label": "d"}, "label must be a column.*a, b, c"),
        ("my.csv", table(b=np.nan).to_csv(index=False), {"label": "b"}, "40 labels are missing"),
        ("my.csv", table().to_csv(index=False), {"label": "a"}, "another kind are a context"),
        ("my.csv", table().to_csv(index=False, header=False), {}, "line of the columns' names"),
        ("my.csv", "", {}, "damaged, or no CSV"),
        ("my.csv", "a,b\n1,2\n", {}, "Every split must get an example"),
        ("my.npy", "", {}, "damaged, or no .npy file"),
        ("my.npz", "PK", {}, "damaged, or holds no arrays"),
        ("my.npy", "", {"label": "a"}, "is no table"),
        ("my.parquet", "PAR1", {}, "damaged, or no Parquet"),
        ("my.txt", "", {}, "path must be a .npy, .npz, .csv"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, name, content, options, message):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        load_files(tmp_path / name, **options)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": X}, "must hold x, or train"),
        ({"train": X, "test": X}, "without validation"),
        ({"x": X[:, 0]}, r"of shape \(N,\) \+ event_shape"),
        ({"x": X, "y": LABELS[:3]}, "one label an example"),
        ({"x": X, "context": X[:3]}, "one context an example"),
        ({"x": X, "context": np.full(40, np.inf)}, "context of x"),
        ({"train": X, "validation": X, "test": X[:, :2]}, "examples of one shape"),
        ({"train": X, "validation": X, "test": X, "test_labels": LABELS}, "none has"),
        ({"x": X.astype("complex64")}, "must hold numbers x"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, arrays, message):
    np.savez(tmp_path / "my.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load_files(tmp_path / "my.npz")


def test_folders_that_do_not_fit(tmp_path):
    images = images_of(4, seed=0, size=4)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        load_files(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="must hold PNG or JPEG images"):
        load_files(tmp_path)
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"a\.png is damaged"):
        load_files(tmp_path)
    (tmp_path / "a.png").write_bytes(png(images[0]))
    (tmp_path / "b.png").write_bytes(png(images[0, :3]))
    with pytest.raises(ValueError, match=r"b\.png must be an image of 4 x 4 pixels"):
        load_files(tmp_path)
    write_folder(tmp_path / "more", {"c.png": png(images[1])})
    with pytest.raises(ValueError, match="not both"):
        load_files(tmp_path)
