"""One split of a data set: examples, and labels where there are any."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Split:
    """Examples and their labels.

    Attributes:
        examples: `(N,) + event_shape`.
        labels: `(N,)`, int32, or None.

    Raises:
        ValueError: If there are not as many labels as examples.

    Example:
        >>> split = Split(np.zeros((3, 2)), labels=np.array([4, 5, 6]))
        >>> split[1:].labels
        array([5, 6])
    """

    examples: np.ndarray
    labels: np.ndarray | None = None

    def __post_init__(self):
        if self.labels is not None and self.labels.shape != (len(self.examples),):
            raise ValueError(
                f"There must be one label an example, {len(self.examples)}. "
                f"Received: labels of shape {self.labels.shape}"
            )

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, rows: slice | np.ndarray) -> "Split":
        """Takes rows, with their labels."""
        return Split(self.examples[rows], None if self.labels is None else self.labels[rows])


Splits = tuple[Split, Split, Split]
