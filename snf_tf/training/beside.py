"""What a run gives a flow beside x: the labels of a hybrid model, or a context."""

import numpy as np

from snf_tf.data import Dataset, StoredArray
from snf_tf.flow import Flow

_ROWS_OF_DEVICE = 500


class Beside:
    """Finds the arrays that go with the examples of a data set.

    Args:
        flow: The flow of the run.
        dataset: Its data.
        conditional_on: "label" or "context", what the flow gets as its context; None: nothing.

    Attributes:
        is_label: Whether the context is labels.
        classes: Number of classes; 0 where there are no labels.
        name: "y" or "context", as an element of data names it; None where x stands alone.
        evaluation_batch: Rows that all devices together evaluate at once.

    Raises:
        ValueError: If the data have no such labels or contexts, or the flow does not take them.
    """

    def __init__(self, flow: Flow, dataset: Dataset, conditional_on: str | None) -> None:
        kinds = (None, "label", "context")
        if conditional_on not in kinds:
            raise ValueError(
                f"conditional_on must be one of {', '.join(map(repr, kinds))}. "
                f"Received: conditional_on={conditional_on!r}"
            )
        classes = flow.context_classes, dataset.classes
        if conditional_on == "label" and None not in classes and classes[0] != classes[1]:
            raise ValueError(
                "A flow conditional on labels must have as many classes as the data set. "
                f"Received: {classes[0]} classes, and {classes[1]} in {dataset.name}"
            )
        if conditional_on is not None and (flow.takes_labels or not flow.takes_context):
            raise ValueError(
                "conditional_on needs a flow that takes a context, and no HybridFlow. "
                f"Received: conditional_on={conditional_on!r}"
            )
        self.name = "y" if flow.takes_labels else "context" if conditional_on else None
        self.is_label = conditional_on == "label"
        self.classes = dataset.classes or 0
        self.evaluation_batch = _ROWS_OF_DEVICE * flow.distribute_strategy.num_replicas_in_sync
        self._kind = "context" if conditional_on == "context" else "labels"
        self._dataset = dataset
        if self.name is not None and self.of("train") is None:
            who = "hybrid" if flow.takes_labels else "conditional"
            raise ValueError(
                f"A {who} model is trained on a data set with {self._kind}. "
                f"Received: {dataset.name} from {dataset.source}, which has none"
            )
        flow.require_built("train")

    def of(self, split: str) -> np.ndarray | StoredArray | None:
        """Returns what goes with the examples of "train", "validation" or "test"."""
        return None if self.name is None else getattr(self._dataset, f"{split}_{self._kind}")

    def labels(self, split: str) -> np.ndarray:
        """Returns the labels of a split; there must be labels."""
        found = self.of(split)
        assert isinstance(found, np.ndarray)
        return found

    def context_of(self, split: str) -> np.ndarray | StoredArray | None:
        """Returns the contexts of the examples of a split; None where there are none."""
        return self.of(split) if self.name == "context" else None

    def first_context(self, split: str, count: int) -> np.ndarray | None:
        """Returns the contexts of the first examples of a split; None where there are none."""
        given = self.context_of(split)
        return None if given is None else given[:count]
