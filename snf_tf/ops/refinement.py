"""Exact inverses of linear maps by iterative refinement, where an approximate inverse is at hand.

`x <- x + g(z - f(x))`, where g is the approximate inverse, with steps of the length that makes the
residual least, along directions each of which is made orthogonal to the one before: truncated
generalized conjugate residuals (Vinsome 1976; Eisenstat, Elman and Schultz 1983), preconditioned by
g. Every row of the batch has its own lengths. A step costs one f and one g. Where g does not
contract the residual quickly enough, the matrix is factored instead; nothing is returned that was
not checked.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from snf_tf.ops.banded import conv2d_solve
from snf_tf.ops.conv import conv2d, conv2d_kernel_gradient, flip
from snf_tf.ops.custom_gradient import custom_gradient
from snf_tf.ops.precision import precise_conv2d, precise_matmul

# Relative residuals, in units of rounding errors: that is aimed at, and up to which a solution is
# one.
_TOLERANCE, _LARGEST = 4, 16
# Steps that leave more of the residual than this are not worth their cost.
_CONTRACTION = 0.7
# Fewer dimensions are solved for faster by elimination.
_SMALL = 200
# What elimination costs a convolution, in steps.
_CONVOLUTION_STEPS = 8


class Solution(NamedTuple):
    """What a solver of `f(x) = z` found.

    Attributes:
        value: x, `(batch, ...)`.
        steps: The number of steps of refinement, an integer scalar; 0 if it was elimination.
        residual: The largest `|z - f(x)| / |z|` of a row, a scalar, computed in float64.
        converged: Whether the residual is of the size of rounding errors in every row, a bool
            scalar; not so, if anything is not finite.
    """

    value: tf.Tensor
    steps: tf.Tensor
    residual: tf.Tensor
    converged: tf.Tensor


def refined_matmul_solve(y: tf.Tensor, kernel: tf.Tensor, inverse_kernel: tf.Tensor) -> Solution:
    """Solves `x @ kernel = y` for x, exactly, by refinement or else by LU, whichever is faster.

    LU is done in float64. No result depends on whether a device rounds products of float32.

    Args:
        y: `(batch, D)`.
        kernel: `(D, D)`.
        inverse_kernel: `(D, D)`, about the inverse of kernel; its gradient is 0.

    Returns:
        The `Solution`, x of shape `(batch, D)`; y and kernel receive the gradients of x.

    Raises:
        tf.errors.InvalidArgumentError: If LU finds the kernel to be singular.

    Example:
        >>> kernel = tf.constant([[2.0, 0.0], [1.0, 1.0]])
        >>> solution = snf_tf.ops.refined_matmul_solve(tf.ones((1, 2)), kernel, kernel)
        >>> solution.value.numpy(), bool(solution.converged)
        (array([[0., 1.]], dtype=float32), True)
    """
    size = kernel.shape[0]
    # LU costs as much as about 2 D / (batch + 30) products, as measured for D from 256 to 2048 and
    # batches of 1 to 500.
    limit = size // (tf.shape(y)[0] + 30) if size >= _SMALL else tf.constant(0)

    @custom_gradient
    def apply(y, kernel, inverse_kernel):
        wide = tf.cast(kernel, tf.float64)

        def eliminate():
            rows = tf.cast(y, tf.float64)
            x = tf.transpose(tf.linalg.solve(wide, tf.transpose(rows), adjoint=True))
            return tf.cast(x, y.dtype)

        solution = _refined_or_else(
            y,
            forward=lambda x: precise_matmul(x, kernel),
            wide_forward=lambda x: tf.matmul(x, wide),
            inverse=lambda y: tf.matmul(y, inverse_kernel),
            otherwise=eliminate,
            norm=tf.norm(wide),
            limit=limit,
        )

        def grad(dx, *_):
            transposed = tf.transpose(kernel), tf.transpose(inverse_kernel)
            dy = refined_matmul_solve(dx, *transposed).value
            d_kernel = -tf.matmul(solution.value, dy, transpose_a=True)
            # No number depends on the approximate inverse: some optimizers want to hear that.
            return dy, d_kernel, tf.zeros_like(inverse_kernel)

        return tuple(solution), grad

    return Solution(*apply(y, tf.convert_to_tensor(kernel), tf.convert_to_tensor(inverse_kernel)))


def refined_conv2d_solve(z: tf.Tensor, kernel: tf.Tensor, inverse_kernel: tf.Tensor) -> Solution:
    """Solves `conv2d(x, kernel) = z` for x, exactly, by refinement or else by `conv2d_solve`.

    Args:
        z: `(batch, H, W, C)`.
        kernel: `(kh, kw, C, C)`.
        inverse_kernel: `(rh, rw, C, C)`, of about the inverse convolution; its gradient is 0.

    Returns:
        The `Solution`, x of shape `(batch, H, W, C)`; z and kernel receive the gradients of x.

    Raises:
        tf.errors.InvalidArgumentError: If elimination finds the kernel to be singular.

    Example:
        >>> kernel, z = tf.ones((1, 1, 1, 1)), tf.ones((2, 4, 4, 1))
        >>> solution = snf_tf.ops.refined_conv2d_solve(z, 2 * kernel, kernel / 2)
        >>> float(solution.value[0, 0, 0, 0]), int(solution.steps)
        (0.5, 0)
    """
    # The inverse of a 1 x 1 convolution is that of a small matrix.
    small = tuple(kernel.shape[:2]) == (1, 1) or np.prod(z.shape[1:]) < _SMALL
    limit = tf.constant(0 if small else _CONVOLUTION_STEPS)

    @custom_gradient
    def apply(z, kernel, inverse_kernel):
        wide = tf.cast(kernel, tf.float64)
        solution = _refined_or_else(
            z,
            forward=lambda x: precise_conv2d(x, kernel),
            wide_forward=lambda x: conv2d(x, wide),
            inverse=lambda z: conv2d(z, inverse_kernel),
            otherwise=lambda: conv2d_solve(z, kernel),
            norm=tf.reduce_sum(tf.norm(wide, axis=[2, 3])),
            limit=limit,
        )

        def grad(dx, *_):
            dz = refined_conv2d_solve(dx, flip(kernel), flip(inverse_kernel)).value
            d_kernel = -conv2d_kernel_gradient(solution.value, dz, kernel.shape)
            return dz, d_kernel, tf.zeros_like(inverse_kernel)

        return tuple(solution), grad

    return Solution(*apply(z, tf.convert_to_tensor(kernel), tf.convert_to_tensor(inverse_kernel)))


def _refined_or_else(
    z,
    forward: Callable,
    wide_forward: Callable,
    inverse: Callable,
    otherwise: Callable,
    norm: tf.Tensor,
    limit: tf.Tensor,
) -> Solution:
    """Refines for up to `limit` steps; solves otherwise what has not converged by then.

    `wide_forward` is the same map in float64; its norm is at most `norm`.
    """
    rounding = np.finfo(z.dtype.as_numpy_dtype).eps

    def sizes(rows):
        return tf.norm(tf.reshape(tf.cast(rows, tf.float64), (tf.shape(z)[0], -1)), axis=1)

    z_sizes = sizes(z)

    def residuals(x):
        return sizes(tf.cast(z, tf.float64) - wide_forward(tf.cast(x, tf.float64)))

    def eliminate():
        x = otherwise()
        return x, tf.constant(0), residuals(x)

    def refine():
        x, steps = _refine(z, forward, inverse, limit)
        found = residuals(x)
        solved = tf.reduce_all(found <= _LARGEST * rounding * z_sizes)
        return tf.cond(solved, lambda: (x, steps, found), eliminate)

    if tf.get_static_value(limit) == 0:
        x, steps, found = eliminate()
    else:
        x, steps, found = tf.cond(limit > 1, refine, eliminate)
    # Of an empty batch 0.
    residual = tf.reduce_max(tf.pad(tf.math.divide_no_nan(found, z_sizes), [[0, 1]]))
    # What rounding x alone can do.
    converged = tf.reduce_all(found <= _LARGEST * rounding * (norm * sizes(x) + z_sizes))
    return Solution(x, steps, tf.cast(residual, z.dtype), converged)


def _refine(z, forward, inverse, limit):
    """Returns `(x, steps)`; x is not checked."""
    rounding = np.finfo(z.dtype.as_numpy_dtype).eps

    def error(residual):
        # Of an empty batch 0.
        ratios = tf.reshape(tf.math.divide_no_nan(_dot(residual, residual), _dot(z, z)), [-1])
        return tf.sqrt(tf.reduce_max(tf.pad(ratios, [[0, 1]])))

    def goes_on(step, x, residual, direction, image, size, contraction):
        return (
            (step < limit)
            & (contraction < _CONTRACTION)
            & (size * contraction > _TOLERANCE * rounding)
        )

    def advance(step, x, residual, direction, image, size, contraction):
        new = inverse(residual)
        new_image = forward(new)
        along = tf.math.divide_no_nan(_dot(new_image, image), _dot(image, image))
        direction, image = new - along * direction, new_image - along * image
        length = tf.math.divide_no_nan(_dot(residual, image), _dot(image, image))
        x, residual = x + length * direction, residual - length * image
        new_size = error(residual)
        return (
            step + 1,
            x,
            residual,
            direction,
            image,
            new_size,
            tf.math.divide_no_nan(new_size, size),
        )

    x = inverse(z)
    residual = z - forward(x)
    size = error(residual)
    start = (tf.constant(1), x, residual, tf.zeros_like(z), tf.zeros_like(z), size, size)
    steps, x, residual, *_ = tf.while_loop(goes_on, advance, start)
    return x + inverse(residual), steps + 1


def _dot(a, b):
    """Inner products of the rows of two batches, `(batch, 1, ...)`."""
    return tf.reduce_sum(a * b, axis=list(range(1, a.shape.rank)), keepdims=True)
