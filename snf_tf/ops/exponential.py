"""The exponential of a convolution, applied to images."""

import math

import numpy as np
import tensorflow as tf

from snf_tf._checks import check_image_shape, check_integer, check_number
from snf_tf.ops.conv import conv2d, conv2d_kernel_gradient, flip
from snf_tf.ops.custom_gradient import custom_gradient

# Estimated norms are too small by less than this factor, even a few steps after a fresh start.
_SLACK = 1.5


def exponential_conv2d(x: tf.Tensor, kernel: tf.Tensor, bound: float) -> tf.Tensor:
    """Computes `exp(T) x`, where T is the linear map of a zero-padded convolution (Hoogeboom et al.
    2020, Eq. 6).

    The series `x + T x + T T x / 2 + ...` has `exponential_terms` terms. Its gradient keeps x alone
    and computes the terms again, so that they are never kept for more than one call at a time.

    Args:
        x: `(batch, H, W, C)`.
        kernel: `(kh, kw, C, C)`, odd kh and kw, in the dtype of x. The inverse is the exponential
            of `-kernel`.
        bound: Largest spectral norm of T. Up to 1.5 times as much, the series is still exact to
            rounding.

    Example:
        >>> x, kernel = tf.ones((1, 4, 4, 1)), tf.fill((3, 3, 1, 1), 0.1)
        >>> z = snf_tf.ops.exponential_conv2d(x, kernel, 0.9)
        >>> bool(tf.reduce_max(abs(snf_tf.ops.exponential_conv2d(z, -kernel, 0.9) - x)) < 1e-5)
        True
    """
    check_number("bound", bound, above=0, at_most=10)
    count = exponential_terms(bound, x.dtype)

    # By Horner's rule. The sum of all terms would keep them: XLA fuses it into what follows.
    def series(x, kernel):
        total = x
        for index in range(count - 1, 0, -1):
            total = x + conv2d(total, kernel / index)
            yield index, total

    @custom_gradient
    def apply(x, kernel):
        def grad(cotangent):
            # A false dependence on the cotangent: otherwise the terms could be computed too early.
            terms = [tf.where(tf.math.is_nan(cotangent), cotangent, x)]
            for index in range(1, count - 1):
                terms.append(conv2d(terms[-1], kernel / index))
            d_x, d_kernel = cotangent, tf.zeros_like(kernel)
            for index, d_next in series(cotangent, flip(kernel)):
                taps = conv2d_kernel_gradient(terms[index - 1], d_x, kernel.shape)
                d_kernel += taps / index
                d_x = d_next
            return d_x, d_kernel

        *_, (_, z) = series(x, kernel)
        return z, grad

    return apply(x, tf.convert_to_tensor(kernel))


def exponential_terms(bound: float, dtype: tf.DType) -> int:
    """Returns the number of terms after which the series of an exponential is exact to rounding.

    The rest is then below the rounding error of the smallest `exp(T) x`, which is `exp(-norm) x`.

    Args:
        bound: As in `exponential_conv2d`.
        dtype: Of the series.
    """
    check_number("bound", bound, above=0, at_most=10)
    norm = _SLACK * bound
    accuracy = np.finfo(dtype.as_numpy_dtype).eps / 2 * math.exp(-norm)
    count, term = 1, norm
    # From here on each term is less than half the one before.
    while count + 1 < 2 * norm or 2 * term > accuracy:
        count += 1
        term *= norm / count
    return count


def conv2d_trace(kernel: tf.Tensor, image_shape: tuple[int, int, int]) -> tf.Tensor:
    """Computes the trace of the matrix of a convolution on `(H, W, C)` images.

    It is log|det| of the exponential of the convolution. A scalar.
    """
    image_shape = check_image_shape("image_shape", image_shape)
    height, width, _ = image_shape
    return height * width * tf.linalg.trace(kernel[kernel.shape[0] // 2, kernel.shape[1] // 2])


def conv2d_singular_vector(kernel: tf.Tensor, vector: tf.Tensor, steps: int) -> tf.Tensor:
    """Improves an estimate of the first right singular vector of a convolution, by power iteration.

    Args:
        kernel: `(kh, kw, C, C)`.
        vector: The estimate, `(1, H, W, C)`; zeros are a fresh start.
        steps: Number of steps.

    Returns:
        `(1, H, W, C)`, of norm 1, or 0 if the kernel is. No gradient flows through it.
    """
    check_integer("steps", steps, 1)
    kernel, transpose = tf.stop_gradient(kernel), tf.stop_gradient(flip(kernel))
    # Not by TensorFlow, whose numbers are others under XLA.
    noise = np.random.RandomState(0).standard_normal(vector.shape)
    # Without noise an estimate could stay orthogonal to the vector.
    noise *= 0.01 / np.linalg.norm(noise)
    vector = tf.stop_gradient(vector) + tf.constant(noise, vector.dtype)
    for _ in range(steps):
        vector = conv2d(conv2d(vector, kernel), transpose)
        vector /= _norm(vector)
    return vector


def conv2d_norm(kernel: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
    """Estimates the spectral norm of a convolution from its first right singular vector. A scalar.

    The estimate is never too large. Its gradient in the kernel is that of the norm, once the vector
    is exact.

    Args:
        kernel: `(kh, kw, C, C)`.
        vector: As `conv2d_singular_vector` returns it.
    """
    return _norm(conv2d(vector, kernel))


def _norm(x):
    # The gradient at 0 is 0, not NaN.
    return tf.sqrt(tf.maximum(tf.reduce_sum(tf.square(x)), 1e-30))
