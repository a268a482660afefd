"""Writes and loads flows as files of LiteRT and ONNX; `snf_tf.serving` has these functions."""

import importlib
import os
from collections.abc import Sequence

from snf_tf._checks import check_choice
from snf_tf.flow import Flow
from snf_tf.serving import lite_format, onnx_format
from snf_tf.serving.exporting import appearing, require_ready
from snf_tf.serving.portable import METHODS, Loaded, Portable

# By the dtype of weights: the largest difference from the flow, relative to its largest number, and
# the reason of a larger one.
_TOLERANCES = {
    "float32": (1e-3, "the converter is at fault"),
    "float16": (
        5e-2,
        "float16, of numbers between 6e-5 and 65504 and 3 digits, does not hold its weights; take "
        'weights="float32"',
    ),
}


def export_litert(
    flow: Flow,
    path: str | os.PathLike,
    methods: Sequence[str] = METHODS[:3],
    weights: str = "float32",
) -> dict[str, float]:
    """Writes a flow, as it is now, as one LiteRT file, of LiteRT's own operations alone.

    Every method is a signature, of any batch size from 1, that maps float32 arrays to one array:

    - `sample(noise)`: data from standard normal noise `(batch, D)`, by the approximate inverses
      that layers keep. A temperature is a factor on the noise.
    - `encode(x)`: latents `(batch, D)`. To integers add noise of U[0, 1) before.
    - `log_prob(x)`: `(batch,)`, exact, in nats; x as in `encode`.
    - `decode(z)`, `decode_approximate(z)`: data from latents, by the exact or the kept inverses.

    A flow that takes a context takes it in all methods as `context`, labels as int32. Values are
    not checked. See docs/export.md for what works.

    Args:
        flow: A Flow in float32.
        path: The file to write, which must not exist yet.
        methods: What the file holds.
        weights: "float32"; or "float16", which takes half the space. Arithmetic stays in float32.
            Weights beyond float16's range, or that need more than its 3 digits, are refused.

    Returns:
        By method the largest difference from the flow on 4 random rows.

    Raises:
        FileExistsError: If the file exists.
        ImportError: If packages of the extra `export` are missing.
        RuntimeError: If numbers of the file are not those of the flow: off by more than .1 % of
            the largest one, or 5 % with weights of float16.
        ValueError: If LiteRT lacks an operation of the flow; the message names it. If the flow has
            no such method.

    Example:
        >>> import tempfile
        >>> flow = snf_tf.Flow([snf_tf.layers.SelfNormalizingDense()], event_shape=(2,))
        >>> path = tempfile.mkdtemp() + "/flow.tflite"
        >>> differences = snf_tf.serving.export_litert(flow, path)  # doctest: +SKIP
        >>> model = snf_tf.serving.load_litert(path)  # doctest: +SKIP
        >>> model["sample"](noise=np.zeros((3, 2), "float32")).shape  # doctest: +SKIP
        (3, 2)
    """
    check_choice("weights", weights, tuple(_TOLERANCES))
    _require("LiteRT", "ai_edge_litert")
    require_ready(flow)
    with appearing("path", path, "A LiteRT file") as unfinished:
        portable = Portable(flow, methods)
        unfinished.write_bytes(lite_format.convert(portable, weights))
        return portable.differences(lite_format.load(unfinished), *_TOLERANCES[weights])


def export_onnx(
    flow: Flow, directory: str | os.PathLike, methods: Sequence[str] = METHODS[:3]
) -> dict[str, float]:
    """Writes a flow, as it is now, as ONNX files, `METHOD.onnx`, one a method.

    Args:
        flow: A Flow in float32.
        directory: Where to write them; it must not exist yet.
        methods: As in `export_litert`, with the same arguments and results.

    Returns:
        By method the largest difference from the flow on 4 random rows, by ONNX Runtime.

    Raises:
        FileExistsError: If the directory exists.
        ImportError: If packages of the extra `export` are missing.
        RuntimeError: If numbers of a file are not those of the flow.
        ValueError: If ONNX lacks an operation of the flow; the message names it. If the flow has no
            such method.

    Example:
        >>> import tempfile
        >>> flow = snf_tf.Flow([snf_tf.layers.SelfNormalizingDense()], event_shape=(2,))
        >>> directory = tempfile.mkdtemp() + "/flow"
        >>> differences = snf_tf.serving.export_onnx(flow, directory)  # doctest: +SKIP
        >>> model = snf_tf.serving.load_onnx(directory)  # doctest: +SKIP
        >>> model["log_prob"](x=np.zeros((3, 2), "float32")).shape  # doctest: +SKIP
        (3,)
    """
    _require("ONNX", "tf2onnx", "onnx", "onnxruntime")
    require_ready(flow)
    with appearing("directory", directory, "The directory of ONNX files") as unfinished:
        portable = Portable(flow, methods)
        files = onnx_format.convert(portable)
        unfinished.mkdir()
        for method, content in files.items():
            (unfinished / f"{method}.onnx").write_bytes(content)
        return portable.differences(onnx_format.load(unfinished), *_TOLERANCES["float32"])


def load_litert(path: str | os.PathLike, threads: int | None = None) -> Loaded:
    """Loads a file of `export_litert`: method -> a function of NumPy arrays by name.

    Args:
        path: The file.
        threads: How many LiteRT may use; it decides by default.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    return lite_format.load(path, threads)


def load_onnx(directory: str | os.PathLike, threads: int | None = None) -> Loaded:
    """Loads files of `export_onnx`: method -> a function of NumPy arrays by name.

    Args:
        directory: Where they are.
        threads: How many ONNX Runtime may use; it decides by default.

    Raises:
        FileNotFoundError: If there are no such files.
    """
    return onnx_format.load(directory, threads)


def _require(form, *modules):
    """Raises an ImportError if a module is missing that a format needs."""
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ImportError(
                f"{form} needs the packages of the extra export: pip install '.[export]'. "
                f"Received: {error}"
            ) from None
