"""Honest files of data, small, and what may be wrong with them."""

import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import scipy.io

from snf_tf.data import Dataset, load_dataset
from tests.data.files import images_of, npz, png, rows_of, write_folder, write_tar, write_zip
from tests.mnist_files import write_mnist

TABLE = np.random.RandomState(0).randn(60, 8)
FACES = np.random.RandomState(1).randint(0, 256, (3, 218, 178, 3)).astype("uint8")


def cifar(directory, kind):
    names = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
    members = {}
    for seed, name in enumerate(names):
        rows, labels = rows_of(images_of(4, seed)), [seed, 1, 2, 3]
        if kind == "python":
            members[name] = pickle.dumps({b"data": rows, b"labels": labels})
        else:
            members[f"{name}.bin"] = np.column_stack([np.uint8(labels), rows]).tobytes()
    write_tar(directory / f"cifar-10-{kind}.tar.gz", members)


def svhn(directory):
    for name, compressed in (("train", True), ("test", False)):
        content = {"X": images_of(22, 0).transpose(1, 2, 3, 0), "y": np.ones((22, 1), "uint8")}
        scipy.io.savemat(directory / f"{name}_32x32.mat", content, do_compression=compressed)


def imagenet(directory, kind):
    if kind == "tar":
        for name in ("train", "valid"):
            members = {f"{name}/{i}.png": png(image) for i, image in enumerate(images_of(4, 0))}
            write_tar(directory / f"{name}_32x32.tar", members)
        return
    arrays = npz(data=rows_of(images_of(4, 0)))
    if kind == "npz":
        for name in ("train_data_batch_1", "val_data"):
            (directory / f"{name}.npz").write_bytes(arrays)
        return
    write_zip(directory / "Imagenet32_train.zip", {"train_data_batch_1.npz": arrays})
    write_zip(directory / "Imagenet32_val.zip", {"val_data.npz": arrays})


def celeba(directory):
    names = [f"{i}.png" for i in range(3)]
    faces = zip(names, FACES, strict=True)
    write_zip(directory / "img_align_celeba.zip", {name: png(face) for name, face in faces})
    lines = [f"{name} {part}" for part, name in enumerate(names)]
    (directory / "list_eval_partition.txt").write_text("\n".join(lines))


def faces(directory, kind):
    write = {"tar": write_tar, "zip": write_zip, "folder": write_folder}[kind]
    images = {f"{i}.png": png(image) for i, image in enumerate(images_of(3, 0, 256))}
    write(directory / ("data256x256" + ("" if kind == "folder" else f".{kind}")), images)


def table(directory, name):
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    frame = pd.DataFrame(TABLE, columns=["Time", "Meth", "Eth", *"abcde"])
    if path.suffix == ".npy":
        np.save(path, TABLE)
    elif path.suffix == ".pickle":
        frame.to_pickle(path)
    elif path.suffix == ".csv":
        frame["Time"] = 1.0
        frame.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".npz":
        np.savez_compressed(path, x=TABLE)
    else:
        with h5py.File(path, "w") as file:
            for part in ("train", "validation", "test"):
                file[part] = TABLE


def hepmass(directory):
    table(directory, "hepmass/1000_train.csv")
    table(directory, "hepmass/1000_test.csv")


# Name -> how to write the files, and the name of the data set.
HONEST: dict[str, tuple[Callable[[Path], None], str]] = {
    "mnist": (write_mnist, "mnist"),
    "cifar10 python": (lambda path: cifar(path, "python"), "cifar10"),
    "cifar10 binary": (lambda path: cifar(path, "binary"), "cifar10"),
    "svhn": (svhn, "svhn"),
    **{
        f"imagenet32 {kind}": (lambda path, kind=kind: imagenet(path, kind), "imagenet32")
        for kind in ("tar", "npz", "zip")
    },
    "celeba64": (celeba, "celeba64"),
    **{
        f"celeba_hq256 {kind}": (lambda path, kind=kind: faces(path, kind), "celeba_hq256")
        for kind in ("tar", "zip", "folder")
    },
    "power": (lambda path: table(path, "power/data.npy"), "tabular/power"),
    "gas pickle": (lambda path: table(path, "gas/ethylene_CO.pickle"), "tabular/gas"),
    "gas csv": (lambda path: table(path, "gas/ethylene_CO.csv"), "tabular/gas"),
    "hepmass": (hepmass, "tabular/hepmass"),
    "miniboone": (lambda path: table(path, "miniboone/data.npy"), "tabular/miniboone"),
    "bsds300": (lambda path: table(path, "BSDS300/BSDS300.hdf5"), "tabular/bsds300"),
    **{
        f"own {kind}": (lambda path, kind=kind: table(path, f"own/x.{kind}"), f"own/x.{kind}")
        for kind in ("npy", "npz", "csv", "parquet")
    },
    "own folder": (
        lambda path: write_folder(
            path / "own", {f"{i}.png": png(x) for i, x in enumerate(images_of(20, 0))}
        ),
        "own",
    ),
}


def files_of(directory: Path) -> list[Path]:
    """Returns the files under a directory, of a folder of images the last one."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return files[-1:] if files[0].suffix == ".png" else files


def load(kind: str, directory: Path) -> Dataset:
    name = HONEST[kind][1]
    if kind.startswith("own"):
        return load_dataset("files", path=directory / name)
    return load_dataset(name, source="files", data_dir=directory)


def noise(seed: int, size: int = 100_000) -> bytes:
    return np.random.default_rng(seed).bytes(size)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    **{f"random {seed}": (lambda content, seed=seed: noise(seed)) for seed in range(3)},
    "header": lambda content: content[:16] + noise(3),
    "longer header": lambda content: content[: min(600, len(content) // 3)] + noise(4),
    "half": lambda content: content[: len(content) // 2],
    "most": lambda content: content[: len(content) * 7 // 10],
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(100_000),
    "text": lambda content: b"a,b\nc,d\n" * 1000,
    "tail": lambda content: content[: len(content) // 2] + noise(5),
}
