"""Flows as ONNX files, a file a method."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from snf_tf.serving.portable import Loaded, Portable, refuse_method

# The oldest with all operations that flows use, for older servers.
_OPSET = 18


def convert(portable: Portable) -> dict[str, bytes]:
    """Converts functions to ONNX files: name -> what the file holds.

    Raises:
        ValueError: If ONNX lacks an operation, which is named.
    """
    import tf2onnx

    # It logs as errors what is raised here.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    files = {}
    for name, function in portable.functions.items():
        try:
            model, _ = tf2onnx.convert.from_function(
                function, function.input_signature, opset=_OPSET
            )
        except Exception:
            # Some errors of tf2onnx name no operation, as where a branch holds one that it lacks.
            lacking = _unconvertible(function)
            if not lacking:
                raise
        else:
            lacking = set(_unknown(model.graph))
        if lacking:
            refuse_method("ONNX", portable, name, f"operation {', '.join(sorted(lacking))}")
        files[name] = model.SerializeToString()
    return files


def load(directory: str | os.PathLike, threads: int | None = None) -> Loaded:
    """Loads the files of a directory; see `snf_tf.serving.load_onnx`."""
    import onnxruntime

    files = sorted(Path(directory).glob("*.onnx"))
    if not files:
        raise FileNotFoundError(
            "directory must be one that export_onnx has written, and holds no .onnx files. "
            f"Received: directory={directory}"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    return {
        path.stem: _method(
            onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        )
        for path in files
    }


def _unknown(graph: Any) -> Iterator[str]:
    """Yields the operations of a graph that ONNX does not have: tf2onnx leaves TensorFlow's."""
    import onnx

    for node in graph.node:
        try:
            onnx.defs.get_schema(node.op_type, _OPSET, node.domain)
        except onnx.defs.SchemaError:
            yield node.op_type
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _unknown(attribute.g)


def _unconvertible(function: Any) -> set[str]:
    """Returns the operations of a function that tf2onnx cannot convert."""
    from tf2onnx import tf_loader
    from tf2onnx.handler import tf_op

    graph = function.get_concrete_function()
    tensors = ([t for t in graph.inputs if t.dtype != tf.resource], graph.outputs)
    frozen = tf_loader.from_function(graph, *([t.name for t in some] for some in tensors))
    bodies = (body.node_def for body in frozen.library.function)
    found = {node.op for nodes in (frozen.node, *bodies) for node in nodes}
    # Assertions are left out of ONNX graphs.
    return found - {"Assert", *tf_op.create_mapping(_OPSET, [])}


def _method(session) -> Callable[..., np.ndarray]:
    return lambda **arrays: session.run(None, arrays)[0]
