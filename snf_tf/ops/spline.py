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

import functools
import math

import tensorflow as tf

_MINIMUM = 1e-3
# Up to so many bins selects invert a spline faster than a lookup, as measured on a CPU.
_FEW_BINS = 8
_POWERS = [2**exponent for exponent in range(31)]


def spline_knots(
    unnormalized_widths: tf.Tensor,
    unnormalized_heights: tf.Tensor,
    unnormalized_derivatives: tf.Tensor,
    bound: float,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Computes the knots of splines from unconstrained parameters.

    Args:
        unnormalized_widths: `shape + (bins,)`; shape is `event_shape` or `(batch,) + event_shape`.
        unnormalized_heights: `shape + (bins,)`.
        unnormalized_derivatives: `shape + (bins - 1,)`.
        bound: The splines are the identity outside [-bound, bound].

    Returns:
        `(x, y, slopes)`, each `(bins + 1,) + shape`.

    Example:
        >>> x, y, slopes = snf_tf.ops.spline_knots(tf.zeros(4), tf.zeros(4), tf.zeros(3), 2.0)
        >>> x.numpy().tolist()
        [-2.0, -1.0, 0.0, 1.0, 2.0]
    """
    knots = _knots(unnormalized_widths, unnormalized_heights, unnormalized_derivatives, bound)
    last = knots.shape.rank - 1
    x, y, slopes = tf.unstack(tf.transpose(knots, [0, last, *range(1, last)]))
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
        >>> parameters = [tf.zeros((2, n)) for n in (5, 5, 4)]
        >>> x = tf.constant([[0.25, -3.0]])
        >>> z, log_slope = snf_tf.ops.rational_quadratic_spline(x, *parameters, 5.0)
        >>> z.numpy().tolist()
        [[0.25, -3.0]]
    """
    parameters = (unnormalized_widths, unnormalized_heights, unnormalized_derivatives)
    value, log_slope = _share(_spline, x, parameters, bound)
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
    if _have_rows(parameters, z):
        parameters = tuple(map(_pad_rows, parameters))
    x = _share(_inverse_spline, _pad_rows(z), parameters, bound)
    x = tf.reshape(x, (-1, *z.shape[1:]))[: tf.shape(z)[0]]
    x.set_shape(z.shape)
    return x


def _pad_rows(x):
    """Adds rows of zeros up to a power of two: XLA compiles for every number of rows anew."""
    rows = tf.shape(x)[:1, None]
    exponent = tf.raw_ops.LowerBound(sorted_inputs=[_POWERS], values=rows)
    padded = tf.pad(x, (2**exponent - rows) * tf.constant([[0, 1]] + [[0, 0]] * (x.shape.rank - 1)))
    padded.set_shape((None, *x.shape[1:]))
    return padded


def _have_rows(parameters, x):
    """Returns whether every row of x has its own parameters, after a check of the shapes."""
    has_rows = parameters[0].shape.rank > x.shape.rank
    shape = x.shape if has_rows else x.shape[1:]
    for parameter in parameters:
        if not parameter.shape[:-1].is_compatible_with(shape):
            raise ValueError(
                "The parameters of a spline have the shape event_shape + (n,) or (batch,) + "
                f"event_shape + (n,). Received: a parameter of shape {parameter.shape} for x of "
                f"shape {x.shape}. Reshape the parameter."
            )
    return has_rows


def _share(function, x, parameters, bound):
    """Calls a function with x as `(rows, splines)`, the parameters as `(splines, n)`, and bound."""
    has_rows = _have_rows(parameters, x)
    splines = None if has_rows else math.prod(x.shape[1:])
    bins = parameters[0].shape[-1]
    flat = tf.reshape(x, (1, -1) if has_rows else (-1, splines))
    parameters = [tf.reshape(parameter, (-1, parameter.shape[-1])) for parameter in parameters]
    return _traced(function, splines, bins, bound, x.dtype)(flat, *parameters)


# Layers of one shape share one graph: most of a flow's start-up is the tracing of its splines.
@functools.lru_cache(maxsize=64)
def _traced(function, splines, bins, bound, dtype):
    shapes = [(None, splines), *((splines, count) for count in (bins, bins, bins - 1))]
    signature = [tf.TensorSpec(shape, dtype) for shape in shapes]
    # XLA wins where no gradient sums by bin.
    return tf.function(
        functools.partial(function, bound=bound),
        input_signature=signature,
        jit_compile=function is _inverse_spline,
    )


def _spline(x, widths, heights, derivatives, bound):
    knots = _knots(widths, heights, derivatives, bound)
    return _evaluate(x, _is_outside(x, bound), *_bins_at(x, knots, knots[0]))


def _inverse_spline(z, widths, heights, derivatives, bound):
    knots = _knots(widths, heights, derivatives, bound)
    outside = _is_outside(z, bound)
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


def _is_outside(x, bound):
    # False for NaN, which thus stays NaN.
    return tf.abs(x) >= bound


def _knots(widths, heights, derivatives, bound):
    """Returns x, y and slopes at the knots, `(3,) + shape + (bins + 1,)`."""
    sizes = tf.nn.softmax(tf.stack([widths, heights]))
    sizes = 2 * bound * (_MINIMUM + (1 - _MINIMUM * widths.shape[-1]) * sizes[..., :-1])
    slopes = _MINIMUM + tf.math.softplus(derivatives + math.log(math.exp(1 - _MINIMUM) - 1))
    inner = tf.concat([tf.cumsum(sizes, axis=-1) - bound, slopes[None]], axis=0)
    # The ends are exact, whatever the sum of the sizes is rounded to.
    size = tf.fill(tf.shape(slopes[..., :1]), tf.constant(bound, slopes.dtype))
    one = tf.ones_like(size)
    return tf.concat([tf.stack([-size, -size, one]), inner, tf.stack([size, size, one])], axis=-1)


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


@tf.custom_gradient
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


@tf.custom_gradient
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
