"""Log-determinants and solves of convolutions without their dense matrix, by block cyclic
reduction.

A zero-padded k x k convolution of an image is a block tridiagonal matrix, whose blocks are p = (k -
1) / 2 rows of the image; all block rows but the last are alike. See
`snf_tf.ops.block_tridiagonal`.

All is computed in float64, whatever the dtype of the arguments. Elimination without pivoting beyond
a block loses digits, of which float32 has none to spare; nor do devices round products of float64.
Every result is checked. Where a check fails, the dense matrix is factored; what fails the check
even then is NaN.
"""

import math

import numpy as np
import tensorflow as tf

from snf_tf.ops.block_tridiagonal import BlockTridiagonal, factor, solve_block_tridiagonal
from snf_tf.ops.conv import conv2d, conv2d_kernel_gradient, conv2d_matrix, flip

# Largest residual of a solution, in units of what it is the difference of: 100 rounding errors.
_LARGEST_RESIDUAL = 100 * np.finfo(np.float64).eps
# Largest defect of a gradient, in units of the norms of gradient and kernel.
_LARGEST_DEFECT = 1e-11


def conv2d_log_det(kernel: tf.Tensor, image_shape: tuple[int, int, int]) -> tf.Tensor:
    """Computes log|det| of a convolution on `(H, W, C)` images, exactly. A scalar.

    It is -inf for a singular kernel, and NaN where no factorization passes its check.

    Args:
        kernel: `(kh, kw, C, C)`, kh and kw odd.
        image_shape: `(H, W, C)`.
    """
    height, width, channels = image_shape
    image_shape = (height, width, channels)

    @tf.custom_gradient
    def apply(kernel):
        if tf.executing_eagerly():
            log_det = _log_det_and_gradient(kernel, image_shape, with_gradient=False)[0]
            return (
                log_det,
                lambda upstream: upstream * _log_det_and_gradient(kernel, image_shape)[1],
            )
        # TensorFlow drops what computes the gradient, if nothing needs it.
        log_det, gradient = _log_det_and_gradient_in_graph(kernel, image_shape)
        return log_det, lambda upstream: upstream * gradient

    return apply(tf.convert_to_tensor(kernel))


def conv2d_exact_log_det_gradient(
    kernel: tf.Tensor, image_shape: tuple[int, int, int]
) -> tf.Tensor:
    """The gradient of `conv2d_log_det` with respect to the kernel, where the value is not needed:
    `(kh, kw, C, C)`.
    """
    gradient = _log_det_gradient if tf.executing_eagerly() else _log_det_gradient_in_graph
    return gradient(tf.convert_to_tensor(kernel), tuple(image_shape))


def _log_det_gradient(kernel, image_shape):
    return _log_det_and_gradient(kernel, image_shape)[1]


# Not put into every graph that calls it, which would take long to compile.
_log_det_gradient_in_graph = tf.function(
    _log_det_gradient, experimental_attributes={"_noinline": True}
)


def _log_det_and_gradient(kernel, image_shape, with_gradient=True):
    """log|det| and its gradient, computed in float64, in the kernel's dtype."""
    log_det, gradient = _wide_log_det_and_gradient(
        tf.cast(kernel, tf.float64), image_shape, with_gradient
    )
    return tf.cast(log_det, kernel.dtype), tf.cast(gradient, kernel.dtype) if with_gradient else None


# One function of a graph for all layers of one shape, which are many; in eager code tracing would
# take longer than it saves.
_log_det_and_gradient_in_graph = tf.function(_log_det_and_gradient)


def _wide_log_det_and_gradient(kernel, image_shape, with_gradient):
    height, width, _ = image_shape
    if tuple(kernel.shape[:2]) == (1, 1):
        return _value_and_gradient(
            lambda k: height * width * tf.linalg.slogdet(k[0, 0])[1], kernel, with_gradient
        )
    probe = tf.constant(np.random.RandomState(0).standard_normal((1, *image_shape)))
    # Without conditions, that the gradient may share what the value has computed.
    (log_det, x), gradient = _value_and_gradient(
        lambda k: _log_det_and_solution(probe, k), kernel, with_gradient
    )
    solved = tf.reduce_all(_solves(x, probe, kernel))

    def dense():
        (log_det, x), gradient = _value_and_gradient(
            lambda k: _log_det_and_solution_dense(probe, k), kernel, with_gradient
        )
        solved = tf.reduce_all(_solves(x, probe, kernel))
        # -inf is the right one of a singular matrix, which has no gradient.
        log_det = tf.where(solved | ~tf.math.is_finite(log_det), log_det, np.nan)
        return log_det, tf.where(solved, gradient, np.nan) if with_gradient else None

    log_det = tf.cond(solved, lambda: log_det, lambda: dense()[0])
    if not with_gradient:
        return log_det, None
    good = solved & _is_gradient(gradient, kernel, image_shape)
    return log_det, tf.cond(good, lambda: gradient, lambda: dense()[1])


def _value_and_gradient(function, kernel, with_gradient):
    """The values of a function, and the gradient of the first, if it is wanted."""
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        values = function(kernel)
    first = values[0] if isinstance(values, tuple) else values
    return values, tape.gradient(first, kernel) if with_gradient else None


def _is_gradient(gradient, kernel, image_shape):
    """Whether a gradient G of log|det T(K)| has the products with K that it must have.

    A 1x1 convolution by A, after or before, adds H W log|det A|. Weights e^(s p) of the image's
    rows p before, and their inverse after, add nothing; nor do those of columns. The derivatives at
    A = I and s = 0 are products of G and K.
    """
    height, width, channels = image_shape
    known = tf.eye(channels, dtype=kernel.dtype) * (height * width)
    of_taps = tf.reduce_sum(kernel * gradient, axis=[2, 3])
    offsets = [tf.range(n, dtype=kernel.dtype) - n // 2 for n in of_taps.shape]
    defects = [
        tf.einsum("hwio,hwij->oj", kernel, gradient) - known,
        tf.einsum("hwio,hwjo->ij", kernel, gradient) - known,
        offsets[0] * tf.reduce_sum(of_taps, axis=1),
        offsets[1] * tf.reduce_sum(of_taps, axis=0),
    ]
    sizes = [tf.norm(defect) for defect in defects[:2]]
    sizes += [tf.abs(tf.reduce_sum(defect)) for defect in defects[2:]]
    return tf.reduce_max(sizes) <= _LARGEST_DEFECT * tf.norm(kernel) * tf.norm(gradient)


def conv2d_solve(z: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Solves `conv2d(x, kernel) = z` for x, exactly; z and x are `(batch, H, W, C)`.

    Rows for which no solution passes its check are NaN, as are all of a singular kernel.
    """
    kernel = tf.convert_to_tensor(kernel)
    solve = _solution if tf.executing_eagerly() else _solution_in_graph
    return tf.cast(solve(tf.cast(z, tf.float64), tf.cast(kernel, tf.float64)), kernel.dtype)


def _solution(z, kernel):
    if tuple(kernel.shape[:2]) == (1, 1):
        pixels = tf.linalg.solve(
            kernel[0, 0], tf.transpose(tf.reshape(z, (-1, z.shape[3]))), adjoint=True
        )
        return tf.reshape(tf.transpose(pixels), tf.shape(z))

    @tf.custom_gradient
    def apply(z, kernel):
        _, solution = _log_det_and_solution(z, kernel)

        def dense():
            _, x = _log_det_and_solution_dense(z, kernel)
            return tf.where(_solves(x, z, kernel), x, np.nan)

        solved = tf.reduce_all(_solves(solution, z, kernel))
        x = tf.cond(solved, lambda: solution, dense)

        def grad(dx):
            dz = conv2d_solve(dx, flip(kernel))
            return dz, -conv2d_kernel_gradient(x, dz, kernel.shape)

        return x, grad

    return apply(z, kernel)


_solution_in_graph = tf.function(_solution)


def _solves(x, z, kernel):
    """Whether the residuals of x are of the size of rounding errors, `(batch, 1, 1, 1)`; not so, if
    anything is not finite.
    """

    def largest(images):
        return tf.reduce_max(tf.abs(images), axis=[1, 2, 3], keepdims=True)

    norm = tf.reduce_max(tf.reduce_sum(tf.abs(kernel), axis=[0, 1, 2]))
    return largest(conv2d(x, kernel) - z) <= _LARGEST_RESIDUAL * (norm * largest(x) + largest(z))


def _log_det_and_solution_dense(z, kernel):
    matrix = tf.transpose(conv2d_matrix(kernel, tuple(z.shape[1:])))
    log_det, x = factor(matrix, tf.transpose(tf.reshape(z, (-1, matrix.shape[0]))))
    return log_det, tf.reshape(tf.transpose(x), tf.shape(z))


def _log_det_and_solution(z, kernel):
    """Brings the axis with the smaller blocks to the front, and rows of the image to blocks."""
    block_of_rows, block_of_columns = (_block_size(kernel.shape, z.shape, axis) for axis in (0, 1))
    if block_of_columns < block_of_rows:
        log_det, x = _log_det_and_solution_by_rows(
            tf.transpose(z, (0, 2, 1, 3)), tf.transpose(kernel, (1, 0, 2, 3))
        )
        return log_det, tf.transpose(x, (0, 2, 1, 3))
    return _log_det_and_solution_by_rows(z, kernel)


def _block_size(kernel_shape, z_shape, axis):
    other = 1 - axis
    return max(kernel_shape[axis] // 2, 1) * (z_shape[1 + other] if kernel_shape[other] > 1 else 1)


def _log_det_and_solution_by_rows(z, kernel):
    _, height, width, channels = z.shape
    if kernel.shape[1] == 1:
        # Columns of the image do not meet: each is an image of its own.
        columns = tf.reshape(tf.transpose(z, (0, 2, 1, 3)), (-1, height, 1, channels))
        log_det, x = _by_blocks(columns, kernel)
        x = tf.transpose(tf.reshape(x, (-1, width, height, channels)), (0, 2, 1, 3))
        return width * log_det, x
    return _by_blocks(z, kernel)


def _by_blocks(z, kernel):
    _, height, width, channels = z.shape
    rows = max(kernel.shape[0] // 2, 1)
    count = math.ceil(height / rows)
    size = rows * width * channels
    missing = count * rows - height
    blocks = tf.reshape(tf.pad(z, [[0, 0], [0, missing], [0, 0], [0, 0]]), (-1, count, size))
    log_det, x = solve_block_tridiagonal(
        _system(kernel, rows, missing, width, count), tf.transpose(blocks, (1, 2, 0))
    )
    x = tf.reshape(tf.transpose(x, (2, 0, 1)), (-1, count * rows, width, channels))
    return log_det, x[:, :height]


def _system(kernel, rows, missing, width, count):
    """The system of a convolution; the last block row is filled up by rows of the identity, which
    nothing couples to.
    """
    channels = kernel.shape[2]
    reach = kernel.shape[0] // 2
    # Transposed, for column vectors: the effect on a row of the image of the row `offset` below it.
    taps = {
        offset: tf.transpose(
            conv2d_matrix(kernel[reach + offset : reach + offset + 1], (1, width, channels))
        )
        for offset in range(-reach, reach + 1)
    }
    zero = tf.zeros_like(taps[0])

    def block(distance):
        return tf.concat(
            [
                tf.concat([taps.get(distance * rows + j - i, zero) for j in range(rows)], axis=1)
                for i in range(rows)
            ],
            axis=0,
        )

    left, middle, right = block(-1), block(0), block(1)
    if not missing:
        return BlockTridiagonal(middle, middle, middle, left, right, left, right)
    there = tf.constant(np.repeat(np.arange(rows) < rows - missing, width * channels), kernel.dtype)
    last = middle * there[:, None] * there + tf.linalg.diag(1 - there)
    return BlockTridiagonal(
        last if count == 1 else middle,
        middle,
        last,
        left,
        right,
        left * there[:, None],
        right * there,
    )


