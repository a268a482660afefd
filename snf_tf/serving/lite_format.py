"""Flows as LiteRT files, of LiteRT's own operations alone."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from snf_tf.serving.portable import Loaded, Portable, refuse_method


def convert(portable: Portable, weights: str) -> bytes:
    """Converts functions to a LiteRT file, in which every one is a signature.

    Args:
        portable: The functions.
        weights: "float32" or "float16", the dtype in which weights are stored.

    Raises:
        ValueError: If LiteRT lacks an operation, which is named.
    """
    signatures = {
        name: function.get_concrete_function() for name, function in portable.functions.items()
    }
    module = tf.Module()
    module.functions, module.weights = portable.functions, portable.variables
    with tempfile.TemporaryDirectory() as directory:
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, directory, signatures, options)
        try:
            return _convert(directory, list(signatures), weights)
        except Exception:
            for name in signatures:
                try:
                    _convert(directory, [name], weights)
                except Exception as error:
                    if not (lacking := _lacking(error)):
                        raise
                    refuse_method("LiteRT", portable, name, f"operation {', '.join(lacking)}")
            raise


def load(path: str | os.PathLike, threads: int | None = None) -> Loaded:
    """Loads a LiteRT file; see `snf_tf.serving.load_litert`."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=Path(path).read_bytes(), num_threads=threads)
    return {name: _method(interpreter, name) for name in interpreter.get_signature_list()}


def _convert(directory, names, weights):
    converter = tf.lite.TFLiteConverter.from_saved_model(directory, signature_keys=names)
    if weights == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    return converter.convert()


def _lacking(error: Exception) -> list[str]:
    """Returns the names of the operations that LiteRT lacks, by an error of the converter."""
    # Only the converter's own error has them. Some of its errors are no operation's.
    errors = [
        found
        for found in getattr(error, "errors", [])
        if found.operator.name and found.operator.name in found.error_message
    ]
    # Code 2 is of operations that LiteRT has for no dtype, code 1 of the others.
    errors = [found for found in errors if found.error_code == 2] or errors
    return sorted({found.operator.name.removeprefix("tf.") for found in errors})


def _method(interpreter, name) -> Callable[..., np.ndarray]:
    runner = interpreter.get_signature_runner(name)

    def method(**arrays):
        if all(len(array) == 0 for array in arrays.values()):
            # Some of LiteRT's operations refuse arrays without rows.
            row = {name: np.zeros((1, *a.shape[1:]), a.dtype) for name, a in arrays.items()}
            return method(**row)[:0]
        (result,) = runner(**arrays).values()
        # The interpreter writes its next results to the same memory.
        return np.array(result)

    return method
