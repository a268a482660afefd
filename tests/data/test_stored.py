"""Arrays on disk are indexed like arrays in memory, and take none."""

import os

import keras
import numpy as np
import pytest

import snf_tf
from snf_tf.data import StoredArray, batches, training_batches
from snf_tf.data.order import Permutation

X = np.random.RandomState(0).randn(20, 2, 3)


def write_shards(directory, x=X, ends=(7, 8, 20)):
    paths = []
    for start, end in zip((0, *ends), ends, strict=False):
        paths.append(directory / f"{start:03d}.npy")
        np.save(paths[-1], x[start:end])
    return paths


@pytest.mark.parametrize("dtype", ["uint8", "bool", "float64", ">f4", "<i2"])
@pytest.mark.parametrize("ends", [(20,), (7, 8, 20)])
def test_rows_are_those_of_the_array(tmp_path, dtype, ends):
    x = (10 * X).astype(dtype)
    stored = StoredArray(write_shards(tmp_path, x, ends))
    assert (stored.shape, stored.ndim, len(stored), stored.nbytes) == (x.shape, 3, 20, x.nbytes)
    assert stored.dtype == x.dtype.newbyteorder("=")
    for rows in (
        slice(None),
        slice(3, 15),
        slice(-4, None),
        slice(15, 3, -2),
        slice(5, 5),
        np.array([19, 0, 7, 7, 8, -1]),
        np.arange(20) % 3 == 0,
        4,
        -1,
        (slice(2, 9), 1),
        (slice(None), slice(None), 2),
        (3, 0, slice(1, None)),
        (np.array([5, 3]), 1, 2),
    ):
        found = stored[rows]
        np.testing.assert_array_equal(found, x[rows])
        assert found.dtype == stored.dtype
    np.testing.assert_array_equal(stored, x)
    np.testing.assert_array_equal(np.concatenate(list(stored.parts())), x)
    np.testing.assert_array_equal(stored.astype(np.float32)[4:], x[4:].astype(np.float32))
    for rows in (20, -21, [3, 20]):
        with pytest.raises(IndexError, match=r"Rows must be in 0\.\.19"):
            stored[rows]


def test_a_selection_is_read_later(tmp_path):
    stored = StoredArray(write_shards(tmp_path))
    order = np.random.RandomState(1).permutation(20)
    chosen = stored.select(order[:12]).select(slice(2, 10))
    assert chosen.shape == (8, 2, 3)
    np.testing.assert_array_equal(chosen[:], X[order[2:10]])
    np.testing.assert_array_equal(chosen.take([7, 0]), X[order[[9, 2]]])
    permuted = stored.select(Permutation(20, [3])[5:])
    np.testing.assert_array_equal(permuted[1:3], X[Permutation(20, [3]).take([6, 7])])
    np.testing.assert_array_equal(stored[:], X)


def test_files_that_are_no_rows(tmp_path):
    with pytest.raises(FileNotFoundError):
        StoredArray([tmp_path / "none.npy"])
    with pytest.raises(ValueError, match=r"must name a .npy file"):
        StoredArray([])
    whole, other = write_shards(tmp_path, ends=(10, 20))
    np.save(other, X[:, :1])
    with pytest.raises(ValueError, match=r"rows of one shape and dtype. Received: .*010.npy"):
        StoredArray([whole, other])
    np.save(other, np.asfortranarray(X))
    with pytest.raises(ValueError, match=r"numbers in C order"):
        StoredArray([other])
    np.save(other, np.array(["a", "b"]))
    with pytest.raises(ValueError, match=r"must hold numbers"):
        StoredArray([other])
    other.write_bytes(b"no array")
    with pytest.raises(ValueError, match=r"010.npy is damaged, or no .npy file"):
        StoredArray([other])
    os.truncate(whole, os.path.getsize(whole) - 1)
    with pytest.raises(ValueError, match=r"000.npy is damaged: it is shorter than its 10 rows"):
        StoredArray([whole])


def test_batches_are_those_of_the_array(tmp_path):
    stored, labels = StoredArray(write_shards(tmp_path)), np.arange(20)
    for draw in (
        lambda x: batches(x, 3, labels),
        lambda x: training_batches(x, 3, seed=1, first_epoch=1, first_step=2, labels=labels),
        lambda x: training_batches(x, 4, steps_per_epoch=9, labels=x),
    ):
        for one, two in zip(draw(stored).take(15), draw(X).take(15), strict=True):
            np.testing.assert_array_equal(one[0], two[0])
            np.testing.assert_array_equal(one[1], two[1])


def test_a_flow_takes_them_as_arrays(tmp_path):
    x = X.astype("float32").reshape(20, 6)
    np.save(tmp_path / "x.npy", x)
    stored = StoredArray([tmp_path / "x.npy"])
    histories = []
    for data in (x, stored):
        keras.utils.set_random_seed(0)
        flow = snf_tf.Flow([snf_tf.layers.ExactDense()], (6,))
        flow.compile()
        fitted = flow.fit(data, batch_size=5, epochs=2, validation_data=data, verbose=0)
        found = flow.predict(data)[1].tolist(), flow.log_prob(data).numpy().tolist()
        histories.append([fitted.history, flow.evaluate(data), *found])
    assert histories[0] == histories[1]


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="measures memory on Linux")
def test_memory_stays_flat(tmp_path):
    """400 MB are read, a part of them at random; a map of the file would be in memory."""
    path = tmp_path / "x.npy"
    with open(path, "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (100_000, 4000)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 400_000_000)
    stored = StoredArray([path])
    drawn = iter(training_batches(stored, 100))
    next(drawn)
    before = resident()
    for _ in range(500):
        next(drawn)
    for part in stored.parts():
        assert not part.any()
    assert resident() - before < 100e6
