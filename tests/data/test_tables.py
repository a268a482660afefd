"""The tables of the literature on small files of their formats; scikit-learn's; missing values."""

import copyreg
import io
import os
import pickle

import h5py
import numpy as np
import pandas as pd
import pytest
from pandas.core.internals import BlockManager

from snf_tf.data import load_dataset

RANDOM = np.random.RandomState(3)


def write_power(path, count=57):
    data = RANDOM.randn(count, 8) * np.arange(1, 9) + 100.0
    path.mkdir()
    np.save(path / "data.npy", data)
    return data


def gas_table(count=200):
    """Columns c and d follow a; b stands alone."""
    a, b = RANDOM.randn(2, count)
    c, d = a + 1e-3 * RANDOM.randn(count), 5.0 - 2.0 * a
    columns = {"Time": np.arange(count), "Meth": b, "Eth": a, "a": a, "b": 3 * b, "c": c, "d": d}
    return pd.DataFrame(columns)


def all_splits(data):
    return np.concatenate([data.train, data.validation, data.test])


def test_power(tmp_path):
    data = write_power(tmp_path / "power")
    found = load_dataset("tabular/power", source="files", data_dir=tmp_path)
    assert (found.sizes, found.source) == ({"train": 47, "validation": 5, "test": 5}, "files")
    random = np.random.RandomState(42)
    rows = data[:]
    random.shuffle(rows)
    noise = [0.01 * random.rand(57, 1), 0.001 * random.rand(57, 1), random.rand(57, 3)]
    expected = np.delete(rows, [1, 3], axis=1)
    expected[:, 1:2] += noise[0]
    expected[:, :1] += noise[1]
    expected[:, 2:5] += noise[2]
    known = expected[:52]
    expected = (expected - known.mean(0)) / known.std(0)
    np.testing.assert_allclose(all_splits(found), expected, rtol=1e-6, atol=1e-6)
    assert found.train.dtype == np.float32


class OldPickler(pickle.Pickler):
    """Pickles a table as pandas did in 2017, by the names of today."""

    def reducer_override(self, obj):
        if isinstance(obj, pd.DataFrame):
            state = {"_metadata": [], "_typ": "dataframe", "_data": obj._mgr}
            return copyreg.__newobj__, (pd.DataFrame,), state
        if isinstance(obj, BlockManager):
            axes = [pd.Index(np.array(obj.axes[0], dtype=object), dtype=object), obj.axes[1]]
            blocks = [{"values": b.values, "mgr_locs": b.mgr_locs.indexer} for b in obj.blocks]
            new = {"0.14.1": {"axes": axes, "blocks": blocks}}
            return copyreg.__newobj__, (BlockManager,), (axes, [], [], new)
        return NotImplemented


@pytest.mark.parametrize("kind", ["pickle", "old pickle", "csv"])
def test_gas(tmp_path, kind):
    table = gas_table()
    (tmp_path / "gas").mkdir()
    path = tmp_path / "gas/ethylene_CO.pickle"
    if kind == "csv":
        table.to_csv(path.with_suffix(".csv"), index=False)
    elif kind == "pickle":
        table.to_pickle(path)
    else:
        buffer = io.BytesIO()
        OldPickler(buffer, protocol=2).dump(table)
        path.write_bytes(buffer.getvalue())
    found = load_dataset("tabular/gas", data_dir=tmp_path)
    # Of a and c the last is left; d is a mirror image of them.
    expected = table[["b", "c", "d"]].to_numpy()
    expected = (expected - expected.mean(0)) / expected.std(0, ddof=1)
    np.testing.assert_allclose(all_splits(found), expected, rtol=1e-5, atol=1e-6)
    assert found.sizes == {"train": 162, "validation": 18, "test": 20}


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def test_a_pickle_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gas").mkdir()
    for content in (Evil(), gas_table().assign(a=[Evil()] * 200), [1.0], {"x": np.ones(3)}):
        (tmp_path / "gas/ethylene_CO.pickle").write_bytes(pickle.dumps(content))
        with pytest.raises(ValueError, match="damaged, or no table of numbers"):
            load_dataset("tabular/gas", data_dir=tmp_path)
    assert not (tmp_path / "evil").exists()


def test_hepmass(tmp_path):
    def table(count, extra):
        data = RANDOM.randn(count, 4) + 2.0
        # The least value of the third column repeats too often; values of the fourth, not so.
        data[:, 2] = np.maximum(data[:, 2], 2.0)
        data[:, 3] = np.minimum(data[:, 3], 2.0)
        label = (np.arange(count) % 3 > 0).astype(float)
        data = np.column_stack([label, data, np.full(count, 1000.0)])
        names = ["# label", "f0", "f1", "f2", "f3", "mass"]
        return pd.DataFrame(data[:, : 5 + extra], columns=names[: 5 + extra])

    train, test = table(90, extra=0), table(30, extra=1)
    (tmp_path / "hepmass").mkdir()
    train.to_csv(tmp_path / "hepmass/1000_train.csv", index=False)
    test.to_csv(tmp_path / "hepmass/1000_test.csv", index=False)
    found = load_dataset("tabular/hepmass", data_dir=tmp_path)
    signal = train.to_numpy()[train["# label"] == 1][:, [1, 2, 4]]
    other = test.to_numpy()[test["# label"] == 1][:, [1, 2, 4]]
    mean, deviation = signal.mean(0), signal.std(0, ddof=1)
    expected = (np.concatenate([signal, other]) - mean) / deviation
    np.testing.assert_allclose(all_splits(found), expected, rtol=1e-5, atol=1e-6)
    assert found.sizes == {"train": 54, "validation": 6, "test": 20}
    test.rename(columns={"f1": "g"}).to_csv(tmp_path / "hepmass/1000_test.csv", index=False)
    with pytest.raises(ValueError, match="must have the columns of"):
        load_dataset("tabular/hepmass", data_dir=tmp_path)
    train[train["# label"] == 0].to_csv(tmp_path / "hepmass/1000_train.csv", index=False)
    with pytest.raises(ValueError, match=r"examples of class 1.*none"):
        load_dataset("tabular/hepmass", data_dir=tmp_path)


def test_miniboone(tmp_path):
    (tmp_path / "miniboone").mkdir()
    data = 7.0 * RANDOM.randn(100, 43)
    np.save(tmp_path / "miniboone/data.npy", data)
    found = load_dataset("tabular/miniboone", data_dir=tmp_path)
    assert found.sizes == {"train": 81, "validation": 9, "test": 10}
    expected = (data - data[:90].mean(0)) / data[:90].std(0)
    np.testing.assert_allclose(all_splits(found), expected, rtol=1e-5, atol=1e-6)


def test_bsds300(tmp_path):
    (tmp_path / "BSDS300").mkdir()
    sizes = {"train": 9, "validation": 4, "test": 5}
    splits = {name: RANDOM.randn(size, 63) for name, size in sizes.items()}
    with h5py.File(tmp_path / "BSDS300/BSDS300.hdf5", "w") as file:
        for name, values in splits.items():
            file[name] = values
    found = load_dataset("tabular/bsds300", data_dir=tmp_path)
    np.testing.assert_array_equal(
        all_splits(found), np.concatenate(list(splits.values())).astype("float32")
    )
    assert found.sizes == sizes


@pytest.mark.parametrize("name", ["power", "gas", "hepmass", "miniboone", "bsds300"])
def test_damaged_and_missing_files(tmp_path, name):
    for source in ("files", "auto"):
        with pytest.raises(FileNotFoundError, match="not found"):
            load_dataset(f"tabular/{name}", source=source, data_dir=tmp_path)
    with pytest.raises(ValueError, match="No package brings this data set"):
        load_dataset(f"tabular/{name}", source="embedded")
    with pytest.raises(ValueError, match="TFDS does not have this data set"):
        load_dataset(f"tabular/{name}", source="tfds")
    folder = tmp_path / ("BSDS300" if name == "bsds300" else name)
    folder.mkdir()
    for file in ("data.npy", "ethylene_CO.pickle", "1000_train.csv", "1000_test.csv"):
        (folder / file).write_bytes(b"")
    (folder / "BSDS300.hdf5").write_bytes(b"<html>404</html>")
    with pytest.raises(ValueError, match="damaged"):
        load_dataset(f"tabular/{name}", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((30, 5)), r"shape \(N, 8\).*\(30, 5\)"),
        (np.zeros((10, 8)), "20 examples at least"),
        (np.zeros((30, 8), "U3"), "must hold numbers"),
        (
            np.pad(RANDOM.randn(30, 7), ((0, 0), (0, 1)), constant_values=np.nan),
            "missing values.*power/data.npy.*columns 7",
        ),
    ],
)
def test_other_tables_are_refused(tmp_path, data, message):
    (tmp_path / "power").mkdir()
    np.save(tmp_path / "power/data.npy", data)
    with pytest.raises(ValueError, match=message):
        load_dataset("tabular/power", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "count"),
    [
        ("tabular/breast_cancer", (30,), 2, 569),
        ("tabular/wine", (13,), 3, 178),
        ("tabular/diabetes", (10,), None, 442),
        ("digits", (8, 8, 1), 10, 1797),
    ],
)
def test_tables_of_scikit_learn(name, shape, classes, count):
    from sklearn import datasets

    data = load_dataset(name)
    assert (data.source, data.event_shape, data.classes) == ("embedded", shape, classes)
    assert sum(data.sizes.values()) == count
    options = {"scaled": False} if name == "tabular/diabetes" else {}
    x, y = getattr(datasets, f"load_{name.split('/')[-1]}")(return_X_y=True, **options)
    # The order is that of the seed 0, and training comes first.
    order = np.random.default_rng(0).permutation(count)
    expected = x.reshape(-1, *shape).astype(data.train.dtype)[order]
    np.testing.assert_array_equal(all_splits(data), expected)
    assert data.sizes["train"] == round(0.7 * count)
    if classes is None:
        assert data.train_labels is None
    else:
        labels = (data.train_labels, data.validation_labels, data.test_labels)
        np.testing.assert_array_equal(np.concatenate(labels), y[order])
        assert all(set(part) == set(range(classes)) for part in labels)
    if name == "digits":
        assert (data.train.dtype, data.train.max()) == (np.uint8, 16)
    with pytest.raises(ValueError, match="has no files"):
        load_dataset(name, source="files")
