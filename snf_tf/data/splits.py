"""One split of a data set: examples, with labels and contexts where there are any."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Split:
    """Examples, their labels and their contexts.

    Attributes:
        examples: `(N,) + event_shape`.
        labels: `(N,)`, int32, or None.
        context: `(N, ...)`, float32, or None.

    Raises:
        ValueError: If there are not as many labels or contexts as examples.

    Example:
        >>> split = Split(np.zeros((3, 2)), labels=np.array([4, 5, 6]))
        >>> split[1:].labels
        array([5, 6])
    """

    examples: np.ndarray
    labels: np.ndarray | None = None
    context: np.ndarray | None = None

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

    def __getitem__(self, rows: slice | np.ndarray) -> "Split":
        """Takes rows, with their labels and contexts."""
        labels = None if self.labels is None else self.labels[rows]
        context = None if self.context is None else self.context[rows]
        return Split(self.examples[rows], labels, context)


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
    order = np.random.default_rng(seed).permutation(len(data))
    return data[order[:first]], data[order[first:second]], data[order[second:third]]
