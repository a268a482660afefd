"""Self Normalizing Flows (Keller et al., ICML 2021) for Keras 3 and TensorFlow."""

import importlib as _importlib

import keras as _keras

if _keras.backend.backend() != "tensorflow":
    raise ImportError(
        "snf_tf needs Keras to run on TensorFlow: set the environment variable "
        "KERAS_BACKEND=tensorflow before keras is imported. "
        f"Received: backend={_keras.backend.backend()!r}"
    )

from snf_tf import bases, data, layers, models, networks, ops, optimizers, testing
from snf_tf._version import __version__
from snf_tf.flow import Flow, HybridFlow

__all__ = [
    "Flow",
    "HybridFlow",
    "__version__",
    "bases",
    "bijectors",
    "data",
    "layers",
    "models",
    "networks",
    "ops",
    "optimizers",
    "serving",
    "testing",
]


def __getattr__(name):
    # TensorFlow Probability takes seconds to import; only bijectors need it.
    if name in ("bijectors", "serving"):
        return _importlib.import_module(f"snf_tf.{name}")
    raise AttributeError(f"module 'snf_tf' has no attribute {name!r}")
