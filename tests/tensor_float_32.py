"""What a GPU with TensorFloat-32 would compute: factors of float32 are rounded to 10 bits."""

import contextlib
import functools
from unittest import mock

import tensorflow as tf
from tensorflow.python.ops import gen_linalg_ops, gen_math_ops, gen_nn_ops

from snf_tf.ops import precision

_PRODUCTS = [
    *[(gen_math_ops, name) for name in ("mat_mul", "batch_mat_mul", "batch_mat_mul_v2")],
    (gen_math_ops, "batch_mat_mul_v3"),
    *[(gen_nn_ops, name) for name in ("conv2d", "conv2d_backprop_input", "conv2d_backprop_filter")],
    (gen_linalg_ops, "einsum"),
    *[(tf.raw_ops, name) for name in ("MatMul", "BatchMatMulV2", "Einsum", "Conv2D")],
    *[(tf.raw_ops, name) for name in ("Conv2DBackpropInput", "Conv2DBackpropFilter")],
]


@contextlib.contextmanager
def emulated():
    """Rounds the factors of all products in eager code, and in graphs traced meanwhile."""
    with contextlib.ExitStack() as stack:
        for module, name in _PRODUCTS:
            rounded = _rounded(getattr(module, name))
            stack.enter_context(mock.patch.object(module, name, rounded))
        stack.enter_context(mock.patch.object(precision, "_rounds_float32", return_value=True))
        yield


def _rounded(product):
    @functools.wraps(product)
    def function(*args, **kwargs):
        args, kwargs = tf.nest.map_structure(_round, (args, kwargs))
        return product(*args, **kwargs)

    return function


def _round(value):
    if not tf.is_tensor(value) or value.dtype != tf.float32:
        return value
    bits = tf.bitcast(value, tf.int32) + 0x1000
    return tf.bitcast(tf.bitwise.bitwise_and(bits, tf.constant(-0x2000)), tf.float32)
