"""Random orders of rows: of many rows one that is computed where it is needed."""

from collections.abc import Sequence

import numpy as np

# Orders of more rows are computed row by row: as arrays they could be more than memory takes.
MOST_IN_MEMORY = 2**22
_ROUNDS = 6


class Permutation:
    """A random order of the numbers 0..count - 1 that takes no memory.

    A Feistel network permutes the numbers of 2b bits. What falls outside of 0..count - 1 is
    permuted again, until it is inside (Black and Rogaway 2002).

    Args:
        count: How many numbers.
        seed: Integers that choose the order.
        places: The first place of the order, and that behind the last; None: all.

    Example:
        >>> order = Permutation(10, seed=[3])
        >>> sorted(order.take(np.arange(10)).tolist())
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
        >>> bool((order[4:].take(np.arange(2)) == order.take(np.array([4, 5]))).all())
        True
    """

    def __init__(
        self, count: int, seed: Sequence[int], places: tuple[int, int] | None = None
    ) -> None:
        self._count, self._seed = count, tuple(seed)
        self._first, self._end = places or (0, count)
        # Integers of NumPy's seeds are at least 0, and [1, 0] is the same seed as [1].
        words = [len(self._seed), *(int(word) % 2**64 for word in self._seed)]
        self._keys = np.random.SeedSequence(words).generate_state(_ROUNDS, np.uint64)
        self._bits = np.uint64(max(1, -(-max(1, count - 1).bit_length() // 2)))

    def __len__(self) -> int:
        return self._end - self._first

    def __getitem__(self, places: slice) -> "Permutation":
        """Returns a part of the order, which takes no memory either."""
        start, stop, _ = places.indices(len(self))
        return Permutation(
            self._count, self._seed, (self._first + start, self._first + max(start, stop))
        )

    def take(self, places: np.ndarray) -> np.ndarray:
        """Returns the numbers at some places, int64."""
        numbers = self._permute(np.asarray(places).astype(np.uint64) + np.uint64(self._first))
        while (outside := numbers >= self._count).any():
            numbers[outside] = self._permute(numbers[outside])
        return numbers.astype(np.int64)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self.take(np.arange(len(self))).astype(dtype or np.int64)

    def _permute(self, numbers):
        low_bits = (np.uint64(1) << self._bits) - np.uint64(1)
        left, right = numbers >> self._bits, numbers & low_bits
        for key in self._keys:
            left, right = right, left ^ (_mix(right + key) & low_bits)
        return left << self._bits | right


def random_order(count: int, seed: int) -> np.ndarray | Permutation:
    """Returns an order of the numbers 0..count - 1: an array, or of many a `Permutation`.

    Example:
        >>> sorted(random_order(5, seed=0).tolist())
        [0, 1, 2, 3, 4]
    """
    if count > MOST_IN_MEMORY:
        return Permutation(count, [seed])
    return np.random.default_rng(seed).permutation(count)


def _mix(words):
    """Mixes 64-bit words as SplitMix64 does (Steele et al. 2014)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        words = (words ^ (words >> np.uint64(shift))) * np.uint64(factor)
    return words ^ (words >> np.uint64(31))
