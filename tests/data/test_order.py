"""Orders that are computed row by row are permutations, and good ones."""

import itertools

import numpy as np
import pytest
from scipy import stats

from snf_tf.data import dataset, order, training_batches
from snf_tf.data.order import Permutation, random_order
from snf_tf.data.splits import Split, random_splits
from snf_tf.data.stored import StoredArray


@pytest.mark.parametrize("count", [1, 2, 3, 5, 64, 65, 1000, 4097])
def test_every_number_once(count):
    for seed in ([0], [-1], [3, 7]):
        found = Permutation(count, seed).take(np.arange(count))
        np.testing.assert_array_equal(np.sort(found), np.arange(count))


def test_parts_and_seeds():
    whole = Permutation(1000, [1])
    numbers = np.asarray(whole)
    np.testing.assert_array_equal(np.asarray(whole[300:][100:200]), numbers[400:500])
    assert len(whole[990:2000]) == 10
    assert len(whole[10:5]) == 0
    np.testing.assert_array_equal(numbers, np.asarray(Permutation(1000, [1])))
    for seed in ([2], [-1], [1, 0]):
        # Two random orders agree at 1 place of 1,000, on the average.
        assert np.sum(numbers == np.asarray(Permutation(1000, seed))) < 10


def test_orders_are_uniform():
    """Where a number goes, and the pair of two neighbours, over many seeds."""
    firsts = np.array([Permutation(6, [seed]).take(np.arange(2)) for seed in range(6000)])
    counts = np.bincount(firsts[:, 0], minlength=6)
    assert stats.chisquare(counts).pvalue > 1e-4
    pairs = np.bincount(6 * firsts[:, 0] + firsts[:, 1], minlength=36).reshape(6, 6)
    assert not np.diag(pairs).any()
    assert stats.chisquare(pairs[~np.eye(6, dtype=bool)]).pvalue > 1e-4
    # Neither does an order run along the rows.
    numbers = Permutation(100_000, [0]).take(np.arange(100_000))
    assert abs(stats.spearmanr(numbers, np.arange(100_000)).statistic) < 0.02
    assert abs(stats.spearmanr(numbers[1:], numbers[:-1]).statistic) < 0.02


def take(data, count):
    return [batch.numpy().ravel().tolist() for batch in itertools.islice(data, count)]


def test_training_in_an_order_that_is_computed(monkeypatch):
    monkeypatch.setattr(dataset, "MOST_IN_MEMORY", 20)
    x = np.arange(23).reshape(23, 1)
    both = take(training_batches(x, 5, seed=1), 8)
    for epoch in (both[:4], both[4:]):
        assert len(set(itertools.chain(*epoch))) == 20
    assert both[:4] != both[4:]
    assert take(training_batches(x, 5, seed=1, first_epoch=1, first_step=1), 3) == both[5:]
    assert take(training_batches(x, 5, seed=2), 4) != both[:4]
    # More steps than there are batches: an epoch has several orders.
    long = take(training_batches(x, 5, seed=1, steps_per_epoch=6), 12)
    assert long[:6] == both[:6]
    assert take(training_batches(x, 5, 1, 1, 6, 2), 4) == long[8:]


def test_random_splits_of_many_rows(monkeypatch, tmp_path):
    monkeypatch.setattr(order, "MOST_IN_MEMORY", 20)
    assert isinstance(random_order(21, 0), Permutation)
    x, labels = np.arange(30.0).reshape(30, 1), np.arange(30)
    np.save(tmp_path / "x.npy", x)
    for examples in (x, StoredArray([tmp_path / "x.npy"])):
        parts = random_splits(Split(examples, labels), (0.5, 0.2, 0.3), seed=1)
        assert [len(part) for part in parts] == [15, 6, 9]
        found = np.concatenate([part.labels for part in parts])
        np.testing.assert_array_equal(np.sort(found), labels)
        for part in parts:
            np.testing.assert_array_equal(part.examples[:][:, 0], part.labels)


def test_a_worker_draws_its_rows_of_every_batch():
    x, labels = np.arange(23).reshape(23, 1), np.arange(23)
    whole = take(training_batches(x, 6, seed=1), 5)

    def noise(batch, seed):
        # Of the whole batch: a part alone would get other numbers.
        return batch * 100 + batch[::-1]

    changed = take(training_batches(x, 6, seed=1, augmentation=noise), 5)
    assert changed != whole
    for rows in (slice(0, 3), slice(3, 6)):
        assert take(training_batches(x, 6, seed=1, part=rows), 5) == [b[rows] for b in whole]
        found = training_batches(x, 6, seed=1, part=rows, augmentation=noise)
        assert take(found, 5) == [batch[rows] for batch in changed]
        for augmentation in (None, noise):
            pairs = training_batches(
                x, 6, seed=1, part=rows, augmentation=augmentation, labels=labels
            )
            y = [y.numpy().tolist() for _, y in pairs.take(5)]
            assert y == [batch[rows] for batch in whole]
