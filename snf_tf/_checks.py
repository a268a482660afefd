"""Checks of arguments: every number and option is checked once, and refused in one form.

Every message is `NAME must be WHAT IS ALLOWED. Received: NAME=VALUE`. Imports nothing of the
package.
"""

import math
import numbers
import os
from collections.abc import Collection, Sequence
from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf

# What integers may be where there is no other limit, and what seeds may be.
_LARGEST = 2**31 - 1
_INT64 = (-(2**63), 2**63 - 1)
_LONGEST = 200


def refuse(name: str, value: Any, allowed: str) -> NoReturn:
    """Raises the ValueError of an argument.

    Args:
        name: The argument.
        value: What was given.
        allowed: What it must be.
    """
    raise ValueError(f"{name} must be {allowed}. Received: {name}={shown(value)}") from None


def shown(value: Any) -> str:
    """Returns a value as messages show it: its repr, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def check_number(
    name: str,
    value: Any,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    optional: bool = False,
    integer: bool = False,
    dtype: str | None = None,
    otherwise: str = "",
) -> Any:
    """Returns a number as a Python number; raises a ValueError unless it is real and finite.

    bool is no number; NumPy's scalars and arrays of no axis are.

    Args:
        name: The argument.
        value: What was given.
        at_least: Limit of what is allowed.
        above: The same, itself not allowed.
        at_most: As at_least.
        below: As above.
        optional: Whether None is allowed.
        integer: Whether only integers are.
        dtype: Of floats; it must hold the number, neither as infinity nor as 0.
        otherwise: What else may be given, for the message; the caller allows it.
    """
    if value is None and optional:
        return None
    kinds = (int, np.integer) if integer else (int, np.integer, float, np.floating)
    given, lost = _scalar(value), False
    is_number = isinstance(given, kinds) and not isinstance(given, bool | np.bool_)
    if is_number:
        number: Any = given.item() if isinstance(given, np.generic) else given
        is_held = _is_finite(number) and (dtype is None or _is_held(number, dtype))
        lost = not is_held and number == number
        if (
            is_held
            and (at_most is not None or not integer or number <= _LARGEST)
            and (at_least is None or number >= at_least)
            and (above is None or number > above)
            and (at_most is None or number <= at_most)
            and (below is None or number < below)
        ):
            return number
    if integer and is_number and at_most is None and below is None:
        at_most = _LARGEST if given > _LARGEST else None
    limits = {"of at least": at_least, "above": above, "at most": at_most, "below": below}
    words = " and ".join(f"{word} {limit}" for word, limit in limits.items() if limit is not None)
    kind = "an integer" if integer else "a finite number" if lost or not words else "a number"
    allowed = f"{kind} {words}".strip() + f" that {dtype} holds" * (lost and dtype is not None)
    refuse(name, value, allowed + (", or None" if optional else "") + otherwise)


def check_integer(name: str, value: Any, at_least: int | None = None, **limits: Any) -> Any:
    """Returns an integer; raises a ValueError for anything else. See `check_number`."""
    return check_number(name, value, at_least=at_least, integer=True, **limits)


def check_sizes(**sizes: Any) -> tuple[int, ...]:
    """Returns several integers of at least 1; raises a ValueError for anything else."""
    return tuple(check_integer(name, value, 1) for name, value in sizes.items())


def check_seed(seed: Any, optional: bool = False) -> Any:
    """Returns a seed, an integer of 64 bits; raises a ValueError for anything else."""
    least, most = _INT64
    try:
        return check_number("seed", seed, at_least=least, at_most=most, integer=True)
    except ValueError:
        if seed is None and optional:
            return None
        refuse("seed", seed, "an integer of 64 bits" + ", or None" * optional)


def check_array_seed(seed: Any) -> int:
    """Returns a seed of NumPy; raises a ValueError for anything else."""
    return check_integer("seed", seed, 0, at_most=2**32 - 1)


def check_shape(
    name: str, value: Any, *, optional: bool = False, ranks: Collection[int] = (), least: int = 1
) -> Any:
    """Returns a tuple of integers of at least 1; raises a ValueError for anything else.

    Args:
        name: The argument.
        value: What was given.
        optional: Whether None is allowed.
        ranks: Allowed lengths, 1 or 3; all by default.
        least: The smallest allowed length, if there are no ranks.
    """
    if value is None and optional:
        return None
    given = value.tolist() if isinstance(value, np.ndarray) else value
    if isinstance(given, Sequence | tf.TensorShape) and not isinstance(given, str | bytes):
        sizes = tuple(given)
        if (
            (len(sizes) in ranks if ranks else len(sizes) >= least)
            and all(isinstance(size, numbers.Integral) for size in sizes)
            and all(size >= 1 and not isinstance(size, bool | np.bool_) for size in sizes)
        ):
            return tuple(map(int, sizes))
    known = {1: "(D,)", 3: "(height, width, channels)"}
    shapes = f"{' or '.join(known[rank] for rank in sorted(ranks, reverse=True))}, a tuple of "
    allowed = f"{shapes if ranks else 'a tuple of '}integers of at least 1"
    refuse(name, value, allowed + (", or None" if optional else ""))


def check_image_shape(name: str, value: Any, rank: int = 3) -> Any:
    """Returns the shape of an image or a kernel; raises a ValueError for anything else."""
    try:
        shape = check_shape(name, value, least=rank)
        if len(shape) == rank:
            return shape
    except ValueError:
        pass
    refuse(name, value, f"a tuple of {rank} integers of at least 1")


def check_odd_sizes(name: str, value: Any) -> tuple[int, int]:
    """Returns two odd integers, of two or of one; raises a ValueError for anything else."""
    given = value.tolist() if isinstance(value, np.ndarray) else value
    sizes = given if isinstance(given, tuple | list) else (given, given)
    try:
        height, width = (check_integer(name, size, 1) for size in sizes)
        if height % 2 and width % 2:
            return height, width
    except ValueError:
        pass
    refuse(name, value, "an odd integer of at least 1, or two of them")


def check_flag(name: str, value: Any) -> bool:
    """Returns a bool; raises a ValueError for anything else."""
    given = _scalar(value)
    if not isinstance(given, bool | np.bool_):
        refuse(name, value, "True or False")
    return bool(given)


def check_order(name: str, value: Any) -> Any:
    """Returns the order of a norm; raises a ValueError for anything else."""
    if isinstance(value, float) and value == math.inf:
        return value
    return check_number(name, value, at_least=1, otherwise=", or infinity")


def check_choice(name: str, value: Any, choices: Collection[Any]) -> Any:
    """Returns one of several values; raises a ValueError for anything else."""
    if not (isinstance(value, str | None) and value in choices):
        refuse(name, value, f"one of {', '.join(map(repr, choices))}")
    return value


def check_instance(
    name: str, value: Any, classes: type | tuple[type, ...], allowed: str, optional: bool = False
) -> Any:
    """Returns an object of one of the classes; raises a ValueError for anything else."""
    if isinstance(value, classes) or (value is None and optional):
        return value
    is_class = isinstance(value, type) and issubclass(value, classes)
    hint = f", an object and not the class: {value.__name__}(...)" if is_class else ""
    refuse(name, value, allowed + hint + (", or None" if optional else ""))


def check_path(name: str, value: Any, optional: bool = False) -> Any:
    """Returns a path; raises a ValueError for anything else."""
    return check_instance(name, value, (str, os.PathLike), "a path, as text", optional)


def check_network(name: str, value: Any, optional: bool = False) -> Any:
    """Returns a Keras layer or model; raises a ValueError for anything else."""
    return check_instance(name, value, keras.layers.Layer, "a Keras layer or model", optional)


def check_named(name: str, value: Any, get: Any, what: str) -> Any:
    """Returns what one of Keras' `get` makes of a name or an object.

    Args:
        name: The argument.
        value: A name, an object or a config.
        get: Such as `keras.initializers.get`.
        what: Such as "initializer".

    Raises:
        ValueError: If Keras knows no such name, or it is something else.
    """
    try:
        return get(value)
    except (ValueError, TypeError, AttributeError):
        refuse(name, value, f"the name of an {what} of Keras, or such an object")


def check_scalar(name: str, value: Any, dtype: Any, **limits: Any) -> tf.Tensor:
    """Returns a number or a scalar tensor as a tensor; raises a ValueError for anything else.

    Of a tensor in a graph only the kind is checked.

    Args:
        name: The argument.
        value: What was given.
        dtype: Of the tensor; if it is one of integers, only integers are allowed.
        **limits: As in `check_number`.
    """
    integer = tf.as_dtype(dtype).is_integer
    if not integer:
        limits["dtype"] = tf.as_dtype(dtype).name
    if not isinstance(value, tf.Tensor | tf.Variable | keras.Variable):
        return tf.constant(check_number(name, value, integer=integer, **limits), dtype)
    tensor = tf.convert_to_tensor(value)
    fits = tensor.dtype.is_integer or (tensor.dtype.is_floating and not integer)
    if not fits or tensor.shape.rank not in (0, None):
        refuse(name, value, f"{'an integer' if integer else 'a number'}, or a scalar tensor of one")
    if isinstance(tensor, tf.__internal__.EagerTensor):
        # As float64: NumPy has no bfloat16.
        number = tensor if integer else tf.cast(tensor, tf.float64)
        check_number(name, number.numpy()[()], integer=integer, **limits)
    return tf.cast(tensor, dtype)


def check_seed_tensor(seed: Any) -> tf.Tensor:
    """Returns a seed, an integer or a scalar tensor of one, as an int64 tensor."""
    if isinstance(seed, tf.Tensor | tf.Variable | keras.Variable):
        try:
            return check_scalar("seed", seed, tf.int64, at_most=_INT64[1])
        except ValueError:
            refuse("seed", seed, "an integer of 64 bits, or a scalar tensor of one")
    return tf.constant(check_seed(seed), tf.int64)


def _scalar(value: Any) -> Any:
    """Returns what an array without axes holds, or a tensor outside of graphs; others as is."""
    if isinstance(value, tf.Tensor) and not tf.is_symbolic_tensor(value):
        value = value.numpy()
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value


def _is_held(number: Any, dtype: str) -> bool:
    limits = np.finfo(dtype)
    return number == 0 or float(limits.tiny) <= abs(number) <= float(limits.max)


def _is_finite(number: Any) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:
        return False
