"""Initial kernels without a use: singular, of NaN, or huge ones are refused at build."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import refuse
from snf_tf.layers.initializers import NoisyIdentity

# Products with larger numbers leave no digit to the bias, and soon overflow.
_LARGEST = 1e8
# A larger event is not solved for: building a layer must not take long.
_MOST_NUMBERS = 4096
_ALWAYS_REGULAR = (NoisyIdentity, keras.initializers.Orthogonal)

Solver = Callable[[np.ndarray, np.ndarray], Any]


def require_finite(kernel: Any, initializer: Any) -> np.ndarray | None:
    """Returns an initial kernel as an array of float64; None in a graph, where it has no value.

    Args:
        kernel: A tensor, a variable or an array.
        initializer: Gave the kernel; for the message.

    Raises:
        ValueError: If a number is not finite, or huge.
    """
    with tf.init_scope():
        if not isinstance(kernel, np.ndarray):
            kernel = tf.convert_to_tensor(kernel)
        if not hasattr(kernel, "__array__"):
            return None
        values = np.asarray(kernel, np.float64)
    largest = np.max(np.abs(values), initial=0.0)
    if not largest <= _LARGEST:
        _refuse(initializer, f"finite numbers of at most {_LARGEST:g}", f"the largest is {largest}")
    return values


def require_regular(
    kernel: Any, initializer: Any, solve: Solver, event_shape: tuple[int, ...]
) -> None:
    """Raises a ValueError if an initial kernel is not finite, huge, or singular to rounding.

    What it takes to an event of random numbers must not be larger than rounding allows.

    Args:
        kernel: `(D, D)` or `(kh, kw, C, C)`.
        initializer: Gave the kernel.
        solve: Maps a kernel and a batch of one event, both of float64, to what the kernel takes to
            the event.
        event_shape: Of one event.
    """
    values = require_finite(kernel, initializer)
    if values is None or isinstance(initializer, _ALWAYS_REGULAR):
        return
    if np.prod(event_shape) > _MOST_NUMBERS:
        return
    event = np.random.RandomState(0).standard_normal((1, *event_shape))
    try:
        found = np.asarray(solve(values, event))
    except (np.linalg.LinAlgError, tf.errors.InvalidArgumentError):
        found = np.array(np.nan)
    size = np.linalg.norm(values) / np.sqrt(values.shape[-1])
    growth = size * np.linalg.norm(found) / np.linalg.norm(event)
    rounding = np.finfo(tf.as_dtype(kernel.dtype).as_numpy_dtype).eps
    if not growth < 0.1 / rounding:
        _refuse(initializer, "an invertible kernel", "it is singular, or nearly so")


def solve_dense(kernel: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Solves `x @ kernel = event`."""
    return np.linalg.solve(kernel.T, event.T).T


def solve_conv2d(kernel: np.ndarray, event: np.ndarray) -> tf.Tensor:
    """Solves `conv2d(x, kernel) = event`."""
    return ops.conv2d_solve(tf.constant(event), tf.constant(kernel))


def _refuse(initializer: Any, allowed: str, found: str) -> None:
    refuse("kernel_initializer", initializer, f"one that gives {allowed}; here {found}")
