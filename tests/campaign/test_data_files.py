"""Every file of data that is damaged, or made to harm, is refused by its name: in time, in memory.

A table of text does not tell how long it is: of one that was cut off nothing is asked.
"""

import gzip
import io
import itertools
import struct
import tarfile
import time
import tracemalloc
import zipfile
import zlib

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from snf_tf.data import load_dataset
from tests.campaign.data_files import DAMAGES, HONEST, files_of, load

_CUT = ("half", "most")
MEBIBYTE = 2**20
# Zeros, so many that they would fill the memory; a file holds a thousandth of them.
HUGE = 2**31


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", HONEST)
def test_damaged_files_are_refused_by_name(kind, tmp_path):
    HONEST[kind][0](tmp_path)
    load(kind, tmp_path)
    wrong = []
    for file, damage in itertools.product(files_of(tmp_path), DAMAGES):
        content = file.read_bytes()
        file.write_bytes(DAMAGES[damage](content))
        found = refusal(lambda: load(kind, tmp_path))
        file.write_bytes(content)
        if file.name not in found and not (file.suffix == ".csv" and damage in _CUT):
            wrong.append(f"{file.name}, {damage}: {found}")
    assert wrong == []
    load(kind, tmp_path)


def refusal(call):
    """Returns the message of a ValueError; what else happens is none."""
    try:
        call()
    except ValueError as error:
        return str(error)
    except BaseException as error:
        return repr(type(error))
    return "no error"


def gzip_of_zeros(path, header):
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header)
        for _ in range(HUGE >> 24):
            file.write(bytes(2**24))


def idx(path):
    gzip_of_zeros(
        path / "train-images-idx3-ubyte.gz", struct.pack(">HBB3I", 0, 8, 3, 2**21, 32, 32)
    )
    (path / "t10k-images-idx3-ubyte.gz").write_bytes(b"")


def idx_of_another_length(path):
    gzip_of_zeros(path / "train-images-idx3-ubyte.gz", struct.pack(">HBB3I", 0, 8, 3, 6, 28, 28))
    (path / "t10k-images-idx3-ubyte.gz").write_bytes(b"")


def idx_of_many_axes(path):
    header = struct.pack(">HBB255I", 0, 8, 255, *([1] * 255))
    with gzip.open(path / "train-images-idx3-ubyte.gz", "wb") as file:
        file.write(header + b"0")
    (path / "t10k-images-idx3-ubyte.gz").write_bytes(b"")


def tar_member(size):
    member = tarfile.TarInfo("data_batch_1")
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)


def tar_of_zeros(path):
    gzip_of_zeros(path / "cifar-10-python.tar.gz", tar_member(HUGE))


def tar_that_claims(path):
    with gzip.open(path / "cifar-10-python.tar.gz", "wb") as file:
        file.write(tar_member(2**60))


def tar_that_goes_back(path):
    (path / "train_32x32.tar").write_bytes(tar_member(-(2**40)) + bytes(1024))
    (path / "valid_32x32.tar").write_bytes(b"")


def zip_member(path, name, header=b""):
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, True, 1) as file,
        file.open(name, "w", force_zip64=True) as member,
    ):
        member.write(header)
        for _ in range(HUGE >> 24):
            member.write(bytes(2**24))


def zip_of_zeros(path):
    zip_member(path / "img_align_celeba.zip", "a.png")
    (path / "list_eval_partition.txt").write_text("a.png 0\nb.png 1\nc.png 2\n")


def npy_header(shape):
    buffer = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(buffer, header)
    return buffer.getvalue()


def npz_of_zeros(path):
    zip_member(path / "x.npz", "x.npy", npy_header((HUGE >> 6, 8)))


def npz_that_claims(path):
    with zipfile.ZipFile(path / "x.npz", "w") as file:
        file.writestr("x.npy", npy_header((2**50, 8)))


def npy_that_claims(path):
    (path / "x.npy").write_bytes(npy_header((2**50, 8)) + bytes(1000))


def hdf5_of_nothing(path):
    (path / "BSDS300").mkdir()
    with h5py.File(path / "BSDS300/BSDS300.hdf5", "w") as file:
        for part in ("train", "validation", "test"):
            file.create_dataset(part, (10**11, 63), "f8")


def hdf5_of_another_file(path):
    (path / "BSDS300").mkdir()
    with h5py.File(path / "other.hdf5", "w") as other:
        other["x"] = np.ones((10, 63))
    with h5py.File(path / "BSDS300/BSDS300.hdf5", "w") as file:
        for part in ("train", "validation", "test"):
            file[part] = h5py.ExternalLink(path / "other.hdf5", "x")


def mat_of_zeros(path):
    body = zlib.compressobj(1)
    parts = [body.compress(struct.pack("<II", 14, HUGE))]
    parts += [body.compress(bytes(2**24)) for _ in range(HUGE >> 24)]
    content = b"".join([*parts, body.flush()])
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    content = header + struct.pack("<II", 15, len(content)) + content
    (path / "train_32x32.mat").write_bytes(content)
    (path / "test_32x32.mat").write_bytes(b"")


def png_of_one_colour(path):
    (path / "own").mkdir()
    Image.new("1", (12_000, 12_000)).save(path / "own/a.png")


def parquet_of_one_number(path):
    rows = 2**26
    pd.DataFrame({"a": np.zeros(rows)}).to_parquet(path / "x.parquet", row_group_size=rows)


# How to write the file -> the name of the data set, and the file.
BOMBS = {
    idx: ("mnist", "train-images-idx3-ubyte.gz"),
    idx_of_another_length: ("mnist", "train-images-idx3-ubyte.gz"),
    idx_of_many_axes: ("mnist", "train-images-idx3-ubyte.gz"),
    tar_of_zeros: ("cifar10", "cifar-10-python.tar.gz"),
    tar_that_claims: ("cifar10", "cifar-10-python.tar.gz"),
    tar_that_goes_back: ("imagenet32", "train_32x32.tar"),
    zip_of_zeros: ("celeba64", "img_align_celeba.zip"),
    npz_of_zeros: ("files", "x.npz"),
    npz_that_claims: ("files", "x.npz"),
    npy_that_claims: ("files", "x.npy"),
    hdf5_of_nothing: ("tabular/bsds300", "BSDS300.hdf5"),
    hdf5_of_another_file: ("tabular/bsds300", "BSDS300.hdf5"),
    mat_of_zeros: ("svhn", "train_32x32.mat"),
    png_of_one_colour: ("files", "own/a.png"),
    parquet_of_one_number: ("files", "x.parquet"),
}
# What takes seconds to write.
_SLOW = (idx, idx_of_another_length, tar_of_zeros, zip_of_zeros, npz_of_zeros, mat_of_zeros)
_CASES = [
    pytest.param(write, *found, marks=pytest.mark.slow if write in _SLOW else (), id=write.__name__)
    for write, found in BOMBS.items()
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("write", "name", "file"), _CASES)
def test_what_would_fill_the_memory_is_refused(write, name, file, tmp_path):
    write(tmp_path)
    stored = next(tmp_path.rglob(file)).stat().st_size
    place = {"path": tmp_path / file.split("/a.png")[0]} if name == "files" else {}
    tracemalloc.start()
    start = time.monotonic()
    found = refusal(lambda: load_dataset(name, "files", tmp_path, **place))
    _, largest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert file in found
    # What a file of this size may hold, with copies.
    assert largest < 3 * (256 * MEBIBYTE + 100 * stored)
    assert time.monotonic() - start < 20
