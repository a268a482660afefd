"""Exports a flow, to be used with nothing but TensorFlow, LiteRT or ONNX Runtime."""

from snf_tf.serving.portable_files import export_litert, export_onnx, load_litert, load_onnx
from snf_tf.serving.saved_model import Endpoints, context_kind, export

__all__ = [
    "Endpoints",
    "context_kind",
    "export",
    "export_litert",
    "export_onnx",
    "load_litert",
    "load_onnx",
]
