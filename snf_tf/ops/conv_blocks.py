"""A convolution as a block tridiagonal matrix.

The blocks of a zero-padded k x k convolution are p = (k - 1) / 2 rows of the image; all block rows
but the last are alike.
"""

import math

import numpy as np
import tensorflow as tf

from snf_tf.ops.block_tridiagonal import BlockTridiagonal, solve_block_tridiagonal
from snf_tf.ops.conv import conv2d_matrix


def log_det_and_solution(z, kernel):
    """Computes log|det| of a convolution, and its solution x for `conv2d(x, kernel) = z`.

    Neither is checked: pivots are sought within a block alone.

    Args:
        z: `(batch, H, W, C)`; H, W and C known.
        kernel: `(kh, kw, C, C)`, kh and kw odd.

    Returns:
        `(log_det, x)`: a scalar, and `(batch, H, W, C)`.
    """
    # The axis with the smaller blocks comes to the front.
    block_of_rows, block_of_columns = (_block_size(kernel.shape, z.shape, axis) for axis in (0, 1))
    if block_of_columns < block_of_rows:
        log_det, x = _by_rows(tf.transpose(z, (0, 2, 1, 3)), tf.transpose(kernel, (1, 0, 2, 3)))
        return log_det, tf.transpose(x, (0, 2, 1, 3))
    return _by_rows(z, kernel)


def _block_size(kernel_shape, z_shape, axis):
    other = 1 - axis
    return max(kernel_shape[axis] // 2, 1) * (z_shape[1 + other] if kernel_shape[other] > 1 else 1)


def _by_rows(z, kernel):
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
