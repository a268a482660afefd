"""Monotone rational-quadratic splines (Durkan et al. 2019, "Neural Spline Flows"), one an element.

On [-bound, bound] the spline has K bins with knots (x_k, y_k), x_0 = y_0 = -bound, and slopes d_k
at the knots, 1 at both ends. Outside it is the identity. Parameterisation: widths and heights `2
bound (m + (1 - m K) softmax(u))` with m = 1e-3, inner slopes `m + softplus(u + log(exp(1 - m) -
1))`, so that u = 0 is the identity.

In a bin of width w, height h and slope s = h / w, with t = (x - x_k) / w, e = s - d_k and c = d_k +
d_{k+1} - 2 s, the value is `y_k + h t (d_k + e t) / (s + c t (1 - t))` (Eq. 4), its slope `s^2 (d_k
+ 2 e t + c t^2) / (s + c t (1 - t))^2` (Eq. 5).

All take x as `(batch,) + event_shape` and parameters of shape `event_shape + (n,)`, shared by the
rows of x, or `(batch,) + event_shape + (n,)`, one set for each row.
"""

import math

import tensorflow as tf

_MINIMUM = 1e-3


def spline_knots(
    unnormalized_widths: tf.Tensor,
    unnormalized_heights: tf.Tensor,
    unnormalized_derivatives: tf.Tensor,
    bound: float,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Computes the knots of splines from unconstrained parameters.

    Args:
        unnormalized_widths: `shape + (bins,)`; shape is the event's, or the batch's and the event's.
        unnormalized_heights: `shape + (bins,)`.
        unnormalized_derivatives: `shape + (bins - 1,)`.
        bound: The splines are the identity outside [-bound, bound].

    Returns:
        `(x, y, slopes)`, each `(bins + 1,) + shape`.
    """
    parameters = (unnormalized_widths, unnormalized_heights, unnormalized_derivatives)
    last = unnormalized_widths.shape.rank - 1
    order = [last, *range(last)]
    x, y, slopes = (tf.transpose(knots, order) for knots in _knots(*parameters, bound))
    return x, y, slopes


def rational_quadratic_spline(
    x: tf.Tensor,
    unnormalized_widths: tf.Tensor,
    unnormalized_heights: tf.Tensor,
    unnormalized_derivatives: tf.Tensor,
    bound: float,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Evaluates splines (Durkan et al. 2019, Eqs. 4, 5).

    Args:
        x: `(batch,) + event_shape`.
        unnormalized_widths: `event_shape + (bins,)` or `(batch,) + event_shape + (bins,)`.
        unnormalized_heights: The same shape.
        unnormalized_derivatives: The same shape, with bins - 1 for bins.
        bound: The splines are the identity outside [-bound, bound].

    Returns:
        `(value, log_slope)`, each of the shape of x. Where x is not a number, neither are they.

    Raises:
        ValueError: If the shapes of x and the parameters do not match.

    Example:
        >>> widths, heights, derivatives = (tf.zeros((2, n)) for n in (5, 5, 4))
        >>> x = tf.constant([[0.25, -3.0]])
        >>> z, log_slope = snf_tf.ops.rational_quadratic_spline(x, widths, heights, derivatives, 1.0)
        >>> z.numpy().tolist()
        [[0.25, -3.0]]
    """
    parameters = (unnormalized_widths, unnormalized_heights, unnormalized_derivatives)
    flat, parameters = _flatten(x, parameters)
    knots = _knots(*parameters, bound)
    outside, position = _split(flat, bound)
    value, log_slope = _evaluate(position, *_bins_at(position, knots[0], knots))
    value, log_slope = tf.where(outside, flat, value), tf.where(outside, 0.0, log_slope)
    return tf.reshape(value, (-1, *x.shape[1:])), tf.reshape(log_slope, (-1, *x.shape[1:]))


def rational_quadratic_spline_inverse(
    z: tf.Tensor,
    unnormalized_widths: tf.Tensor,
    unnormalized_heights: tf.Tensor,
    unnormalized_derivatives: tf.Tensor,
    bound: float,
) -> tf.Tensor:
    """Inverts splines in closed form (Durkan et al. 2019, Eqs. 6-8).

    Arguments and errors as in `rational_quadratic_spline`, with z for x; returns x.
    """
    parameters = (unnormalized_widths, unnormalized_heights, unnormalized_derivatives)
    flat, parameters = _flatten(z, parameters)
    knots = _knots(*parameters, bound)
    outside, position = _split(flat, bound)
    left, right, bottom, top, d, next_d = _bins_at(position, knots[1], knots)
    width, height, rise = right - left, top - bottom, position - bottom
    s = height / width
    c = d + next_d - 2 * s
    a = height * (s - d) + rise * c
    b = height * d - rise * c
    twice = 2 * s * rise
    # Positive for every increasing spline; rounding alone can push it below 0.
    discriminant = tf.maximum(tf.square(b) + 2 * a * twice, 0)
    x = left + width * twice / (b + tf.sqrt(discriminant))
    return tf.reshape(tf.where(outside, flat, x), (-1, *z.shape[1:]))


def _flatten(x, parameters):
    """Returns x as `(rows, splines)` and the parameters as `(splines, n)`."""
    has_rows = parameters[0].shape.rank > x.shape.rank
    shape = x.shape if has_rows else x.shape[1:]
    for parameter in parameters:
        if not parameter.shape[:-1].is_compatible_with(shape):
            raise ValueError(
                "The parameters of a spline have the shape event_shape + (n,) or (batch,) + "
                f"event_shape + (n,). Received: a parameter of shape {parameter.shape} for x of "
                f"shape {x.shape}. Reshape the parameter."
            )
    flat = tf.reshape(x, (1, -1) if has_rows else (-1, math.prod(shape)))
    return flat, [tf.reshape(parameter, (-1, parameter.shape[-1])) for parameter in parameters]


def _split(x, bound):
    """Returns which x lie outside the bound, and x with 0 for those."""
    # The comparison is False for NaN, which thus stays NaN.
    outside = tf.abs(x) >= bound
    return outside, tf.where(outside, 0.0, x)


def _knots(widths, heights, derivatives, bound):
    """As `spline_knots`, with the knots on the last axis."""
    sizes = tf.nn.softmax(tf.stack([widths, heights]))
    sizes = 2 * bound * (_MINIMUM + (1 - _MINIMUM * widths.shape[-1]) * sizes[..., :-1])
    inner = tf.cumsum(sizes, axis=-1) - bound
    # The ends are exact, whatever the sum of the sizes is rounded to.
    end = tf.fill(tf.shape(inner[..., :1]), tf.cast(bound, sizes.dtype))
    x, y = tf.unstack(tf.concat([-end, inner, end], axis=-1))
    slopes = _MINIMUM + tf.math.softplus(derivatives + math.log(math.exp(1 - _MINIMUM) - 1))
    one = tf.ones_like(slopes[..., :1])
    return x, y, tf.concat([one, slopes, one], axis=-1)


def _bins_at(position, edges, knots):
    """Returns left, right, bottom, top and both slopes of the bin that each position falls in.

    Args:
        position: `(rows, splines)`.
        edges: The knots that the bins lie between, `(splines, bins + 1)`.
        knots: x, y and slopes, `(splines, bins + 1)` each.
    """
    inner = tf.transpose(edges[:, 1:-1])[:, None]
    # In int64: TensorFlow computes with int32 on the host, even where there is a GPU.
    bins = tf.reduce_sum(tf.cast(position >= inner, tf.int64), axis=0)
    count = edges.shape[-1] - 1
    index = bins + count * tf.range(tf.shape(edges, tf.int64)[0])
    table = tf.stack([side for knot in knots for side in (knot[:, :-1], knot[:, 1:])], axis=-1)
    return _look_up(tf.reshape(table, (-1, 6)), index)


@tf.custom_gradient
def _look_up(table, index):
    """Returns the columns of `table[index]`, with a gradient of one sum over equal indices."""
    columns = table.shape[1]

    def grad(*cotangents):
        entries = tf.shape(table, tf.int64)[0]
        # Column by column: interleaving them costs more than the sum.
        starts = entries * tf.range(columns, dtype=tf.int64)[:, None, None]
        sums = tf.math.unsorted_segment_sum(
            tf.stack(cotangents), index + starts, tf.size(table, tf.int64)
        )
        return tf.transpose(tf.reshape(sums, (columns, -1))), None

    return tf.unstack(tf.gather(table, index), axis=-1), grad


@tf.custom_gradient
def _evaluate(x, left, right, bottom, top, d, next_d):
    """Returns value and log-slope at x in the bin given, with the gradient in closed form."""
    # Autodiff takes twice the operations. `grad` uses the arguments alone, so that its own gradient
    # is right.
    def terms():
        width, height = right - left, top - bottom
        s, t = height / width, (x - left) / width
        u, e, c = t * (1 - t), s - d, d + next_d - 2 * s
        slope = d + t * (2 * e + c * t)
        return width, height, s, t, u, e, c, t * (d + e * t), s + c * u, slope

    def grad(d_value, d_log_slope):
        width, height, s, t, u, e, c, numerator, denominator, slope = terms()
        ratio = numerator / denominator
        d_slope = d_log_slope / slope
        d_numerator = d_value * height / denominator
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
        d_top = d_value * ratio + d_rise
        return d_x, -d_x - d_width, d_width, d_value - d_top, d_top, d_d, d_next_d

    _, height, s, _, _, _, _, numerator, denominator, slope = terms()
    value = bottom + height * numerator / denominator
    return (value, tf.math.log(slope * tf.square(s / denominator))), grad
