"""The exponential of a convolution, applied to images."""

import numpy as np
import tensorflow as tf

from snf_tf.ops.conv import conv2d, flip

# The series of a norm of 10, the largest that `ConvolutionExponential` takes, ends after some 50.
_MAX_TERMS = 150


def exponential_conv2d(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Computes `exp(T) x`, where T is the linear map of a zero-padded convolution (Hoogeboom et al.
    2020, Eq. 6).

    The series `x + T x + T T x / 2 + ...` ends when, for every row, a term is below the rounding
    error of the sum. Rows that are not finite are not waited for.

    Args:
        x: `(batch, H, W, C)`.
        kernel: `(kh, kw, C, C)`, odd kh and kw, in the dtype of x. The inverse is the exponential
            of `-kernel`.
    """
    epsilon = tf.cast({tf.float64: 2.0**-53, tf.float32: 2.0**-24}.get(x.dtype, 2.0**-9), x.dtype)

    def unfinished(index, term, total):
        sizes = [tf.reduce_max(tf.abs(images), axis=[1, 2, 3]) for images in (term, total)]
        return tf.reduce_any(sizes[0] > epsilon * sizes[1])

    def add(index, term, total):
        term = conv2d(term, kernel) / tf.cast(index, x.dtype)
        return index + 1, term, total + term

    return tf.while_loop(unfinished, add, (tf.constant(1), x, x), maximum_iterations=_MAX_TERMS)[2]


def conv2d_trace(kernel: tf.Tensor, image_shape: tuple[int, int, int]) -> tf.Tensor:
    """The trace of the matrix of a convolution on `(H, W, C)` images, and log|det| of its
    exponential. A scalar.
    """
    height, width, _ = image_shape
    return height * width * tf.linalg.trace(kernel[kernel.shape[0] // 2, kernel.shape[1] // 2])


def conv2d_norm(
    kernel: tf.Tensor, image_shape: tuple[int, int, int], iterations: int = 20
) -> tf.Tensor:
    """Estimates the spectral norm of the matrix of a convolution on `(H, W, C)` images, by power
    iteration. A scalar.

    The estimate is never too large; its gradient is that of the norm of the singular vectors found.
    """
    # Not by TensorFlow, whose numbers are others under XLA.
    start = tf.constant(np.random.RandomState(0).standard_normal((1, *image_shape)), kernel.dtype)

    def iterate(vector):
        vector = conv2d(conv2d(vector, fixed), flip(fixed))
        return vector / _norm(vector)

    fixed = tf.stop_gradient(kernel)
    (vector,) = tf.while_loop(
        lambda vector: True,
        lambda vector: [iterate(vector)],
        [iterate(start)],
        maximum_iterations=iterations,
    )
    return _norm(conv2d(tf.stop_gradient(vector), kernel))


def _norm(x):
    """With a gradient at 0, too."""
    return tf.sqrt(tf.maximum(tf.reduce_sum(tf.square(x)), 1e-30))
