"""Rational-quadratic splines on flat arrays: knots, the bin of a value, value and slope in a bin.

`snf_tf.ops.spline` has the formulas and the public functions. Here x is `(rows, splines)`, and
parameters are `(splines, n)`. With as many derivatives as bins, a spline is circular: the slopes at
both ends are the first one, and no x lies outside.
"""

import math

import tensorflow as tf

from snf_tf.ops.custom_gradient import custom_gradient

_MINIMUM = 1e-3
# Up to so many bins selects invert a spline faster than a lookup, as measured on a CPU.
_FEW_BINS = 8


def spline(x, widths, heights, derivatives, bound):
    """Returns value and log-slope."""
    knots = all_knots(widths, heights, derivatives, bound)
    outside = _is_outside(x, bound, _is_circular(widths, derivatives))
    return _evaluate(x, outside, *_bins_at(x, knots, knots[0]))


def inverse_spline(z, widths, heights, derivatives, bound):
    """Returns x."""
    knots = all_knots(widths, heights, derivatives, bound)
    outside = _is_outside(z, bound, _is_circular(widths, derivatives))
    find = _selected_bins_at if widths.shape[-1] <= _FEW_BINS else _bins_at
    left, right, bottom, top, d, next_d = find(z, knots, knots[1])
    # Any point of the bin keeps values and gradients finite where z lies outside.
    rise = tf.where(outside, top, z) - bottom
    width, height = right - left, top - bottom
    s = height / width
    c = d + next_d - 2 * s
    a = height * (s - d) + rise * c
    b = height * d - rise * c
    twice = 2 * s * rise
    # Positive for every increasing spline; rounding alone can push it below 0.
    discriminant = tf.maximum(tf.square(b) + 2 * a * twice, 0)
    x = left + width * twice / (b + tf.sqrt(discriminant))
    return tf.where(outside, z, x)


def _is_circular(widths, derivatives):
    return derivatives.shape[-1] == widths.shape[-1]


def _is_outside(x, bound, is_circular):
    # False for NaN, which thus stays NaN.
    return tf.zeros_like(x, tf.bool) if is_circular else tf.abs(x) >= bound


def all_knots(widths, heights, derivatives, bound):
    """Returns x, y and slopes at the knots, `(3,) + shape + (bins + 1,)`."""
    sizes = tf.nn.softmax(tf.stack([widths, heights]))
    sizes = 2 * bound * (_MINIMUM + (1 - _MINIMUM * widths.shape[-1]) * sizes[..., :-1])
    slopes = _MINIMUM + tf.math.softplus(derivatives + math.log(math.exp(1 - _MINIMUM) - 1))
    end = tf.ones_like(slopes[..., :1])
    if _is_circular(widths, derivatives):
        end, slopes = slopes[..., :1], slopes[..., 1:]
    inner = tf.concat([tf.cumsum(sizes, axis=-1) - bound, slopes[None]], axis=0)
    # The ends are exact, whatever the sum of the sizes is rounded to.
    size = tf.fill(tf.shape(end), tf.constant(bound, slopes.dtype))
    return tf.concat([tf.stack([-size, -size, end]), inner, tf.stack([size, size, end])], axis=-1)


def _bins_at(x, knots, edges):
    """Returns left, right, bottom, top and both slopes of the bin that each x falls in.

    Args:
        x: `(rows, splines)`; the first or last bin is taken for those outside.
        knots: `(3, splines, bins + 1)`.
        edges: The knots between which x is looked for, `(splines, bins + 1)`.
    """
    # In int64: TensorFlow computes with int32 on the host, even where there is a GPU.
    beyond = tf.cast(x >= tf.transpose(edges[:, 1:-1])[:, None], tf.int64)
    first = (edges.shape[-1] - 1) * tf.range(tf.shape(edges, tf.int64)[0])
    sides = tf.stack([knots[..., :-1], knots[..., 1:]], axis=1)
    return _look_up(tf.reshape(sides, (6, -1)), first + tf.reduce_sum(beyond, axis=0))


def _selected_bins_at(x, knots, edges):
    """Returns what `_bins_at` returns, by selects: XLA makes one loop of a few."""
    beyond = [x >= edges[:, index] for index in range(1, edges.shape[-1] - 1)]
    found = []
    for table in tf.unstack(knots):
        for side in (table[:, :-1], table[:, 1:]):
            entry = side[:, 0]
            for index, is_beyond in enumerate(beyond, start=1):
                entry = tf.where(is_beyond, side[:, index], entry)
            found.append(entry)
    return found


@custom_gradient
def _look_up(table, index):
    """Returns the rows of a table at the columns given, with a gradient of one sum by column."""
    rows = table.shape[0]

    def grad(*cotangents):
        # Row after row: interleaving them costs more than the sum.
        starts = tf.shape(table, tf.int64)[1] * tf.range(rows, dtype=tf.int64)[:, None, None]
        sums = tf.math.unsorted_segment_sum(
            tf.stack(cotangents), index + starts, tf.size(table, tf.int64)
        )
        return tf.reshape(sums, tf.shape(table)), None

    return tf.unstack(tf.gather(tf.transpose(table), index), axis=-1), grad


@custom_gradient
def _evaluate(x, outside, left, right, bottom, top, d, next_d):
    """Returns value and log-slope at x in the bin given, with the gradient in closed form."""

    # Autodiff takes twice the operations. `grad` uses the arguments alone, so that its own gradient
    # is right.
    def terms():
        width, height = right - left, top - bottom
        s, t = height / width, (tf.where(outside, left, x) - left) / width
        u, e, c = t * (1 - t), s - d, d + next_d - 2 * s
        numerator, denominator = t * (d + e * t), s + c * u
        return width, height, s, t, u, e, c, numerator, denominator, d + t * (2 * e + c * t)

    def grad(d_value, d_log_slope):
        width, height, s, t, u, e, c, numerator, denominator, slope = terms()
        zero = tf.zeros_like(x)
        d_inside = tf.where(outside, zero, d_value)
        d_log_slope = tf.where(outside, zero, d_log_slope)
        ratio = numerator / denominator
        d_slope = d_log_slope / slope
        d_numerator = d_inside * height / denominator
        d_denominator = -ratio * d_numerator - 2 * d_log_slope / denominator
        # By numerator = s t^2 + d u, denominator = s + c u, slope = d (1-t)^2 + next_d t^2 + 2 s u.
        d_c = d_denominator * u
        d_d = d_numerator * u + d_slope * tf.square(1 - t) + d_c
        d_next_d = d_slope * tf.square(t) + d_c
        d_s = d_numerator * tf.square(t) + d_denominator - 2 * d_c
        d_s += 2 * (d_slope * u + d_log_slope / s)
        d_t = d_numerator * (d + 2 * e * t) + 2 * d_slope * (e + c * t)
        d_t += d_denominator * c * (1 - 2 * t)
        d_x, d_rise = d_t / width, d_s / width
        d_width = -(t * d_x + s * d_rise)
        d_top = d_inside * ratio + d_rise
        d_sides = -d_x - d_width, d_width, d_inside - d_top, d_top, d_d, d_next_d
        return tf.where(outside, d_value, d_x), None, *d_sides

    _, height, s, _, _, _, _, numerator, denominator, slope = terms()
    value = bottom + height * numerator / denominator
    log_slope = tf.math.log(slope * tf.square(s / denominator))
    return (tf.where(outside, x, value), tf.where(outside, tf.zeros_like(x), log_slope)), grad
