"""One split of a data set: examples, with labels and contexts where there are any."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from snf_tf.data.order import Permutation, random_order
from snf_tf.data.stored import StoredArray


@dataclasses.dataclass(frozen=True)
class Split:
    """Examples, their labels and their contexts.

    Attributes:
        examples: `(N,) + event_shape`.
        labels: `(N,)`, int32, or None.
        context: `(N, ...)`, float32, or None. This and the examples may be stored on disk.

    Raises:
        ValueError: If there are not as many labels or contexts as examples.

    Example:
        >>> split = Split(np.zeros((3, 2)), labels=np.array([4, 5, 6]))
        >>> split[1:].labels
        array([5, 6])
    """

    examples: np.ndarray | StoredArray
    labels: np.ndarray | None = None
    context: np.ndarray | StoredArray | None = None

    def __post_init__(self):
        if self.labels is not None and self.labels.shape != (len(self.examples),):
            raise ValueError(
                f"There must be one label an example, {len(self.examples)}. "
                f"Received: labels of shape {self.labels.shape}"
            )
        if self.context is not None and self.context.shape[:1] != (len(self.examples),):
            raise ValueError(
                f"There must be one context an example, {len(self.examples)}. "
                f"Received: contexts of shape {self.context.shape}"
            )

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, rows: slice | np.ndarray | Permutation) -> "Split":
        """Takes rows, with their labels and contexts; what is stored is not read."""
        labels = None if self.labels is None else _select(self.labels, rows)
        context = None if self.context is None else _select(self.context, rows)
        return Split(_select(self.examples, rows), labels, context)


def _select(array, rows):
    if isinstance(array, StoredArray):
        return array.select(rows)
    return array[np.asarray(rows) if isinstance(rows, Permutation) else rows]


Splits = tuple[Split, Split, Split]


def random_splits(data: Split, fractions: Sequence[float], seed: int) -> Splits:
    """Splits at random, the same way for the same seed.

    Args:
        data: All examples.
        fractions: Of training, validation and test; their sum is at most 1.
        seed: Of the order, from which training comes first, and validation second.

    Raises:
        ValueError: If the fractions are none, or leave a split without an example.

    Example:
        >>> [len(part) for part in random_splits(Split(np.arange(20)), (0.7, 0.15, 0.15), seed=0)]
        [14, 3, 3]
    """
    if len(fractions) != 3 or not all(f > 0 for f in fractions) or sum(fractions) > 1 + 1e-9:
        raise ValueError(
            "fractions must be three positive numbers of a sum of at most 1, of training, "
            f"validation and test. Received: fractions={fractions!r}"
        )
    # Rounded sums of fractions: 0.7 + 0.15 + 0.15 are all rows.
    first, second, third = (round(end * len(data)) for end in np.cumsum(fractions))
    if not 0 < first < second < third:
        raise ValueError(
            "Every split must get an example. "
            f"Received: {len(data)} examples, fractions={tuple(fractions)}"
        )
    order = random_order(len(data), seed)
    return data[order[:first]], data[order[first:second]], data[order[second:third]]
