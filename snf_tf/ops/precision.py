"""Products that are exact to float32 on every device.

GPUs since NVIDIA's Ampere multiply float32 as TensorFloat-32 by default: they round both factors to
10 bits, an error of up to 5e-4. Training bears it; what is called exact does not. Products of
float64 are never rounded so.
"""

import tensorflow as tf

from snf_tf.ops.conv import conv2d

# Of the first GPUs with TensorFloat-32.
_AMPERE = (8, 0)


def precise_matmul(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Computes `a @ b`, in float64 where products of float32 would be rounded to 10 bits.

    Whether they would be is asked once, when a graph is traced. Gradients are as precise.

    Args:
        a: `(n, m)`.
        b: `(m, k)`, in the dtype of a.

    Returns:
        `(n, k)`, in the dtype of a.

    Example:
        >>> snf_tf.ops.precise_matmul(tf.ones((2, 3)), tf.eye(3)).dtype
        tf.float32
    """
    return _precise(tf.matmul, a, b)


def precise_conv2d(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Computes `conv2d(x, kernel)`, in float64 where `precise_matmul` does.

    Args:
        x: `(batch, H, W, C)`.
        kernel: `(kh, kw, C, C)`, in the dtype of x.

    Returns:
        `(batch, H, W, C)`, in the dtype of x.

    Example:
        >>> snf_tf.ops.precise_conv2d(tf.ones((2, 4, 4, 1)), tf.ones((3, 3, 1, 1))).dtype
        tf.float32
    """
    return _precise(conv2d, x, kernel)


def _precise(product, a, b):
    if a.dtype != tf.float32 or not _rounds_float32():
        return product(a, b)
    return tf.cast(product(tf.cast(a, tf.float64), tf.cast(b, tf.float64)), tf.float32)


def _rounds_float32():
    """Whether some device of this process multiplies float32 as TensorFloat-32."""
    if not tf.config.experimental.tensor_float_32_execution_enabled():
        return False
    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    # A GPU that does not tell is taken for a new one.
    return any(gpu.get("compute_capability", _AMPERE) >= _AMPERE for gpu in details)
