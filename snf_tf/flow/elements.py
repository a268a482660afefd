"""Brings what a flow is fitted on into one form: arrays, data sets, generators."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from snf_tf._array_checks import is_real, refuse_array
from snf_tf.data.stored import StoredArray

_ALLOWED = (
    "an array of numbers, one row an example, a tf.data.Dataset, a keras.utils.PyDataset or a "
    "generator of batches"
)
_NAMES = ("x", "context", "sample_weight")


class Element(NamedTuple):
    """A batch.

    Attributes:
        x: `(batch,) + event_shape`.
        context: `(batch, ...)`, or None.
        sample_weight: `(batch,)`, or None.
        y: Labels, `(batch,)`, or None.
    """

    x: Any
    context: Any = None
    sample_weight: Any = None
    y: Any = None

    def as_dict(self) -> dict[str, Any]:
        """Returns the given attributes by name; Keras takes a dict for the inputs of a model."""
        return {name: value for name, value in self._asdict().items() if value is not None}


def unpack(element: Any, takes_labels: bool = False) -> Element:
    """Reads an element of a data set: x, a pair, or a dict.

    Args:
        element: The element.
        takes_labels: Whether a pair is `(x, y)`, not `(x, context)`, and a dict may have y.

    Raises:
        ValueError: If it is none of these.
    """
    names = (*_NAMES, "y") if takes_labels else _NAMES
    if isinstance(element, Element):
        return element
    if isinstance(element, Mapping):
        if "x" not in element or not set(element) <= set(names):
            raise ValueError(
                f"An element that is a dict takes x and, where given, {', '.join(names[1:-1])} and "
                f"{names[-1]}. Received: a dict of {', '.join(map(str, element))}"
            )
        return Element(**element)
    if isinstance(element, tuple | list):
        second = "y" if takes_labels else "context"
        if not 1 <= len(element) <= 2:
            raise ValueError(
                f"The elements of a dataset must be x, (x, {second}), or a dict of "
                f"{', '.join(names[:-1])} and {names[-1]}. Received: a tuple of {len(element)}"
            )
        return Element(**dict(zip(("x", second), element, strict=False)))
    return Element(element)


def without_last(values: Any) -> Any:
    """Returns labels or weights `(batch, 1)`, which Keras takes, as `(batch,)`; others as is."""
    is_column = tf.TensorShape(values.shape).rank == 2 and values.shape[1] == 1
    return values[:, 0] if is_column else values


def is_stream(x: Any) -> bool:
    """Tells whether x yields batches itself; arrays do not."""
    is_dataset = isinstance(x, tf.data.Dataset | tf.distribute.DistributedDataset)
    return is_dataset or isinstance(x, keras.utils.PyDataset | Iterator)


def as_arrays(
    x: Any,
    context: Any = None,
    sample_weight: Any = None,
    y: Any = None,
    takes_labels: bool = False,
) -> Element:
    """Returns data that are in memory as arrays; does not copy arrays.

    Raises:
        ValueError: If x is no array of real numbers, or has no row; or context, sample_weight or y
            has other rows than x.
    """
    given = unpack(x, takes_labels) if isinstance(x, Mapping | tuple) else Element(x)
    extra = {"context": context, "sample_weight": sample_weight, "y": y}
    given = given._replace(**{name: value for name, value in extra.items() if value is not None})
    if given.x is None:
        refuse_array("x", None, _ALLOWED)
    try:
        arrays = {name: _as_array(value) for name, value in given.as_dict().items()}
    except (TypeError, ValueError) as error:
        raise ValueError(
            "A Flow takes arrays, a tf.data.Dataset, a keras.utils.PyDataset or a generator of "
            f"batches. Received: {type(x).__name__}"
        ) from error
    for name in {"sample_weight", "y"} & set(arrays):
        arrays[name] = without_last(arrays[name])
    for name, array in arrays.items():
        if array.ndim == 0 or not is_real(array.dtype):
            refuse_array(name, getattr(given, name), _ALLOWED)
        if len(array) != len(arrays["x"]):
            raise ValueError(
                f"{name} must have as many rows as x, {len(arrays['x'])}. "
                f"Received: {name} of shape {array.shape}"
            )
    if not len(arrays["x"]):
        raise ValueError(
            "x must have one row at least: a mean over none is no number. "
            f"Received: x of shape {arrays['x'].shape}"
        )
    return Element(**arrays)


def _as_array(value):
    """Returns data as an array; what is stored on disk, `snf_tf.data.StoredArray`, stays there."""
    return value if isinstance(value, StoredArray) else np.asarray(value)


def reusable(name: str, data: Any) -> Any:
    """Returns data that can be gone through more than once; of a list a tuple.

    Raises:
        ValueError: If the data are a generator.
    """
    if isinstance(data, Iterator):
        raise ValueError(
            f"A generator is gone through once, and {name} in every epoch: give arrays, a "
            f"tf.data.Dataset or a keras.utils.PyDataset. Received: {name}={type(data).__name__}"
        )
    return tuple(data) if isinstance(data, list) else data


def split(arrays: Element, part: float) -> tuple[Element, Element]:
    """Cuts arrays into the first rows and the last ones, which are `part` of them.

    Raises:
        ValueError: If either has no row.
    """
    count = math.floor(len(arrays.x) * (1 - part))
    if not 0 < count < len(arrays.x):
        raise ValueError(
            "validation_split must leave one row at least to training and to validation. "
            f"Received: validation_split={part}, x of {len(arrays.x)} rows"
        )
    first = {name: array[:count] for name, array in arrays.as_dict().items()}
    last = {name: array[count:] for name, array in arrays.as_dict().items()}
    return Element(**first), Element(**last)


def array_batches(
    arrays: Element, batch_size: int, shuffle_seed: int | None = None
) -> tf.data.Dataset:
    """Cuts arrays into batches, which are dicts; copies a batch from the host when it is drawn.

    Args:
        arrays: The arrays.
        batch_size: Rows of a batch; the last one may be smaller.
        shuffle_seed: Seed of the order, which changes in every epoch. None keeps the arrays' order.
    """
    named = arrays.as_dict()
    dtypes = [tf.as_dtype(array.dtype) for array in named.values()]
    count = len(arrays.x)
    rows, order = tf.data.Dataset.range(count), None
    if shuffle_seed is not None:
        rows, order = _shuffled(count, shuffle_seed)

    def take(rows):
        rows = rows if order is None else order[rows]
        return [array.take(rows, axis=0) for array in named.values()]

    def draw(rows):
        parts = tf.numpy_function(take, [rows], dtypes)
        for part, array in zip(parts, named.values(), strict=True):
            part.set_shape((None, *array.shape[1:]))
        return dict(zip(named, parts, strict=True))

    return rows.batch(batch_size).map(draw).prefetch(2)


def _shuffled(count, seed):
    """The places of all rows in an order, and the order, which every iteration draws anew.

    It takes 4 bytes a row. `tf.data.Dataset.shuffle` takes about 200: more than most vectors.
    """
    order = np.arange(count, dtype=np.int32 if count < 2**31 else np.int64)
    random = np.random.default_rng(seed % 2**64)

    def shuffle():
        random.shuffle(order)
        return np.int64(0)

    def places(_):
        return tf.data.Dataset.range(tf.numpy_function(shuffle, [], tf.int64), count)

    rows = tf.data.Dataset.range(1).flat_map(places)
    return rows.apply(tf.data.experimental.assert_cardinality(count)), order


class CheckedPyDataset(keras.utils.PyDataset):
    """A `keras.utils.PyDataset` whose batches are checked, and given as dicts."""

    def __init__(self, dataset: keras.utils.PyDataset, check: Callable[[Any], dict]) -> None:
        super().__init__(workers=dataset.workers, max_queue_size=dataset.max_queue_size)
        self._dataset = dataset
        self._check = check

    @property
    def num_batches(self) -> int | None:
        return self._dataset.num_batches

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._check(self._dataset[index])

    def on_epoch_begin(self) -> None:
        self._dataset.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self._dataset.on_epoch_end()


def iterate(x: Any, steps: int | None) -> Iterable[Any]:
    """Iterates over the first batches of a stream; None: over all, once."""
    if isinstance(x, keras.utils.PyDataset):
        if x.num_batches is None and steps is None:
            raise ValueError(
                "A PyDataset without a length needs steps. Received: num_batches=None, steps=None"
            )
        numbers = itertools.count() if x.num_batches is None else range(x.num_batches)
        return (x[number] for number in itertools.islice(numbers, steps))
    return itertools.islice(x, steps)
