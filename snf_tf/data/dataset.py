"""A data set, in memory or on disk, and its batches as tf.data pipelines."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from snf_tf._checks import check_integer, check_seed
from snf_tf.data.order import MOST_IN_MEMORY, Permutation
from snf_tf.data.splits import Splits
from snf_tf.data.stored import StoredArray

# Batches that are read at the same time from disk.
_READERS = 4


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The three splits of a data set.

    Examples and contexts are arrays, or, where they do not fit into memory, a
    `snf_tf.data.StoredArray` each, which is indexed in the same way.

    Attributes:
        name: As given to `load_dataset`.
        source: Where it came from: "tfds", "files" or "embedded".
        train: `(N,) + event_shape`, uint8 images or float vectors.
        validation: The same for validation.
        test: The same for the test.
        entropy: In nats, of the density that the data are drawn from, where it is known: the least
            possible nll.
        train_labels: `(N,)`, int32, the classes of the training examples; None where there are
            none.
        validation_labels: The same for validation.
        test_labels: The same for the test.
        classes: Number of classes; None where there are no labels.
        train_context: `(N, ...)`, float32, what the training examples are conditioned on; None
            where there is nothing.
        validation_context: The same for validation.
        test_context: The same for the test.
    """

    name: str
    source: str
    train: np.ndarray | StoredArray
    validation: np.ndarray | StoredArray
    test: np.ndarray | StoredArray
    entropy: float | None = None
    train_labels: np.ndarray | None = None
    validation_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None
    classes: int | None = None
    train_context: np.ndarray | StoredArray | None = None
    validation_context: np.ndarray | StoredArray | None = None
    test_context: np.ndarray | StoredArray | None = None

    @classmethod
    def of(
        cls,
        name: str,
        source: str,
        splits: Splits,
        entropy: float | None = None,
        classes: int | None = None,
    ) -> "Dataset":
        """Returns the data set of the splits (train, validation, test)."""
        train, validation, test = splits
        return cls(
            name,
            source,
            train.examples,
            validation.examples,
            test.examples,
            entropy=entropy,
            train_labels=train.labels,
            validation_labels=validation.labels,
            test_labels=test.labels,
            classes=classes,
            train_context=train.context,
            validation_context=validation.context,
            test_context=test.context,
        )

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.train.shape[1:]

    @property
    def sizes(self) -> dict[str, int]:
        """Number of examples in each split."""
        return {
            "train": len(self.train),
            "validation": len(self.validation),
            "test": len(self.test),
        }


def batches(
    examples: np.ndarray | StoredArray,
    batch_size: int,
    labels: np.ndarray | StoredArray | None = None,
) -> tf.data.Dataset:
    """Cuts examples into batches, in their order; the last one may be smaller.

    The examples stay where they are, on the host or on disk: a batch is copied when it is drawn.

    Args:
        examples: `(N,) + event_shape`.
        batch_size: Rows of a batch.
        labels: `(N, ...)`, what goes with the examples: classes, or contexts.

    Returns:
        A dataset of batches x, or of pairs `(x, labels)` where labels are given.

    Raises:
        ValueError: If batch_size is no positive integer, or there are not as many labels as
            examples.

    Example:
        >>> [len(batch) for batch in snf_tf.data.batches(np.zeros((5, 3)), batch_size=2)]
        [2, 2, 1]
        >>> pairs = snf_tf.data.batches(np.zeros((5, 3)), batch_size=2, labels=np.arange(5))
        >>> [y.numpy().tolist() for x, y in pairs]
        [[0, 1], [2, 3], [4]]
    """
    check_integer("batch_size", batch_size, 1)
    rows = tf.data.Dataset.range(len(examples)).batch(batch_size)
    return _gather(examples, labels, rows).prefetch(2)


def _gather(
    examples: np.ndarray | StoredArray,
    labels: np.ndarray | StoredArray | None,
    rows: tf.data.Dataset,
) -> tf.data.Dataset:
    """Maps batches of row numbers to batches of examples, or of examples and labels."""
    if labels is not None and len(labels) != len(examples):
        raise ValueError(
            f"labels must have as many rows as examples, {len(examples)}. "
            f"Received: labels of shape {labels.shape}"
        )

    def take(array, rows):
        # As a tensor, the whole array would be in memory once more.
        batch = tf.numpy_function(lambda rows: array.take(rows, axis=0), [rows], array.dtype)
        return tf.ensure_shape(batch, [rows.shape[0], *array.shape[1:]])

    def batch(rows):
        x = take(examples, rows)
        return x if labels is None else (x, take(labels, rows))

    # A disk answers several readers sooner than one; the order stays.
    return rows.map(batch, _READERS if isinstance(examples, StoredArray) else None)


def training_batches(
    examples: np.ndarray | StoredArray,
    batch_size: int,
    seed: int = 0,
    first_epoch: int = 0,
    steps_per_epoch: int | None = None,
    first_step: int = 0,
    augmentation: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
    labels: np.ndarray | StoredArray | None = None,
    part: slice | None = None,
) -> tf.data.Dataset:
    """Draws batches without end, epoch after epoch.

    The examples stay where they are, as with `batches`. The order of an epoch is a function of
    (seed, epoch). Examples that do not fill a last batch are left out of the epoch.

    Args:
        examples: `(N,) + event_shape`.
        batch_size: At most N.
        seed: Seed of the order.
        first_epoch: The epoch to begin with.
        steps_per_epoch: Batches in an epoch; None: all whole ones. With more than there are, an
            epoch draws several orders.
        first_step: The step of that epoch to begin with.
        augmentation: Maps `(x, seed)` to a batch x; its seed is a function of (seed, step). See
            `flip_and_shift`. Labels stay as they are.
        labels: `(N, ...)`, what goes with the examples: classes, or contexts.
        part: Rows of every batch that are drawn, those of one worker of several; None: all. Others
            are not read, but for an augmentation, which gets whole batches.

    Returns:
        A dataset of batches x, or of pairs `(x, labels)` where labels are given; `N // batch_size`
        of them an epoch.

    Raises:
        ValueError: If batch_size is not in 1..N, or there are not as many labels as examples.

    Example:
        >>> first = next(iter(snf_tf.data.training_batches(np.arange(6), batch_size=6, seed=1)))
        >>> sorted(first.numpy().tolist())
        [0, 1, 2, 3, 4, 5]
    """
    if not 1 <= check_integer("batch_size", batch_size) <= len(examples):
        raise ValueError(
            f"batch_size must be between 1 and the number of training examples, {len(examples)}. "
            f"Received: batch_size={batch_size}"
        )
    check_seed(seed)
    check_integer("first_epoch", first_epoch, 0)
    check_integer("first_step", first_step, 0)
    check_integer("steps_per_epoch", steps_per_epoch, 1, optional=True)
    steps = steps_per_epoch or len(examples) // batch_size
    rows = _training_rows(len(examples), batch_size, seed, first_epoch, steps, first_step)
    if augmentation is None:
        data = _gather(examples, labels, rows if part is None else rows.map(lambda r: r[part]))
        return data.prefetch(2)

    def augment(step, batch):
        x, *y = batch if labels is not None else (batch,)
        changed = augmentation(x, tf.stack([tf.cast(seed, tf.int64), step]))
        return (changed, *y) if y else changed

    data = _gather(examples, labels, rows)
    data = data.enumerate(first_epoch * steps + first_step).map(augment)
    if part is not None and labels is None:
        data = data.map(lambda x: x[part])
    elif part is not None:
        data = data.map(lambda x, y: (x[part], y[part]))
    return data.prefetch(2)


def _training_rows(count, batch_size, seed, first_epoch, steps, first_step):
    """Draws the row numbers of batches, without end."""
    whole = count // batch_size
    passes = -(-steps // whole)
    is_computed = count > MOST_IN_MEMORY

    def pass_rows(number):
        if is_computed:
            return tf.data.Dataset.range(whole).map(lambda batch: tf.stack([number, batch]))
        rows = tf.random.experimental.stateless_shuffle(
            tf.range(count), seed=tf.stack([seed, number])
        )
        return tf.data.Dataset.from_tensor_slices(rows).batch(batch_size, drop_remainder=True)

    def epoch_rows(epoch):
        return (
            tf.data.Dataset.range(epoch * passes, (epoch + 1) * passes)
            .flat_map(pass_rows)
            .take(steps)
        )

    def compute(place):
        number, batch = place.tolist()
        return Permutation(count, [seed, number]).take(
            np.arange(batch * batch_size, (batch + 1) * batch_size)
        )

    rows = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(epoch_rows).skip(first_step)
    if is_computed:
        rows = rows.map(lambda place: tf.numpy_function(compute, [place], tf.int64))
        rows = rows.map(lambda rows: tf.ensure_shape(rows, [batch_size]))
    return rows
