"""Log-determinants and solves of convolutions without their dense matrix, by block cyclic
reduction.

A zero-padded k x k convolution of an image is a block tridiagonal matrix, whose blocks are p = (k -
1) / 2 rows of the image; all block rows but the last are alike. Eliminating every second block row
leaves a matrix of the same kind, half as long (Buzbee, Golub and Nielson 1970; Heller 1976): O(log
H) factorizations of a block, and the memory of a few of them for each.

Elimination without pivoting beyond a block is not always stable, nor always possible. Every result
is checked by the residual of a solution; where that is large, the dense matrix is used.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from snf_tf.ops.conv import (
    conv2d,
    conv2d_kernel_gradient,
    conv2d_log_det_dense,
    conv2d_matrix,
    conv2d_solve_dense,
    flip,
)

# Largest residual of a good solution, in units of rounding errors of what it is the difference of.
_TOLERANCE = 100
# A matrix of up to this size is faster factored whole than halved once more.
_WHOLE = 128


def conv2d_log_det(kernel: tf.Tensor, image_shape: tuple[int, int, int]) -> tf.Tensor:
    """Computes log|det| of a convolution on `(H, W, C)` images, exactly. A scalar.

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
    height, width, _ = image_shape
    if tuple(kernel.shape[:2]) == (1, 1):
        return _value_and_gradient(
            lambda k: height * width * tf.linalg.slogdet(k[0, 0])[1], kernel, with_gradient
        )
    probe = tf.constant(np.random.RandomState(0).standard_normal((1, *image_shape)), kernel.dtype)
    # Without conditions, that the gradient may share what the value has computed.
    (log_det, x), gradient = _value_and_gradient(
        lambda k: _log_det_and_solution(probe, k), kernel, with_gradient
    )
    solved = _solves(x, probe, kernel)

    def dense():
        return _value_and_gradient(
            lambda k: conv2d_log_det_dense(k, image_shape), kernel, with_gradient
        )

    log_det = tf.cond(solved, lambda: log_det, lambda: dense()[0])
    return log_det, tf.cond(solved, lambda: gradient, lambda: dense()[1]) if with_gradient else None


# One function of a graph for all layers of one shape, which are many; in eager code tracing would
# take longer than it saves.
_log_det_and_gradient_in_graph = tf.function(_log_det_and_gradient)


def _value_and_gradient(function, kernel, with_gradient):
    """The values of a function, and the gradient of the first, if it is wanted."""
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        values = function(kernel)
    first = values[0] if isinstance(values, tuple) else values
    return values, tape.gradient(first, kernel) if with_gradient else None


def conv2d_solve(z: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Solves `conv2d(x, kernel) = z` for x, exactly; z and x are `(batch, H, W, C)`."""
    return (_solution if tf.executing_eagerly() else _solution_in_graph)(
        z, tf.convert_to_tensor(kernel)
    )


def _solution(z, kernel):
    if tuple(kernel.shape[:2]) == (1, 1):
        pixels = tf.linalg.solve(
            kernel[0, 0], tf.transpose(tf.reshape(z, (-1, z.shape[3]))), adjoint=True
        )
        return tf.reshape(tf.transpose(pixels), tf.shape(z))

    @tf.custom_gradient
    def apply(z, kernel):
        _, solution = _log_det_and_solution(z, kernel)
        x = tf.cond(
            _solves(solution, z, kernel), lambda: solution, lambda: conv2d_solve_dense(z, kernel)
        )

        def grad(dx):
            dz = conv2d_solve(dx, flip(kernel))
            return dz, -conv2d_kernel_gradient(x, dz, kernel.shape)

        return x, grad

    return apply(z, kernel)


_solution_in_graph = tf.function(_solution)


def _solves(x, z, kernel):
    """Whether the residual of x is of the size of rounding errors; not so, if anything is not
    finite.
    """
    size = tf.reduce_max(tf.reduce_sum(tf.abs(kernel), axis=[0, 1, 2])) * tf.reduce_max(
        tf.abs(x)
    ) + tf.reduce_max(tf.abs(z))
    residual = tf.reduce_max(tf.abs(conv2d(x, kernel) - z))
    # An empty batch has nothing that could be wrong.
    return (residual <= _TOLERANCE * np.finfo(kernel.dtype.as_numpy_dtype).eps * size) | (
        tf.size(z) == 0
    )


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
    log_det, x = _solve(
        _system(kernel, rows, missing, width, count), tf.transpose(blocks, (1, 2, 0))
    )
    x = tf.reshape(tf.transpose(x, (2, 0, 1)), (-1, count * rows, width, channels))
    return log_det, x[:, :height]


class _System(NamedTuple):
    """The blocks of a block tridiagonal matrix, of which all rows but the first and the last are
    alike.

    `left` and `right` couple a block row to its neighbours; `last_left` the last row to the one
    before it, `last_right` that one to the last.
    """

    first: tf.Tensor
    middle: tf.Tensor
    last: tf.Tensor
    left: tf.Tensor
    right: tf.Tensor
    last_left: tf.Tensor
    last_right: tf.Tensor


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
        return _System(middle, middle, middle, left, right, left, right)
    there = tf.constant(np.repeat(np.arange(rows) < rows - missing, width * channels), kernel.dtype)
    last = middle * there[:, None] * there + tf.linalg.diag(1 - there)
    return _System(
        last if count == 1 else middle,
        middle,
        last,
        left,
        right,
        left * there[:, None],
        right * there,
    )


def _solve(system, z):
    """log|det| of a system, and its solution for z, `(blocks, size, batch)`.

    Eliminates blocks 1, 3, 5, ... and solves for the rest. Those are middle ones, but for the last
    where the number of all is even.
    """
    first, middle, last, left, right, last_left, last_right = system
    count, size, _ = z.shape
    if count == 1 or count * size <= _WHOLE:
        log_det, x = _factor(_matrix(system, count), tf.reshape(z, (count * size, -1)))
        return log_det, tf.reshape(x, tf.shape(z))
    middles = (count - 1) // 2
    rest = z[::2]
    log_det = tf.zeros((), z.dtype)
    alike = last_left is left and last_right is right
    if middles:
        columns = tf.reshape(tf.transpose(z[1 : 2 * middles : 2], (1, 0, 2)), (size, -1))
        couplings = [left, right] if alike else [left, right, last_right]
        log_det_middle, solved = _factor(middle, tf.concat([*couplings, columns], axis=1))
        log_det += middles * log_det_middle
        parts = [solved[:, i * size : (i + 1) * size] for i in range(len(couplings))]
        to_left, to_right, to_last = parts[0], parts[1], parts[-1]
        y = tf.transpose(
            tf.reshape(solved[:, len(couplings) * size :], (size, middles, -1)), (1, 0, 2)
        )
        # What the eliminated blocks leave in the rows above and below them.
        from_left, from_right = _times(left, y), _times(right, y)
        if count % 2 and not alike:
            from_left = tf.concat([from_left[:-1], (last_left @ y[-1])[None]], axis=0)
        rest -= tf.pad(from_left, [[1, 0], [0, 0], [0, 0]]) + tf.pad(
            from_right, [[0, 1], [0, 0], [0, 0]]
        )
        down, across, back, up = left @ to_left, left @ to_right, right @ to_left, right @ to_right
        new_first, new_middle, new_left, new_right = (
            first - back,
            middle - across - back,
            -down,
            -up,
        )
    else:
        new_first, new_middle, new_left, new_right = first, middle, left, right
    if count % 2:
        new_last = last - last_left @ to_last
        ends = (new_left, new_right) if alike else (-last_left @ to_left, -right @ to_last)
    else:
        log_det_last, solved = _factor(last, tf.concat([last_left, z[-1]], axis=1))
        log_det += log_det_last
        last_to_left, y_last = solved[:, :size], solved[:, size:]
        rest -= tf.pad((last_right @ y_last)[None], [[middles, 0], [0, 0], [0, 0]])
        change = last_right @ last_to_left
        new_last = middle - across - change if middles else middle
        new_first = new_first if middles else first - change
        ends = (new_left, new_right)
    log_det_rest, x = _solve(
        _System(new_first, new_middle, new_last, new_left, new_right, *ends), rest
    )
    eliminated = []
    if middles:
        below = _times(to_right, x[1 : middles + 1])
        if count % 2 and not alike:
            below = tf.concat([below[:-1], (to_last @ x[-1])[None]], axis=0)
        eliminated.append(y - _times(to_left, x[:middles]) - below)
    if not count % 2:
        eliminated.append((y_last - last_to_left @ x[-1])[None])
    odd = tf.concat(eliminated, axis=0)
    pairs = tf.stack([x[: count // 2], odd], axis=1)
    return log_det + log_det_rest, tf.concat(
        [tf.reshape(pairs, (-1, size, tf.shape(z)[2])), x[count // 2 :]], axis=0
    )


def _matrix(system, count):
    """The whole matrix of a system."""
    first, middle, last, left, right, last_left, last_right = system
    if count == 1:
        return first
    blocks = {(i, i): middle for i in range(count)} | {(0, 0): first, (count - 1, count - 1): last}
    blocks |= {(i, i - 1): left for i in range(count)} | {(count - 1, count - 2): last_left}
    blocks |= {(i, i + 1): right for i in range(count)} | {(count - 2, count - 1): last_right}
    zero = tf.zeros_like(middle)
    return tf.concat(
        [tf.concat([blocks.get((i, j), zero) for j in range(count)], axis=1) for i in range(count)],
        axis=0,
    )


@tf.custom_gradient
def _factor(block, z):
    """log|det| of a block, and its solution for z; of the identity, if it is singular, which the
    residual will tell.
    """
    _, log_det = tf.linalg.slogdet(block)
    safe = tf.where(tf.math.is_finite(log_det), block, tf.eye(block.shape[0], dtype=block.dtype))
    x = tf.linalg.solve(safe, z)

    def grad(d_log_det, dx):
        transposed = tf.linalg.inv(safe, adjoint=True)
        dz = transposed @ dx
        return d_log_det * transposed - tf.matmul(dz, x, transpose_b=True), dz

    return (log_det, x), grad


def _times(matrix, vectors):
    """One matrix times `(count, size, batch)`."""
    return tf.einsum("ij,njk->nik", matrix, vectors)
