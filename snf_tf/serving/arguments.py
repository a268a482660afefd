"""The dtypes of what the methods of a SavedModel are given, and the refusal of others in words.

TensorFlow calls a function of a SavedModel with the dtypes alone for which it was traced, and tells
of others at length. Hence there are traces for what is wrong, too, which refuse it. They are small;
those that compute hold a copy of all that they call.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

# Of data. Python's lists become the first that holds them.
DATA = (tf.uint8, tf.int32, tf.int64, tf.float32, tf.float64)
_NO_DATA = (
    *(tf.int8, tf.int16, tf.uint16, tf.uint32, tf.uint64, tf.float16, tf.bfloat16),
    *(tf.bool, tf.string, tf.complex64, tf.complex128, None),
)
# Of counts and seeds; Python's integers become the first.
_COUNTS = (tf.int64, tf.int32)
_NO_COUNTS = (tf.float32, tf.float64, tf.string, tf.bool, tf.uint8, None)


def right(contexts: Sequence[tf.DType], **draws: tf.DType) -> Iterator[dict[str, Any]]:
    """Yields the arguments for which a method of data is traced.

    Args:
        contexts: The dtypes of a context; none where the method takes none.
        **draws: Its dtype, where the method takes draws.
    """
    for seed, x, context in itertools.product(_COUNTS, DATA, contexts or (None,)):
        yield _specs(x, context, seed=seed, **draws)


def wrong(contexts: Sequence[tf.DType], has_draws: bool) -> Iterator[dict[str, Any]]:
    """Yields the arguments for which a method of data is traced to refuse them: one is wrong.

    Args:
        contexts: As above.
        has_draws: Whether the method takes draws.
    """
    known = contexts or (None,)
    context = known[0]
    for x, seed in itertools.product(_NO_DATA, _COUNTS):
        yield _specs(x, context, seed=seed)
    for x in DATA:
        for name in ("seed", "first_row", *(["draws"] if has_draws else [])):
            for kind in _NO_COUNTS:
                yield _specs(x, context, **{name: kind})
            # Scalars are matched before.
            yield _specs(x, context, **{name: tf.int64}, shape=None)
    others = (*DATA, *_NO_DATA) if contexts else (*DATA, tf.string)
    for x, other in itertools.product((tf.uint8, tf.float32, tf.float64), others):
        if other not in known:
            yield _specs(x, other)


def _specs(x, context, shape=(), **counts):
    data = {"x": x} | ({} if context is None else {"context": context})
    shapes = dict.fromkeys(data) | dict.fromkeys(counts, shape)
    kinds = data | {"seed": tf.int64, "first_row": tf.int64} | counts
    return {
        name: kind if kind is None else tf.TensorSpec(shapes.get(name, ()), kind, name)
        for name, kind in kinds.items()
    }


def refusal(contexts: Sequence[tf.DType], x: Any, context: Any, **counts: Any) -> tf.Tensor | None:
    """Returns a tensor that fails when it is computed, if an argument is wrong.

    Args:
        contexts: As above.
        x: Data.
        context: A context, or None.
        **counts: A seed and the like, by name.
    """
    if not _is_one(x, DATA):
        return _refused("x", x, f"numbers, of dtype {_names(DATA)}")
    for name, value in counts.items():
        value = value if value is None else tf.convert_to_tensor(value)
        if value is None or value.dtype not in _COUNTS or value.shape.rank != 0:
            return _refused(name, value, f"an integer, a scalar of dtype {_names(_COUNTS)}")
    if not contexts and context is not None:
        return _refused("context", context, "left out: this flow takes none")
    if contexts and not _is_one(context, contexts):
        return _refused("context", context, f"given to this flow, of dtype {_names(contexts)}")
    return None


def _is_one(value, kinds):
    return value is not None and value.dtype in kinds


def _names(kinds):
    *names, last = [kind.name for kind in kinds]
    return f"{', '.join(names)} or {last}"


def _refused(name, value, allowed):
    received = tf.constant("None")
    if value is not None:
        text = value if value.dtype == tf.string else tf.strings.as_string(value)
        first = tf.strings.reduce_join(tf.reshape(text, [-1])[:3], separator=", ")
        shape = tf.strings.reduce_join(tf.strings.as_string(tf.shape(value)), separator=", ")
        dtype = value.dtype.name
        received = tf.strings.join([first, f", of dtype {dtype} and shape (", shape, ")"])
    words = tf.strings.join([f"{name} must be {allowed}. Received: {name}=", received])
    with tf.control_dependencies([tf.raw_ops.Assert(condition=tf.constant(False), data=[words])]):
        return tf.zeros(())
