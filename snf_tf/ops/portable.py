"""Graphs of plain operations, for formats with neither XLA nor all operations of TensorFlow."""

import contextlib
import contextvars
from collections.abc import Iterator

_IS_PORTABLE = contextvars.ContextVar("is_portable", default=False)


@contextlib.contextmanager
def portable_graphs() -> Iterator[None]:
    """Lets what is traced within leave out what only makes TensorFlow faster; numbers agree.

    Example:
        >>> x, parameters = tf.constant([[0.5]]), [tf.zeros((1, n)) for n in (5, 5, 4)]
        >>> with snf_tf.ops.portable_graphs():
        ...     z = snf_tf.ops.rational_quadratic_spline_inverse(x, *parameters, 2.0)
    """
    token = _IS_PORTABLE.set(True)
    try:
        yield
    finally:
        _IS_PORTABLE.reset(token)


def is_portable() -> bool:
    """Returns whether the graph that is traced now is for other formats."""
    return _IS_PORTABLE.get()
