"""CIFAR-10, ImageNet, patches and augmentation."""

import pickle

import numpy as np
import pytest
import tensorflow as tf

from snf_tf.data import flip_and_shift, load_dataset, training_batches
from tests.data.files import images_of, rows_of, write_tar


def write_cifar10(directory, binary):
    """Writes the archive with 6 images in each of five training batches, and 4 test images. The
    label of an image is its number, modulo 10. Returns all images in their order.
    """
    parts = [images_of(6, seed) for seed in range(5)] + [images_of(4, 9)]
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    members = {"cifar-10/batches.meta": b"\x80"}
    for number, (name, part) in enumerate(zip(names, parts, strict=True)):
        labels = (6 * number + np.arange(len(part))) % 10
        if binary:
            members[f"cifar-10/{name}.bin"] = np.concatenate(
                [labels[:, None].astype(np.uint8), rows_of(part)], axis=1
            ).tobytes()
        else:
            content = {b"data": rows_of(part), b"labels": labels.tolist(), b"batch_label": b"one"}
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
    labels = [data.train_labels, data.validation_labels, data.test_labels]
    np.testing.assert_array_equal(np.concatenate(labels), np.arange(34) % 10)
    assert (data.classes, data.train_labels.dtype) == (10, np.int32)
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
    images = np.zeros((2, 3072), np.uint8)
    for labels, message in (([1], "one label an example"), ([3, 10], r"must be in 0\.\.9")):
        batch = pickle.dumps({b"data": images, b"labels": labels})
        write_tar(path, {"data_batch_1": batch, "test_batch": b""})
        with pytest.raises(ValueError, match=message):
            load_dataset("cifar10", source="files", data_dir=tmp_path)
    write_tar(path, {"data_batch_1": pickle.dumps([1]), "test_batch": b""})
    with pytest.raises(ValueError, match="is damaged"):
        load_dataset("cifar10", source="files", data_dir=tmp_path)
    write_tar(path, {"readme": b"x"})
    with pytest.raises(ValueError, match="no archive of CIFAR-10"):
        load_dataset("cifar10", source="files", data_dir=tmp_path)


def test_natural_patches():
    data = load_dataset("natural_patches")
    assert (data.source, data.sizes) == (
        "embedded",
        {"train": 6100, "validation": 500, "test": 500},
    )
    assert (data.train.dtype, data.event_shape) == (np.uint8, (32, 32, 3))
    assert data.classes == 2
    # As many corners of patches are in each photograph, and the first is brighter.
    assert (np.bincount(data.test_labels) == 250).all()
    china, flower = (data.test[data.test_labels == label].mean() for label in (0, 1))
    assert china > flower
    # Patches of one split overlap, those of two do not: no patch is found twice.
    corners = [
        {patch[:8, :8].tobytes() for patch in split}
        for split in (data.train, data.validation, data.test)
    ]
    assert not corners[0] & corners[1]
    assert not corners[1] & corners[2]
    for source in ("files", "tfds"):
        with pytest.raises(ValueError, match=f'Received: source="{source}"'):
            load_dataset("natural_patches", source=source)


@pytest.mark.parametrize(
    ("name", "size", "largest"),
    [
        ("cifar10", 32, 255),
        ("svhn", 32, 255),
        ("imagenet32", 32, 255),
        ("imagenet64", 64, 255),
        ("celeba64", 64, 31),
        ("celeba_hq256", 256, 31),
    ],
)
def test_patches_instead(name, size, largest):
    with pytest.warns(UserWarning, match=f"The data are natural_patches, not {name}"):
        data = load_dataset(name, source="embedded")
    assert (data.name, data.event_shape) == ("natural_patches", (size, size, 3))
    assert data.train.max() == largest
    # As many classes as the set that they stand in for, so that the same model is trained.
    assert data.classes == (10 if name in ("cifar10", "svhn") else None)
    assert (data.train_labels is None) == (data.classes is None)
    # Pixels of one split are in no other one, wherever a patch begins.
    train, validation = (squares(split, 8) for split in (data.train, data.validation))
    assert train
    assert validation
    assert not train & squares(data.validation, 1)
    assert not (train | validation) & squares(data.test, 1)


def squares(images, stride):
    """Returns squares of 8 x 8 pixels that are not of one colour, as there are equal ones."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (8, 8), axis=(1, 2))
    windows = windows[:, ::stride, ::stride].reshape(-1, 3, 8, 8)
    return {window.tobytes() for window in windows[windows.std((1, 2, 3)) > 0.2 * images.max()]}


@pytest.mark.parametrize(
    ("flip", "shift", "count"), [(True, 1, 400), (True, 4, 4000), (False, 4, 2000)]
)
@pytest.mark.slow
def test_flip_and_shift(flip, shift, count):
    images = np.random.RandomState(0).randint(0, 256, (count, 12, 11, 3)).astype(np.uint8)
    draw = lambda *seed: flip_and_shift(tf.constant(images), seed, flip, shift).numpy()  # noqa: E731
    changed = draw(3, 4)
    np.testing.assert_array_equal(changed, draw(3, 4))
    assert (changed != draw(3, 5)).any()
    found = {}
    for image, result in zip(images, changed, strict=True):
        for flipped in {False, flip}:
            padded = np.pad(
                image[:, ::-1] if flipped else image,
                [(shift, shift), (shift, shift), (0, 0)],
                mode="reflect",
            )
            for dy in range(2 * shift + 1):
                for dx in range(2 * shift + 1):
                    if (padded[dy : dy + 12, dx : dx + 11] == result).all():
                        found[flipped, dy, dx] = found.get((flipped, dy, dx), 0) + 1
    assert sum(found.values()) == count
    assert len(found) == (1 + flip) * (2 * shift + 1) ** 2
    assert max(found.values()) < 2.5 * count / len(found)


def test_no_flip_no_shift():
    images = images_of(3, 0)
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
