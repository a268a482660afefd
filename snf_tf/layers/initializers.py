"""Initial values of invertible kernels."""

from typing import Any

import keras
import numpy as np
from keras import ops

from snf_tf._checks import check_named, check_number, check_seed


@keras.saving.register_keras_serializable("snf_tf")
class NoisyIdentity(keras.initializers.Initializer):
    """The identity map plus Glorot normal noise (SNF A.3).

    A dense kernel `(D, D)` is the identity matrix, a convolution `(kh, kw, C, C)` the Dirac kernel,
    each plus `gain * GlorotNormal`.

    Args:
        gain: Scale of the noise.
        seed: As in `keras.initializers.GlorotNormal`.

    Example:
        >>> kernel = NoisyIdentity(gain=0.0)((2, 2))
        >>> np.array(kernel).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(self, gain: float = 0.01, seed: int | None = None) -> None:
        self.gain = check_number("gain", gain)
        self.seed = check_seed(seed, optional=True)

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        identity = np.zeros(shape)
        identity[tuple(size // 2 for size in shape[:-2])] = np.eye(*shape[-2:])
        noise = keras.initializers.GlorotNormal(seed=self.seed)(shape, dtype=dtype)
        return ops.convert_to_tensor(identity, dtype=noise.dtype) + self.gain * noise

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain, "seed": self.seed}


def checked_initializer(initializer: Any, default: Any = None) -> Any:
    """Returns the argument kernel_initializer of a layer as an object, or the default for None.

    Raises:
        ValueError: If Keras knows no such initializer.
    """
    get = keras.initializers.get
    return check_named("kernel_initializer", initializer, get, "initializer") or default
