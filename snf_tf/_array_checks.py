"""Checks of data: arrays and tensors that must be real numbers, in the form of `_checks`."""

from typing import Any, NoReturn

import keras
import tensorflow as tf

from snf_tf._checks import refuse


def check_array(name: str, value: Any, dtype: Any = None) -> Any:
    """Returns data as a tensor of real numbers; raises a ValueError for anything else.

    bool becomes uint8. A symbolic tensor of Keras stays as it is.

    Args:
        name: The argument.
        value: What was given.
        dtype: To which the caller casts the data. Outside of graphs, finite numbers that this dtype
            does not hold are refused.
    """
    if isinstance(value, keras.KerasTensor):
        return value
    try:
        tensor = None if isinstance(value, tf.RaggedTensor) else tf.convert_to_tensor(value)
    except (TypeError, ValueError):
        tensor = None
    if tensor is None or not is_real(tensor.dtype):
        refuse_array(name, value, "real numbers, in an array or tensor of a dtype of TensorFlow")
    # float64 is the only dtype that holds larger numbers than float32.
    if dtype is not None and tensor.dtype == tf.float64 != dtype and tf.executing_eagerly():
        lost = tf.math.is_finite(tensor) & ~tf.math.is_finite(tf.cast(tensor, dtype))
        if tf.reduce_any(lost):
            largest = tf.reduce_max(tf.abs(tensor[lost]))
            refuse_array(name, value, f"numbers that {dtype} holds", f", with {largest}")
    return tf.cast(tensor, tf.uint8) if tensor.dtype.is_bool else tensor


def cast_array(name: str, value: Any, dtype: Any) -> tf.Tensor:
    """Returns data as a tensor of the dtype, after `check_array`."""
    return tf.cast(check_array(name, value, tf.as_dtype(dtype).name), dtype)


def is_real(dtype: Any) -> bool:
    """Tells whether TensorFlow has a dtype, and it is one of real numbers, or bool."""
    try:
        dtype = tf.as_dtype(dtype)
    except TypeError:
        return False
    return dtype.is_floating or dtype.is_integer or dtype.is_bool


def refuse_array(name: str, value: Any, allowed: str, more: str = "") -> NoReturn:
    """Raises the ValueError of an array, which is shown by its shape and dtype."""
    if not (hasattr(value, "shape") and hasattr(value, "dtype")):
        refuse(name, value, allowed)
    dtype = getattr(value.dtype, "name", value.dtype)
    raise ValueError(
        f"{name} must be {allowed}. Received: {name} of shape {value.shape} and dtype {dtype}{more}"
    ) from None
