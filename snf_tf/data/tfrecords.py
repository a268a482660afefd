"""Reads TFRecord files of `tf.train.Example`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from snf_tf.data.archives import decode_image
from snf_tf.data.storage import Storage

_NAMES = ("x", "y", "context")
_PART = 256


def read_records(paths: Sequence[Path], storage: Storage) -> dict[str, Any]:
    """Reads x of all records, and where the first has them y and context.

    Args:
        paths: Of the files, of which one continues the other.
        storage: Where x and the contexts go.

    Raises:
        ValueError: If a file is damaged, there is no record, or it has no x; or as `record_parts`.
    """
    first: Any = next(_features(paths), {})
    if "x" not in first:
        raise ValueError(
            "Records must have x, and where there are any y and context. "
            f"Received: {', '.join(sorted(first)) or 'none'} in {paths[0]}"
        )

    def read(name):
        if name == "y":
            return np.concatenate(list(record_parts(paths, name)))
        return storage.keep(f"{paths[0].stem}-{name}", lambda: record_parts(paths, name), paths)

    return {name: read(name) for name in _NAMES if name in first}


def record_parts(paths: Sequence[Path], name: str) -> Iterator[np.ndarray]:
    """Reads a feature of all records, in their order.

    Numbers are a vector, of y a scalar. Bytes are a PNG or JPEG image, or a tensor as
    `tf.io.serialize_tensor` writes it; of y, text.

    Args:
        paths: Of the files, of which one continues the other.
        name: Of the feature.

    Yields:
        Some rows, `(n, ...)`.

    Raises:
        ValueError: If a file is damaged, a record lacks the feature, or rows differ in shape.
    """
    rows: list[np.ndarray] = []
    shape = None
    for number, features in enumerate(_features(paths)):
        where = f"record {number} after {paths[0]}"
        row = _value(features[name], name, where) if name in features else None
        shape = row.shape if shape is None and row is not None else shape
        if row is None or row.shape != shape:
            raise ValueError(
                f"All records must have {name} of one shape, {shape}. Received: "
                f"{'none' if row is None else row.shape} in {where}"
            )
        rows.append(row)
        if len(rows) == _PART:
            yield np.stack(rows)
            rows = []
    if rows:
        yield np.stack(rows)


def _features(paths):
    try:
        for record in tf.data.TFRecordDataset([str(path) for path in paths]).as_numpy_iterator():
            yield tf.train.Example.FromString(record).features.feature
    except (tf.errors.OpError, DecodeError) as error:
        names = ", ".join(path.name for path in paths[:3])
        raise ValueError(
            f"{names} is damaged, or no TFRecord file of tf.train.Example: {error}"
        ) from error


def _value(feature, name, where):
    kind = feature.WhichOneof("kind")
    values = getattr(feature, kind).value if kind else ()
    if kind == "bytes_list" and len(values) == 1:
        return (
            np.array(values[0].decode(errors="replace"))
            if name == "y"
            else _decoded(values[0], where)
        )
    if kind == "bytes_list" or not len(values):
        raise ValueError(
            f"{name} must be numbers, or bytes of one image or tensor. "
            f"Received: {len(values)} values of {kind} in {where}"
        )
    numbers = np.array(values, np.float32 if kind == "float_list" else np.int64)
    return numbers[0] if name == "y" and len(numbers) == 1 else numbers


def _decoded(content: bytes, where: str) -> np.ndarray:
    if content.startswith((b"\x89PNG", b"\xff\xd8\xff")):
        return decode_image(content, where).numpy()
    # What serialize_tensor writes names its dtype.
    try:
        return tf.make_ndarray(type(tf.make_tensor_proto(0)).FromString(content))
    except (DecodeError, TypeError, ValueError) as error:
        raise ValueError(f"{where} is neither an image nor a tensor: {error}") from error
