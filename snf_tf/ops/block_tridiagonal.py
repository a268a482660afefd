"""Log-determinants and solutions of block tridiagonal matrices, by block cyclic reduction.

All block rows but the first and the last are alike. Eliminating every second one leaves a matrix
of the same kind, half as long (Buzbee, Golub and Nielson 1970; Heller 1976): O(log n)
factorizations of a block for n block rows, and the memory of a few blocks for each.

Pivots are sought within a block, which is not always stable, nor always possible: whoever calls
checks the solution.
"""

from typing import NamedTuple

import tensorflow as tf

from snf_tf.ops.custom_gradient import custom_gradient

# A matrix of up to this size is faster factored whole than halved once more.
_WHOLE = 128


class BlockTridiagonal(NamedTuple):
    """Holds the blocks of a matrix, each `(size, size)`.

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


def solve_block_tridiagonal(system, z):
    """Computes log|det| of a matrix, and its solution for z.

    Eliminates blocks 1, 3, 5, ... and solves for the rest. Those are middle ones, but for the last
    where the number of all is even.

    Args:
        system: The matrix, a `BlockTridiagonal`.
        z: `(blocks, size, batch)`.

    Returns:
        `(log_det, x)`: a scalar, and `(blocks, size, batch)`.
    """
    first, middle, last, left, right, last_left, last_right = system
    count, size, _ = z.shape
    if count == 1 or count * size <= _WHOLE:
        log_det, x = factor(_matrix(system, count), tf.reshape(z, (count * size, -1)))
        return log_det, tf.reshape(x, tf.shape(z))
    middles = (count - 1) // 2
    rest = z[::2]
    log_det = tf.zeros((), z.dtype)
    alike = last_left is left and last_right is right
    if middles:
        columns = tf.reshape(tf.transpose(z[1 : 2 * middles : 2], (1, 0, 2)), (size, -1))
        couplings = [left, right] if alike else [left, right, last_right]
        log_det_middle, solved = factor(middle, tf.concat([*couplings, columns], axis=1))
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
        log_det_last, solved = factor(last, tf.concat([last_left, z[-1]], axis=1))
        log_det += log_det_last
        last_to_left, y_last = solved[:, :size], solved[:, size:]
        rest -= tf.pad((last_right @ y_last)[None], [[middles, 0], [0, 0], [0, 0]])
        change = last_right @ last_to_left
        new_last = middle - across - change if middles else middle
        new_first = new_first if middles else first - change
        ends = (new_left, new_right)
    log_det_rest, x = solve_block_tridiagonal(
        BlockTridiagonal(new_first, new_middle, new_last, new_left, new_right, *ends), rest
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


@custom_gradient
def factor(block, z):
    """Computes log|det| of a block, and its solution for z.

    The solution is that of the identity, if the block is singular; the residual will tell.
    """
    _, log_det = tf.linalg.slogdet(block)
    safe = tf.where(tf.math.is_finite(log_det), block, tf.eye(block.shape[0], dtype=block.dtype))
    x = tf.linalg.solve(safe, z)

    def grad(d_log_det, dx):
        transposed = tf.linalg.inv(safe, adjoint=True)
        dz = transposed @ dx
        # NaN, where log|det| is infinite.
        d_log_det += 0.0 * log_det
        return d_log_det * transposed - tf.matmul(dz, x, transpose_b=True), dz

    return (log_det, x), grad


def _times(matrix, vectors):
    """One matrix times `(count, size, batch)`."""
    return tf.einsum("ij,njk->nik", matrix, vectors)
