"""Exact inverses of linear maps by iterative refinement, where an approximate inverse is at hand.

`x <- x + g(z - f(x))`, where g is the approximate inverse, with steps of the length that makes the
residual least, along directions each of which is made orthogonal to the one before: truncated
generalized conjugate residuals (Vinsome 1976; Eisenstat, Elman and Schultz 1983), preconditioned by
g. Every row of the batch has its own lengths. A step costs one f and one g. Where g does not
contract the residual quickly enough, the matrix is factored instead; nothing is returned that was
not checked.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from snf_tf.ops.banded import conv2d_solve
from snf_tf.ops.conv import conv2d, conv2d_kernel_gradient, flip

# Relative residuals, in units of rounding errors: that is aimed at, and up to which a solution is
# one.
_TOLERANCE, _LARGEST = 4, 16
# Steps that leave more of the residual than this are not worth their cost.
_CONTRACTION = 0.7
# Fewer dimensions are solved for faster by elimination.
_SMALL = 200
# What elimination costs a convolution, in steps.
_CONVOLUTION_STEPS = 8


def refined_matmul_solve(
    y: tf.Tensor, kernel: tf.Tensor, inverse_kernel: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Solves `x @ kernel = y` for x, exactly, by refinement or else by LU, whichever is faster.

    Args:
        y: `(batch, D)`.
        kernel: `(D, D)`.
        inverse_kernel: `(D, D)`, about the inverse of kernel; it receives no gradient.

    Returns:
        `(x, steps)`: `(batch, D)`, and the number of steps of refinement, an integer scalar; 0 if
        it was LU.
    """
    size = kernel.shape[0]
    # LU costs as much as about 2 D / (batch + 30) products, as measured for D from 256 to 2048 and
    # batches of 1 to 500.
    limit = size // (tf.shape(y)[0] + 30) if size >= _SMALL else tf.constant(0)

    @tf.custom_gradient
    def apply(y, kernel, inverse_kernel):
        x, steps = _refined_or_else(
            y,
            forward=lambda x: tf.matmul(x, kernel),
            inverse=lambda y: tf.matmul(y, inverse_kernel),
            otherwise=lambda: tf.transpose(tf.linalg.solve(kernel, tf.transpose(y), adjoint=True)),
            limit=limit,
        )

        def grad(dx, _):
            dy, _ = refined_matmul_solve(dx, tf.transpose(kernel), tf.transpose(inverse_kernel))
            # No number depends on the approximate inverse: some optimizers want to hear that.
            return dy, -tf.matmul(x, dy, transpose_a=True), tf.zeros_like(inverse_kernel)

        return (x, steps), grad

    return apply(y, tf.convert_to_tensor(kernel), tf.convert_to_tensor(inverse_kernel))


def refined_conv2d_solve(
    z: tf.Tensor, kernel: tf.Tensor, inverse_kernel: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Solves `conv2d(x, kernel) = z` for x, exactly, by refinement or else by `conv2d_solve`.

    Args:
        z: `(batch, H, W, C)`.
        kernel: `(kh, kw, C, C)`.
        inverse_kernel: `(rh, rw, C, C)`, of about the inverse convolution; it receives no gradient.

    Returns:
        `(x, steps)`: `(batch, H, W, C)`, and the number of steps of refinement, an integer scalar;
        0 if it was elimination.
    """
    # The inverse of a 1 x 1 convolution is that of a small matrix.
    small = tuple(kernel.shape[:2]) == (1, 1) or np.prod(z.shape[1:]) < _SMALL
    limit = tf.constant(0 if small else _CONVOLUTION_STEPS)

    @tf.custom_gradient
    def apply(z, kernel, inverse_kernel):
        x, steps = _refined_or_else(
            z,
            forward=lambda x: conv2d(x, kernel),
            inverse=lambda z: conv2d(z, inverse_kernel),
            otherwise=lambda: conv2d_solve(z, kernel),
            limit=limit,
        )

        def grad(dx, _):
            dz, _ = refined_conv2d_solve(dx, flip(kernel), flip(inverse_kernel))
            return dz, -conv2d_kernel_gradient(x, dz, kernel.shape), tf.zeros_like(inverse_kernel)

        return (x, steps), grad

    return apply(z, tf.convert_to_tensor(kernel), tf.convert_to_tensor(inverse_kernel))


def _refined_or_else(z, forward: Callable, inverse: Callable, otherwise: Callable, limit):
    """Refines for up to `limit` steps; solves otherwise what has not converged by then."""
    static_limit = tf.get_static_value(limit)
    if static_limit == 0:
        return otherwise(), tf.constant(0)

    def refine():
        x, steps, solved = _refine(z, forward, inverse, limit)
        return tf.cond(solved, lambda: (x, steps), lambda: (otherwise(), tf.constant(0)))

    return tf.cond(limit > 1, refine, lambda: (otherwise(), tf.constant(0)))


def _refine(z, forward, inverse, limit):
    """`(x, steps, solved)`."""
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
    x += inverse(residual)
    # The residual that was carried along is not quite that of x.
    return x, steps + 1, error(z - forward(x)) <= _LARGEST * rounding


def _dot(a, b):
    """Inner products of the rows of two batches, `(batch, 1, ...)`."""
    return tf.reduce_sum(a * b, axis=list(range(1, a.shape.rank)), keepdims=True)
