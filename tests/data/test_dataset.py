"""Batches: every example once an epoch, in an order that depends on (seed, epoch) alone."""

import itertools

import numpy as np
import pytest

from snf_tf.data import batches, flip_and_shift, training_batches

EXAMPLES = np.arange(23).reshape(23, 1)


def take(dataset, count):
    return [batch.numpy().ravel().tolist() for batch in itertools.islice(dataset, count)]


def test_batches_keep_order_and_remainder():
    assert take(batches(EXAMPLES, 10), 9) == [list(range(10)), list(range(10, 20)), [20, 21, 22]]


def test_an_epoch_holds_every_example_once():
    drawn = list(itertools.chain(*take(training_batches(EXAMPLES, 5), 4)))
    assert len(set(drawn)) == 20
    assert drawn != sorted(drawn)


def test_order_is_a_function_of_seed_and_epoch():
    both = take(training_batches(EXAMPLES, 5, seed=1), 8)
    assert take(training_batches(EXAMPLES, 5, seed=1, first_epoch=1), 4) == both[4:]
    assert both[:4] != both[4:]
    assert take(training_batches(EXAMPLES, 5, seed=2), 4) != both[:4]


@pytest.mark.parametrize("batch_size", [0, 24])
def test_batch_size_must_fit(batch_size):
    with pytest.raises(ValueError, match="batch_size must be between 1 and"):
        training_batches(EXAMPLES, batch_size)


@pytest.mark.parametrize("draw", [batches, training_batches])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_examples_are_not_copied(draw, dtype):
    examples = np.zeros((40, 2, 3), dtype)
    dataset = draw(examples, 10)
    assert dataset.element_spec.shape.as_list()[1:] == [2, 3]
    assert dataset.element_spec.dtype == dtype
    # What is drawn from now on shows a change of the array, unless there is a second one.
    examples += 1
    assert all((batch.numpy() == 1).all() for batch in itertools.islice(dataset, 4))


def test_examples_may_lie_in_a_file(tmp_path):
    np.save(tmp_path / "examples.npy", EXAMPLES)
    mapped = np.load(tmp_path / "examples.npy", mmap_mode="r")
    assert take(training_batches(mapped, 5), 8) == take(training_batches(EXAMPLES, 5), 8)


@pytest.mark.parametrize("labels", [np.arange(23), np.eye(23)])
def test_labels_go_with_their_examples(labels):
    for x, y in batches(EXAMPLES, 10, labels):
        np.testing.assert_array_equal(y, labels[x[:, 0]])
    with_labels = training_batches(EXAMPLES, 5, seed=1, first_epoch=1, first_step=2, labels=labels)
    assert with_labels.element_spec[1].shape.as_list() == [5, *labels.shape[1:]]
    pairs = list(with_labels.take(8))
    for x, y in pairs:
        np.testing.assert_array_equal(y, labels[x[:, 0]])
    # The order is that of examples alone.
    alone = take(training_batches(EXAMPLES, 5, seed=1, first_epoch=1, first_step=2), 8)
    assert [x.numpy().ravel().tolist() for x, _ in pairs] == alone


def test_augmentation_leaves_labels():
    images, labels = np.random.RandomState(0).rand(12, 8, 8, 3), np.arange(12)
    options = {"seed": 1, "first_step": 1, "augmentation": flip_and_shift}
    pairs = list(training_batches(images, 4, labels=labels, **options).take(3))
    alone = list(training_batches(images, 4, **options).take(3))
    plain = list(training_batches(images, 4, seed=1, first_step=1, labels=labels).take(3))
    for (x, y), image, (unchanged, label) in zip(pairs, alone, plain, strict=True):
        np.testing.assert_array_equal(x, image)
        np.testing.assert_array_equal(y, label)
        assert (x.numpy() != unchanged.numpy()).any()


@pytest.mark.parametrize("draw", [batches, training_batches])
def test_labels_must_be_as_many_as_examples(draw):
    with pytest.raises(ValueError, match=r"as many rows as examples, 23.*\(22,\)"):
        draw(EXAMPLES, 5, labels=np.arange(22))
