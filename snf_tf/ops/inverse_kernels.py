"""Inverses of kernels in closed form, or brought nearer to it: what stands for the inverse in the
gradient of a log-determinant.

None of these has a gradient of its own. Products are counted by their shapes, for batches of B rows
of D dimensions.
"""

import math

import numpy as np
import tensorflow as tf

from snf_tf._checks import check_image_shape, check_number
from snf_tf.ops.conv import conv2d_kernel_gradient, flip, multiplicity, resize_kernel
from snf_tf.ops.custom_gradient import custom_gradient


@custom_gradient
def log_det_by_gradient(kernel: tf.Tensor, gradient: tf.Tensor, x: tf.Tensor) -> tuple:
    """A log-determinant of which only the gradient is known.

    Args:
        kernel: A tensor.
        gradient: d log|det| / d kernel, or what stands for it; receives no gradient.
        x: A batch, of which only the number of rows matters.

    Returns:
        `(batch,)` zeros, in the kernel's dtype; the gradient of kernel is `sum(dl) * gradient` for
        the cotangent dl.
    """

    def grad(dl):
        return tf.reduce_sum(dl) * gradient, None, None

    return tf.zeros(tf.shape(x)[:1], kernel.dtype), grad


def project_inverse(
    inverse_kernel: tf.Tensor, x: tf.Tensor, y: tf.Tensor, damping: float
) -> tf.Tensor:
    """Moves an inverse kernel M as little as it takes to invert a batch, `y @ M = x`.

    `M + y^T (y y^T + eps I)^-1 (x - y M)`: sketch-and-project (Gower and Richtarik 2017) with the
    batch as sketch, a block Kaczmarz method. Two products of (B, D, D), and the factorization of a
    (B, B) matrix.

    Args:
        inverse_kernel: `(D, D)`, M.
        x: `(batch, D)`.
        y: `(batch, D)`, x @ kernel.
        damping: eps, in units of the mean eigenvalue of `y y^T`.

    Returns:
        `(D, D)`, the new M.
    """
    check_number("damping", damping, above=0)
    error = x - tf.matmul(y, inverse_kernel)
    gram = tf.matmul(y, y, transpose_b=True)
    size = tf.shape(x)[0]
    rows, numbers = tf.cast(size, x.dtype), np.finfo(x.dtype.as_numpy_dtype)
    # Not less than rounding errors of the Gram matrix, or it could have no factor.
    eps = (damping + numbers.eps * rows * rows) * tf.linalg.trace(gram) / rows + numbers.tiny
    factor = tf.linalg.cholesky(gram + eps * tf.eye(size, dtype=x.dtype))
    # The inverse of the small matrix: triangular solves for D columns are slow.
    weights = tf.matmul(tf.linalg.cholesky_solve(factor, tf.eye(size, dtype=x.dtype)), error)
    return inverse_kernel + tf.matmul(y, weights, transpose_a=True)


def newton_schulz_inverse(kernel: tf.Tensor, inverse_kernel: tf.Tensor) -> tf.Tensor:
    """One sweep of Newton and Schulz (Schulz 1933): `M (2 I - K M)`, by which `I - K M` is squared.

    It brings M nearer to the inverse if the norm of `I - K M` is below 1. Two products of (D, D,
    D).
    """
    return 2.0 * inverse_kernel - tf.matmul(inverse_kernel, tf.matmul(kernel, inverse_kernel))


def inverse_residual(
    kernel: tf.Tensor, inverse_kernel: tf.Tensor, direction: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Estimates the spectral norm of `E = I - K M` from below, by a step of the power iteration on
    `E E^T`.

    Four products of (1, D, D).

    Args:
        kernel: `(D, D)`.
        inverse_kernel: `(D, D)`.
        direction: `(1, D)`, of about the largest singular value; another one is found sooner or
            later, unless it is orthogonal.

    Returns:
        `(norm, direction)`: a scalar, and the next direction, of unit length.
    """
    direction = unit_rows(direction)
    image = direction - tf.matmul(tf.matmul(direction, kernel), inverse_kernel)
    back = tf.matmul(tf.matmul(image, inverse_kernel, transpose_b=True), kernel, transpose_b=True)
    return tf.norm(image), unit_rows(image - back)


def unit_rows(rows: tf.Tensor) -> tf.Tensor:
    """Scales rows `(n, D)` to unit length, however short they are; rows of 0 stay so."""
    return tf.math.divide_no_nan(rows, tf.norm(rows, axis=1, keepdims=True))


def least_squares_inverse_kernel(kernel: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """The convolution that comes nearest to the inverse of a convolution, away from the image's
    border.

    R is the argmin of `sum over taps |(K * R) - delta|^2`, where K * R is the kernel of both
    convolutions in turn. Its normal equations have (q q C) unknowns, and the autocorrelation of K
    for a matrix; their right side is `flip(K)`.

    Args:
        kernel: `(kh, kw, C, C)`.
        size: `(qh, qw)`, odd.

    Returns:
        `(qh, qw, C, C)`, in the kernel's dtype; computed in float64, since normal equations square
        the condition number.
    """
    size = check_image_shape("size", size, 2)
    k = tf.cast(kernel, tf.float64)
    height, width, channels = *size, kernel.shape[2]
    # correlation[d, i, j] = sum over taps t and input channels of K[t + d, c, i] K[t, c, j]
    images = tf.transpose(k, (2, 0, 1, 3))
    correlation = conv2d_kernel_gradient(
        images, images, [2 * kernel.shape[0] - 1, 2 * kernel.shape[1] - 1, channels, channels]
    )
    correlation = resize_kernel(correlation, (2 * height - 1, 2 * width - 1))
    rows, columns = (np.subtract.outer(np.arange(n), np.arange(n)) + n - 1 for n in size)
    # The taps b and b' of R meet at distance b - b'.
    matrix = tf.gather(tf.gather(correlation, rows, axis=0), columns, axis=2)
    unknowns = height * width * channels
    matrix = tf.reshape(tf.transpose(matrix, (0, 2, 5, 1, 3, 4)), (unknowns, unknowns))
    # Where some frequency is lost altogether, nothing is determined.
    ridge = 1e-12 * tf.linalg.trace(matrix) / unknowns + np.finfo(np.float64).tiny
    right = tf.reshape(flip(resize_kernel(k, size)), (unknowns, channels))
    solution = tf.linalg.cholesky_solve(
        tf.linalg.cholesky(matrix + ridge * tf.eye(unknowns, dtype=k.dtype)), right
    )
    return tf.cast(tf.reshape(solution, (height, width, channels, channels)), kernel.dtype)


def conv2d_log_det_gradient(
    inverse_kernel: tf.Tensor, kernel_size: tuple[int, int], image_size: tuple[int, int]
) -> tf.Tensor:
    """The gradient of log|det| of a convolution with respect to its kernel, had from an inverse
    convolution (SNF Eqs. 15, 28-30).

    `m * flip(R)`: m counts how often a tap occurs in the matrix; R is cropped, or padded with
    zeros, to the kernel's size. It is exact if R is the inverse.
    """
    taps = tf.constant(multiplicity(kernel_size, image_size), inverse_kernel.dtype)
    return taps * flip(resize_kernel(inverse_kernel, kernel_size))


def angle(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """The angle between two tensors of one shape, in degrees; NaN if one is 0."""
    a, b = (tf.cast(v, tf.float64) / tf.norm(tf.cast(v, tf.float64)) for v in (a, b))
    # Unlike the arc cosine, without loss of digits where it is small.
    return tf.atan2(tf.norm(a - b), tf.norm(a + b)) * (360 / math.pi)
