"""Estimates of the error of an inverse kernel, and exact inversion as the last resort.

`layer` is a `SelfNormalizingDense` everywhere; its class is not imported, to avoid a circle.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from snf_tf import ops
from snf_tf.layers.self_normalizing.inverse_method import COUNT, NUMBER, StateWeight, log_if

# Streams of random numbers, one a purpose.
_FOR_WORST, _FOR_ANGLE, FOR_PROBES = range(3)
# Steps between estimates of the angle; above this norm of I - K M every step estimates.
_JUDGE_EVERY, _DOUBTFUL = 4, 0.2
# Random rows by which an angle is estimated.
_ROWS = 4
# Share of a random direction in every power step: no singular value is missed for long.
_MIXED_IN = 0.1


class WorstRows(NamedTuple):
    """The rows for which an inverse kernel M is worst.

    Attributes:
        norm: Estimate, from below, of the spectral norm of `I - kernel @ M`.
        rows: `(2, D)`: the row in which the norm is found, and the row that M makes longest.
        images: `rows @ kernel`, of unit length.
        state: The directions from which the next step's power iterations start.
    """

    norm: tf.Tensor
    rows: tf.Tensor
    images: tf.Tensor
    state: dict[str, tf.Tensor]


def quality_state(layer: Any, **counts: StateWeight) -> dict[str, StateWeight]:
    """Names the numbers that the functions of this file need, and the counts of a method."""
    row = StateWeight(shape=(1, *layer.event_shape), initial=1.0)
    return {
        "inverse_angle": NUMBER,
        **counts,
        "exact_inversions": COUNT,
        "inverse_updates": COUNT,
        "inverse_error_row": row,
        "inverse_longest_row": row,
    }


def random_rows(layer: Any, count: int, dtype: tf.DType, purpose: int) -> tf.Tensor:
    """Draws normal rows, `(count, D)`, anew in every update and for every purpose."""
    updates = tf.convert_to_tensor(layer.inverse_state["inverse_updates"])
    seed = tf.stack([updates, tf.constant(purpose, updates.dtype)])
    return tf.random.stateless_normal((count, *layer.event_shape), seed, dtype=dtype)


def worst_rows(layer: Any, kernel: tf.Tensor, inverse: tf.Tensor) -> WorstRows:
    """Makes one step of the power iterations that find the worst rows."""
    state = layer.inverse_state
    random = _MIXED_IN * ops.unit_rows(random_rows(layer, 1, kernel.dtype, _FOR_WORST))
    direction = layer.widen(state["inverse_error_row"]) + random
    norm, error_row = ops.inverse_residual(kernel, inverse, direction)
    direction = layer.widen(state["inverse_longest_row"]) + random
    longest = tf.matmul(direction, inverse, transpose_b=True)
    longest_row = ops.unit_rows(tf.matmul(longest, inverse))
    # A direction that is not finite would never become finite again.
    error_row, longest_row = (
        tf.where(tf.math.is_finite(row), row, random) for row in (error_row, longest_row)
    )
    rows = tf.concat([error_row, longest_row], axis=0)
    images = tf.matmul(rows, kernel)
    lengths = tf.norm(images, axis=1, keepdims=True)
    rows, images = (tf.math.divide_no_nan(v, lengths) for v in (rows, images))
    directions = {"inverse_error_row": error_row, "inverse_longest_row": longest_row}
    return WorstRows(norm, rows, images, directions)


def estimated_angle(layer: Any, kernel: tf.Tensor, inverse: tf.Tensor) -> tf.Tensor:
    """Estimates the angle between an inverse M and the exact one, in degrees.

    The gradients of log|det| by both inverses differ by the same angle. With M = K^-1 (I - E), its
    sine is |M E| / |M| to first order in E. Random combinations of the rows of M estimate this
    ratio.
    """
    rows = tf.matmul(random_rows(layer, _ROWS, kernel.dtype, _FOR_ANGLE), inverse)
    error = rows - tf.matmul(tf.matmul(rows, kernel), inverse)
    return tf.norm(error) / tf.norm(rows) * (180 / math.pi)


def judge(
    layer: Any,
    kernel: tf.Tensor,
    inverse: tf.Tensor,
    norm: tf.Tensor,
    tolerance: float,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the estimated angle, or the last one if none is due, and whether M is good."""
    state = layer.inverse_state
    last = tf.cast(state["inverse_angle"], kernel.dtype)
    due = (state["inverse_updates"] % _JUDGE_EVERY == 0) | (norm > _DOUBTFUL)
    # The first-order estimate is less reliable where the norm is large.
    bound = tolerance * (1 - norm)

    def estimate() -> tuple[tf.Tensor, tf.Tensor]:
        angle = estimated_angle(layer, kernel, inverse)
        return angle, angle <= bound

    angle, good = tf.cond(due, estimate, lambda: (last, True))
    return angle, good & (norm < 1)


def invert(layer: Any, kernel: tf.Tensor, angle: tf.Tensor) -> tf.Tensor:
    """Inverts a kernel exactly, and logs the 1st, 2nd, 4th, 8th time, and so on."""
    count = layer.inverse_state["exact_inversions"] + 1
    log_if(
        layer,
        tf.bitwise.bitwise_and(count, count - 1) == 0,
        "the inverse is off, in degrees, by",
        angle,
        "- the kernel is inverted exactly; times so far:",
        count,
    )
    # A singular kernel gives NaN, on which training stops with a message.
    invertible = tf.math.is_finite(tf.linalg.slogdet(kernel)[1])
    safe = tf.where(invertible, kernel, tf.eye(kernel.shape[0], dtype=kernel.dtype))
    return tf.where(invertible, tf.linalg.inv(safe), np.nan)
