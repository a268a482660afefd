"""CIFAR-10, ImageNet, patches and augmentation."""

import io
import pickle
import tarfile

import numpy as np
import pytest
import tensorflow as tf
from matplotlib.image import imsave

from snf_tf.data import flip_and_shift, load_dataset, training_batches


def images_of(count, seed):
    return np.random.RandomState(seed).randint(0, 256, (count, 32, 32, 3)).astype(np.uint8)


def rows_of(images):
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def write_tar(path, members):
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_cifar10(directory, binary):
    """The archive with 6 images in each of five training batches, and 4 test images; returns all in
    their order.
    """
    parts = [images_of(6, seed) for seed in range(5)] + [images_of(4, 9)]
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    members = {"cifar-10/batches.meta": b"\x80"}
    for name, part in zip(names, parts, strict=True):
        if binary:
            labels = np.zeros((len(part), 1), np.uint8)
            members[f"cifar-10/{name}.bin"] = np.concatenate(
                [labels, rows_of(part)], axis=1
            ).tobytes()
        else:
            content = {b"data": rows_of(part), b"labels": [0] * len(part), b"batch_label": b"one"}
            members[f"cifar-10/{name}"] = pickle.dumps(content, protocol=2)
    write_tar(directory / f"cifar-10-{'binary' if binary else 'python'}.tar.gz", members)
    return np.concatenate(parts)


@pytest.mark.parametrize("binary", [False, True])
def test_cifar10(tmp_path, binary):
    images = write_cifar10(tmp_path, binary)
    data = load_dataset("cifar10", source="files", data_dir=tmp_path)
    assert (data.name, data.source, data.sizes) == (
        "cifar10",
        "files",
        {"train": 24, "validation": 6, "test": 4},
    )
    np.testing.assert_array_equal(np.concatenate([data.train, data.validation, data.test]), images)
    assert load_dataset("cifar10", data_dir=tmp_path).source == "files"


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_damaged_archives(tmp_path):
    path = tmp_path / "cifar-10-python.tar.gz"
    with pytest.raises(
        FileNotFoundError,
        match=r"needs cifar-10-python.tar.gz or cifar-10-binary.tar.gz in data_dir",
    ):
        load_dataset("cifar10", source="files", data_dir=tmp_path)
    write_cifar10(tmp_path, binary=False)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="is damaged"):
        load_dataset("cifar10", source="files", data_dir=tmp_path)
    write_tar(path, {"data_batch_1": pickle.dumps({b"data": Evil()}), "test_batch": b""})
    with pytest.raises(ValueError, match="where arrays are expected"):
        load_dataset("cifar10", source="files", data_dir=tmp_path)
    write_tar(
        path,
        {
            "data_batch_1": pickle.dumps({b"data": np.zeros((4, 32, 32, 3), np.uint8)}),
            "test_batch": b"",
        },
    )
    with pytest.raises(ValueError, match=r"shape \(N, 3072\)"):
        load_dataset("cifar10", source="files", data_dir=tmp_path)
    write_tar(path, {"data_batch_1": pickle.dumps([1]), "test_batch": b""})
    with pytest.raises(ValueError, match="is damaged"):
        load_dataset("cifar10", source="files", data_dir=tmp_path)
    write_tar(path, {"readme": b"x"})
    with pytest.raises(ValueError, match="no archive of CIFAR-10"):
        load_dataset("cifar10", source="files", data_dir=tmp_path)


def png(image):
    buffer = io.BytesIO()
    imsave(buffer, image, format="png")
    return buffer.getvalue()


def test_imagenet32(tmp_path):
    train, test = images_of(128, 0), images_of(5, 1)
    (tmp_path / "tar").mkdir()
    for name, images in (("train", train), ("valid", test)):
        members = {f"{name}_32x32/{i:05d}.png": png(image) for i, image in enumerate(images)}
        write_tar(tmp_path / "tar" / f"{name}_32x32.tar", members)
    (tmp_path / "npz").mkdir()
    for i in range(2):
        np.savez(
            tmp_path / "npz" / f"train_data_batch_{i + 1}.npz",
            data=rows_of(train[64 * i : 64 * (i + 1)]),
        )
    np.savez(tmp_path / "npz" / "val_data.npz", data=rows_of(test))
    for kind in ("tar", "npz"):
        data = load_dataset("imagenet32", source="files", data_dir=tmp_path / kind)
        # 20,000 of 1,281,149 are one of 128.
        assert data.sizes == {"train": 127, "validation": 1, "test": 5}
        np.testing.assert_array_equal(data.test, test)
        found = np.concatenate([data.train, data.validation]).reshape(128, -1)
        np.testing.assert_array_equal(
            np.unique(found, axis=0), np.unique(train.reshape(128, -1), axis=0)
        )
    content = (tmp_path / "npz" / "val_data.npz").read_bytes()
    (tmp_path / "npz" / "val_data.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"val_data.npz is missing or damaged"):
        load_dataset("imagenet32", source="files", data_dir=tmp_path / "npz")
    np.savez(tmp_path / "npz" / "val_data.npz", data=np.zeros((3, 100)))
    with pytest.raises(ValueError, match="must hold bytes of shape"):
        load_dataset("imagenet32", source="files", data_dir=tmp_path / "npz")


def test_natural_patches():
    data = load_dataset("natural_patches")
    assert (data.source, data.sizes) == (
        "embedded",
        {"train": 6100, "validation": 500, "test": 500},
    )
    assert (data.train.dtype, data.event_shape) == (np.uint8, (32, 32, 3))
    # Patches of one split overlap, those of two do not: no patch is found twice.
    corners = [
        {patch[:8, :8].tobytes() for patch in split}
        for split in (data.train, data.validation, data.test)
    ]
    assert not corners[0] & corners[1]
    assert not corners[1] & corners[2]
    with pytest.warns(UserWarning, match="The data are natural_patches, not cifar10"):
        assert load_dataset("cifar10", source="embedded").name == "natural_patches"
    for source in ("files", "tfds"):
        with pytest.raises(ValueError, match=f'Received: source="{source}"'):
            load_dataset("natural_patches", source=source)


def test_flip_and_shift():
    images = np.random.RandomState(0).randint(0, 256, (400, 6, 5, 3)).astype(np.uint8)
    changed = flip_and_shift(tf.constant(images), [3, 4]).numpy()
    np.testing.assert_array_equal(changed, flip_and_shift(tf.constant(images), [3, 4]))
    assert (changed != flip_and_shift(tf.constant(images), [3, 5]).numpy()).any()
    found = {}
    for image, result in zip(images, changed, strict=True):
        for flip in (False, True):
            padded = np.pad(
                image[:, ::-1] if flip else image, [(1, 1), (1, 1), (0, 0)], mode="reflect"
            )
            for dy in range(3):
                for dx in range(3):
                    if (padded[dy : dy + 6, dx : dx + 5] == result).all():
                        found[flip, dy, dx] = found.get((flip, dy, dx), 0) + 1
    assert sum(found.values()) == 400
    assert len(found) == 18
    assert max(found.values()) < 50
    assert (
        flip_and_shift(tf.constant(images), [3, 4], flip=False, shift=0).numpy().tobytes()
        == images.tobytes()
    )


def test_augmentation_is_a_function_of_seed_and_step():
    examples = images_of(12, 0)
    draw = lambda **options: [  # noqa: E731
        batch.numpy()
        for batch in training_batches(
            examples, 4, seed=1, augmentation=flip_and_shift, **options
        ).take(4)
    ]
    whole = draw()
    assert (whole[0] != next(iter(training_batches(examples, 4, seed=1))).numpy()).any()
    for batch, reference in zip(draw(first_epoch=0, first_step=2), whole[2:], strict=False):
        np.testing.assert_array_equal(batch, reference)
    np.testing.assert_array_equal(draw(first_epoch=1)[0], whole[3])
