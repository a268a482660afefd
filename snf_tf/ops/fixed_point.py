"""Fixed points of contractions, by Anderson's acceleration for every example."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from snf_tf._checks import check_integer, check_number

# Changes that acceleration remembers: Jacobians of real spectra gain by many, others by none.
_MEMORY = 5
# The share of a change that must be left, orthogonal to the others, for it to be remembered.
_DEPENDENT = 1e-2
# Steps without progress after which an example falls back to damped iteration.
_PATIENCE = 10
# Rounding errors of a function of float32 or float64, in units of the last place.
_ROUNDING = 4.0


class FixedPoint(NamedTuple):
    """What a solver of `x = function(x)` found.

    Attributes:
        value: x, `(batch,) + event_shape`, without a gradient.
        steps: Number of evaluations of the function, an integer scalar.
        residual: |function(x) - x| of every example before the last step, `(batch,)`.
        error: The bound L / (1 - L) residual of the distance to the fixed point, `(batch,)`.
        converged: Whether every example met the tolerance, a bool scalar.
    """

    value: tf.Tensor
    steps: tf.Tensor
    residual: tf.Tensor
    error: tf.Tensor
    converged: tf.Tensor


def fixed_point(
    function: Callable[[tf.Tensor], tf.Tensor],
    start: tf.Tensor,
    lipschitz: float | tf.Tensor,
    tolerance: float | None = None,
    max_steps: int = 1000,
) -> FixedPoint:
    """Solves `x = function(x)` for a contraction, by Anderson's method for every example.

    A step goes from x to F = function(x), less what makes the residual F - x least along its last
    five changes (Anderson 1965; Walker and Ni 2011). These changes are kept orthogonal to each
    other, as in truncated conjugate residuals: a step solves no system. A step that leads further
    than the fixed point of a contraction can be is not taken. One after which the residual is no
    smaller is taken back, for the plain one. An example without progress in 10 steps goes on by
    damped iteration, `x <- x + a (F - x)`, with a from 1/2 falling.

    Args:
        function: Maps x to a tensor of the same shape.
        start: `(batch,) + event_shape`.
        lipschitz: L in [0, 1), a Lipschitz constant of the function, in the Euclidean norm or in
            another one. It turns residuals into errors.
        tolerance: An example is done when its error bound, L / (1 - L) times its residual, is at
            most the tolerance. None is 4 units in the last place of x. No residual below 4 units in
            the last place is asked for.
        max_steps: Evaluations at most.

    Returns:
        A `FixedPoint`.

    Raises:
        ValueError: If L, as a number, is not in [0, 1).

    Example:
        >>> found = snf_tf.ops.fixed_point(tf.cos, tf.ones((1, 1), tf.float64), lipschitz=0.85)
        >>> round(float(found.value[0, 0]), 6), bool(found.converged)
        (0.739085, True)
    """
    check_number("tolerance", tolerance, above=0, optional=True)
    check_integer("max_steps", max_steps, 1)
    if not tf.is_tensor(lipschitz):
        # A contraction.
        check_number("lipschitz", lipschitz, at_least=0, below=1)
    start = tf.stop_gradient(tf.convert_to_tensor(start))
    rounding = _ROUNDING * np.finfo(start.dtype.as_numpy_dtype).eps
    bound = tf.cast(lipschitz, start.dtype)
    factor = bound / (1.0 - bound)

    def norms(rows):
        return tf.sqrt(tf.reduce_sum(tf.square(rows), axis=list(range(1, rows.shape.rank))))

    def rows(numbers):
        return tf.reshape(numbers, [-1] + [1] * (start.shape.rank - 1))

    def along(vectors, directions):
        """Inner products of every example with each direction, shaped to multiply directions."""
        axes = list(range(2, directions.shape.rank))
        return tf.reduce_sum(vectors[None] * directions, axis=axes, keepdims=True)

    def choose(mask, one, other):
        return tf.where(rows(mask), one, other)

    def goes_on(step, *state):
        return (step < max_steps) & ~tf.reduce_all(state[-1])

    def advance(step, x, is_plain, last, size, moves, changes, first, best, idle, damping, done):
        """Evaluates at x; last are x, its image and residual where the residual fell last."""
        image = function(x)
        new = image - x
        new_size = norms(new)
        scale = rounding * tf.maximum(norms(x), norms(start))
        limit = scale if tolerance is None else tf.constant(tolerance, start.dtype)
        new_done = (factor * new_size <= limit) | (new_size <= scale)
        # What is not finite stays so: it ends, but has not converged.
        new_done |= ~tf.math.is_finite(new_size)
        first = tf.where(step == 0, new_size, first)
        accepted = is_plain | (new_size < size) | new_done
        # The last move of x, and the change of the residual, of length 1.
        move, change = x - last[0], new - last[2]
        change = choose(accepted & (step > 0), change, tf.zeros_like(change))
        before = norms(change)
        overlap = along(change, changes)
        change -= tf.reduce_sum(overlap * changes, axis=0)
        move -= tf.reduce_sum(overlap * moves, axis=0)
        length = norms(change)
        # Rounding errors alone are left of what depends on the others.
        length = rows(tf.where(length > _DEPENDENT * before, length, tf.zeros_like(length)))
        move, change = tf.math.divide_no_nan(move, length), tf.math.divide_no_nan(change, length)
        moves, changes = (
            tf.where(rows(accepted)[None], tf.concat([part[None], kept[:-1]], 0), 0.0)
            for part, kept in ((move, moves), (change, changes))
        )
        shares = along(new, changes)
        leap = tf.reduce_sum(shares * (moves + changes), axis=0)
        idle = tf.where(new_size < best, 0, idle + 1)
        fallen = idle >= _PATIENCE
        damping = tf.where(fallen, 0.5 * damping, damping)
        idle = tf.where(fallen, 0, idle)
        # Of a contraction the fixed point lies no further from the image.
        is_plain = ~accepted | (norms(leap) > factor * new_size) | (damping < 1.0) | new_done
        following = choose(is_plain, image, image - leap)
        following = choose(damping < 1.0, x + rows(damping) * new, following)
        # Of an example that is done, the image is closer to the fixed point than x.
        following = choose(new_done, image, following)
        following = choose(accepted, following, last[1])
        last = [
            choose(accepted, one, other) for one, other in zip((x, image, new), last, strict=True)
        ]
        return (
            step + 1,
            choose(done, x, following),
            is_plain,
            last,
            tf.where(accepted & ~done, new_size, size),
            moves,
            changes,
            first,
            tf.where(done, best, tf.minimum(best, new_size)),
            idle,
            damping,
            done | new_done,
        )

    ones = tf.ones(tf.shape(start)[:1], start.dtype)
    infinite = ones * np.inf
    none = tf.zeros(tf.shape(start)[:1], tf.int32)
    no = tf.zeros_like(ones, tf.bool)
    memory = tf.zeros(tf.concat([[_MEMORY], tf.shape(start)], 0), start.dtype)
    memory = tf.ensure_shape(memory, (_MEMORY, *start.shape))
    last = [start, start, tf.zeros_like(start)]
    begin = (tf.constant(0), start, ~no, last, infinite, memory, memory, infinite, infinite)
    found = tf.while_loop(goes_on, advance, (*begin, none, ones, no))
    steps, x, size, first, done = found[0], found[1], found[4], found[7], found[11]
    x, size = tf.stop_gradient(x), tf.stop_gradient(size)
    # Where a contraction has its fixed point. Far away any residual is as small as rounding errors.
    radius = (1.0 + 1e-3) * first / (1.0 - bound) + rounding * norms(start)
    solved = done & tf.math.is_finite(size) & (norms(x - start) <= radius)
    return FixedPoint(x, steps, size, factor * size, tf.reduce_all(solved))
