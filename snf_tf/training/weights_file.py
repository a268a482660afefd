"""Loads the weights of a run, whose file may come from a stranger."""

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import tensorflow as tf

from snf_tf import _compat
from snf_tf.flow import Flow

# A flow has states beside the weights in the file, and some layers store what they can compute.
_FACTOR, _BYTES = 4, 256 * 2**20


def load_with_weights(build: Callable[[], Flow], path: Path) -> Flow:
    """Builds a flow and loads its weights.

    Args:
        build: Makes the flow.
        path: A `.weights.h5` file.

    Raises:
        ValueError: If the file is damaged, has links to other files, or does not fit the flow; if
            the flow is much larger than the file.
    """
    try:
        with h5py.File(path) as file:
            stored = sum(_sizes(file, path, path.stat().st_size, set()))
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(
            f"The weights must be a file of HDF5, and cannot be read: it is damaged. "
            f"Received: {path}: {error}"
        ) from None
    with _limited(_FACTOR * stored + _BYTES, path):
        flow = build()
    try:
        flow.load_weights(path)
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise ValueError(
            "The weights must be those of the flow that the run's configuration builds. "
            f"Received: {path}: {error}"
        ) from None
    return flow


def _sizes(group: h5py.Group, path: Path, size_of_file: int, seen: set[int]) -> Iterator[int]:
    """Yields the bytes of every array; refuses links, and arrays larger than the file."""
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ValueError(
                f"A file of weights must hold no links. Received: {path}, with {group.name}/{name}"
            )
        part = group[name]
        address = h5py.h5o.get_info(part.id).addr
        if address in seen or not isinstance(part, h5py.Group | h5py.Dataset):
            raise ValueError(
                "A file of weights must hold groups and arrays, each under one name. "
                f"Received: {path}, with {group.name}/{name}"
            )
        seen.add(address)
        if isinstance(part, h5py.Group):
            yield from _sizes(part, path, size_of_file, seen)
            continue
        if part.dtype.kind not in "fiub":
            raise ValueError(
                "An array of weights must hold real numbers. "
                f"Received: {path}, with {part.name} of dtype {part.dtype}"
            )
        size = int(np.prod(part.shape, dtype=float)) * part.dtype.itemsize if part.shape else 8
        if part.external or part.is_virtual or size > size_of_file:
            raise ValueError(
                "An array of weights must be in the file, and no larger than it. "
                f"Received: {path}, with {part.name} of shape {part.shape}"
            )
        yield size


class _TooLarge(BaseException):
    """No Exception: a coupling takes any of its network for a sign that a context is missing."""


@contextlib.contextmanager
def _limited(limit: int, path: Path) -> Iterator[None]:
    """Stops a flow that is much larger than the weights it should get."""
    total = 0

    def create(next_creator, **arguments):
        nonlocal total
        variable = next_creator(**arguments)
        total += (variable.shape.num_elements() or 0) * variable.dtype.size
        require_room(total)
        return variable

    def require_room(size):
        if size > limit:
            raise _TooLarge(
                "The flow of a run's configuration must fit its weights. Received: one of more "
                f"than {size} bytes, and {path}, of {path.stat().st_size}"
            )

    with (
        tf.variable_creator_scope(create),
        _compat.checked_shapes(lambda shape: require_room(total + 4 * math.prod(shape))),
    ):
        try:
            yield
        except _TooLarge as error:
            raise ValueError(str(error)) from None
