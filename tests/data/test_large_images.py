"""ImageNet, CelebA and CelebA-HQ, from files and from TFDS."""

import dataclasses
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from snf_tf.data import load_dataset, loading
from snf_tf.data.sources import Sources
from tests.data.files import (
    images_of,
    npz,
    png,
    rows_of,
    write_folder,
    write_tar,
    write_tfds,
    write_zip,
)

FACE_SHAPE = (218, 178, 3)


def load(name, directory):
    return load_dataset(name, source="files", data_dir=directory)


def write_imagenet(directory, kind, train, test):
    """Writes two batches of training images, and test images."""
    size = train.shape[1]
    if kind == "tar":
        for name, images in (("train", train), ("valid", test)):
            members = {f"{name}/{i:05d}.png": png(image) for i, image in enumerate(images)}
            write_tar(directory / f"{name}_{size}x{size}.tar", members)
        return
    members = {
        f"train_data_batch_{number}.npz": npz(data=rows_of(part), labels=np.ones(len(part)))
        for number, part in enumerate(np.split(train, 2), start=1)
    }
    test_members = {"val_data.npz": npz(data=rows_of(test))}
    if kind == "npz":
        for name, content in (members | test_members).items():
            (directory / name).write_bytes(content)
        return
    write_zip(directory / f"Imagenet{size}_val_npz.zip", test_members)
    if size == 32:
        write_zip(directory / "Imagenet32_train.zip", members)
    else:
        for number, (name, content) in enumerate(members.items(), start=1):
            path = directory / f"Imagenet64_train_part{number}.zip"
            write_zip(path, {f"part{number}/{name}": content})


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("kind", ["tar", "npz", "zip"])
def test_imagenet(tmp_path, size, kind):
    train, test = images_of(128, 0, size), images_of(5, 1, size)
    write_imagenet(tmp_path, kind, train, test)
    data = load(f"imagenet{size}", tmp_path)
    # 20,000 of 1,281,149 are one of 128, the first of the order of seed 0.
    validation = np.random.RandomState(0).permutation(128)[:1]
    np.testing.assert_array_equal(data.validation, train[validation])
    np.testing.assert_array_equal(data.train, np.delete(train, validation, axis=0))
    np.testing.assert_array_equal(data.test, test)
    assert (data.train.dtype, data.train_labels, data.classes) == (np.uint8, None, None)
    assert load_dataset(f"imagenet{size}", data_dir=tmp_path).source == "files"


def test_damaged_imagenet(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train_64x64.tar or train_data_batch_1.npz or"):
        load("imagenet64", tmp_path)
    write_imagenet(tmp_path, "npz", images_of(4, 0, 64), images_of(2, 1, 64))
    content = (tmp_path / "val_data.npz").read_bytes()
    for damaged, message in (
        (content[: len(content) // 2], r"val_data.npz is missing or damaged"),
        (npz(data=np.zeros((3, 100), np.uint8)), r"must hold bytes of shape \(N, 12288\)"),
        (npz(images=np.zeros(3)), "no array named data"),
    ):
        (tmp_path / "val_data.npz").write_bytes(damaged)
        with pytest.raises(ValueError, match=message):
            load("imagenet64", tmp_path)
    (tmp_path / "train_data_batch_2.npz").rename(tmp_path / "train_data_batch_3.npz")
    with pytest.raises(ValueError, match=r"from number 1 on.*\[1, 3\]"):
        load("imagenet64", tmp_path)


def test_a_part_of_imagenet_is_missing(tmp_path):
    write_imagenet(tmp_path, "zip", images_of(4, 0, 64), images_of(2, 1, 64))
    (tmp_path / "Imagenet64_train_part2.zip").unlink()
    with pytest.raises(FileNotFoundError, match=r"_part1\*.zip and Imagenet64_train_part2\*.zip"):
        load("imagenet64", tmp_path)


def jpeg(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=95)
    return buffer.getvalue()


def face(number):
    """An image that shows where its pixels are."""
    rows, columns = np.indices(FACE_SHAPE[:2])
    return np.stack([rows, columns, rows + number], axis=-1).astype(np.uint8)


def shrunk(image):
    """Averages the central pixels by area, in 5 bits."""
    edges = np.linspace(0, 148, 65)
    places = np.arange(148)
    # The part of every pixel in each of 64 intervals.
    weights = np.clip(
        np.minimum(edges[1:, None], places + 1) - np.maximum(edges[:-1, None], places), 0, 1
    )
    weights *= 64 / 148
    means = np.einsum("ik,klc,jl->ijc", weights, image[35:183, 15:163].astype(float), weights)
    return means / 8


def assert_reduced(found, expected, slack):
    """Compares integers of 5 bits with values before they are rounded down."""
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    assert found.max() <= 31
    assert (found <= expected + slack).all()
    assert (found >= expected - 1 - slack).all()


def write_celeba(directory, count=6):
    write_zip(
        directory / "img_align_celeba.zip",
        {f"img_align_celeba/{i:06d}.jpg": jpeg(face(i)) for i in range(count)},
    )
    lines = (f"{i:06d}.jpg {max(0, i - count + 3)}\n" for i in range(count))
    (directory / "list_eval_partition.txt").write_text("".join(lines))


@pytest.mark.slow
def test_celeba64(tmp_path):
    write_celeba(tmp_path)
    data = load("celeba64", tmp_path)
    assert data.sizes == {"train": 4, "validation": 1, "test": 1}
    found = np.concatenate([data.train, data.validation, data.test])
    # JPEG changes this smooth image by up to 3 of 255 levels.
    assert_reduced(found, np.stack([shrunk(face(i)) for i in range(6)]), slack=3 / 8)
    assert (data.train_labels, data.classes) == (None, None)


def test_celeba64_from_tfds(tmp_path, monkeypatch):
    images = np.random.RandomState(0).randint(0, 256, (4, *FACE_SHAPE)).astype(np.uint8)
    splits = {"train": images[:2], "validation": images[2:3], "test": images[3:]}
    write_tfds(tmp_path, "celeb_a", splits)
    monkeypatch.setattr(Sources, "can_download", lambda self: pytest.fail("asked the network"))
    data = load_dataset("celeba64", data_dir=tmp_path)
    assert (data.source, data.sizes) == ("tfds", {"train": 2, "validation": 1, "test": 1})
    for found, image in ((data.validation[0], images[2]), (data.test[0], images[3])):
        # Half of a rounded level of 255.
        assert_reduced(found, shrunk(image), slack=0.51 / 8)
        # Means are rounded before they are reduced; float32 decides a few ties.
        assert (found == np.rint(8 * shrunk(image)) // 8).mean() > 0.999


def test_damaged_celeba(tmp_path):
    write_celeba(tmp_path)
    partition = tmp_path / "list_eval_partition.txt"
    lines = partition.read_text()
    for content, message in (
        (lines + "000006.jpg 2\n", "must hold 2 images by their names. Received: 1"),
        (lines + "000006.jpg 3\n", "a name and 0, 1 or 2. Received: '000006.jpg 3'"),
        (lines + "Not found\n", "Received: 'Not found'"),
    ):
        partition.write_text(content)
        with pytest.raises(ValueError, match=message):
            load("celeba64", tmp_path)
    partition.write_text("a.jpg 0\nb.jpg 1\nc.jpg 2\n")
    for content, message in (
        (jpeg(face(0))[:1000], "img_align_celeba.zip/a.jpg is damaged"),
        (png(face(0)[1:]), "a.jpg must be an image of 218 x 178 pixels. Received: 217 x 178"),
    ):
        write_zip(tmp_path / "img_align_celeba.zip", {"a.jpg": content})
        with pytest.raises(ValueError, match=message):
            load("celeba64", tmp_path)
    content = (tmp_path / "img_align_celeba.zip").read_bytes()
    (tmp_path / "img_align_celeba.zip").write_bytes(content[:100])
    with pytest.raises(ValueError, match=r"img_align_celeba.zip is damaged"):
        load("celeba64", tmp_path)


@pytest.mark.parametrize(
    ("write", "suffix"), [(write_tar, ".tar"), (write_zip, ".zip"), (write_folder, "")]
)
def test_celeba_hq256(tmp_path, write, suffix):
    images = images_of(20, 0, 256)
    members = {f"faces/{i:05d}.png": png(image) for i, image in enumerate(images)}
    write(tmp_path / f"data256x256{suffix}", members | {"faces/readme.txt": b"x"})
    data = load_dataset("celeba_hq256", data_dir=tmp_path)
    assert (data.source, data.sizes) == ("files", {"train": 16, "validation": 2, "test": 2})
    found = np.concatenate([data.train, data.validation, data.test])
    np.testing.assert_array_equal(found, images // 8)
    assert found.dtype == np.uint8


@pytest.mark.parametrize(
    ("name", "tfds_name", "splits", "divisor"),
    [
        ("celeba_hq256", "celeb_a_hq/256", ("train[:3]", "train[3:4]", "train[4:]"), 8),
        ("imagenet64", "downsampled_imagenet/64x64", ("train[:3]", "train[3:]", "validation"), 1),
    ],
)
def test_tfds(tmp_path, monkeypatch, name, tfds_name, splits, divisor):
    numbers = np.arange(6, dtype=np.uint8)
    size = int(name[-3:].lstrip("t"))
    images = np.broadcast_to(30 * numbers[:, None, None, None], (6, size, size, 3))
    parts = {"train": images} if divisor == 8 else {"train": images[:4], "validation": images[4:]}
    write_tfds(tmp_path, tfds_name, parts)
    small = dataclasses.replace(loading._DATASETS[name], tfds_splits=splits)
    monkeypatch.setitem(loading._DATASETS, name, small)
    data = load_dataset(name, data_dir=tmp_path)
    assert (data.source, data.sizes) == ("tfds", {"train": 3, "validation": 1, "test": 2})
    assert data.event_shape == (size, size, 3)
    found = np.concatenate([data.train, data.validation, data.test])
    assert sorted(found[:, 0, 0, 0]) == (30 * numbers // divisor).tolist()
    assert (found == found[:, :1, :1, :1]).all()


def test_tfds_does_not_download_celeba_hq(tmp_path):
    with pytest.raises(FileNotFoundError, match="TFDS does not download celeb_a_hq/256"):
        load_dataset("celeba_hq256", source="tfds", data_dir=tmp_path)
    with pytest.warns(UserWarning, match="TFDS does not download celeb_a_hq/256"):
        assert load_dataset("celeba_hq256", data_dir=tmp_path).source == "embedded"


def test_five_bits_suit_dequantization():
    with pytest.warns(UserWarning, match="natural_patches"):
        data = load_dataset("celeba64", source="embedded")
    from snf_tf.layers import Dequantize

    z, _ = Dequantize(bins=32)(tf.constant(data.test[:2]), seed=0)
    assert (np.floor(z) == data.test[:2]).all()
