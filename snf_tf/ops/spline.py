"""Monotone rational-quadratic splines (Durkan et al. 2019, "Neural Spline Flows"), one an element.

On [-bound, bound] the spline has K bins with knots (x_k, y_k), x_0 = y_0 = -bound, and slopes d_k
at the knots, 1 at both ends. Outside it is the identity. Parameterisation: widths and heights `2
bound (m + (1 - m K) softmax(u))` with m = 1e-3, inner slopes `m + softplus(u + log(exp(1 - m) -
1))`, so that u = 0 is the identity.

In a bin of width w, height h and slope s = h / w, with t = (x - x_k) / w, e = s - d_k and c = d_k +
d_{k+1} - 2 s, the value is `y_k + h t (d_k + e t) / (s + c t (1 - t))` (Eq. 4), its slope `s^2 (d_k
+ 2 e t + c t^2) / (s + c t (1 - t))^2` (Eq. 5).

All take x as `(batch,) + event_shape` and parameters of shape `event_shape + (n,)`.
"""

import itertools
import math

import tensorflow as tf

_MINIMUM = 1e-3
_POWERS = [2**exponent for exponent in range(31)]


def spline_knots(
    unnormalized_widths: tf.Tensor,
    unnormalized_heights: tf.Tensor,
    unnormalized_derivatives: tf.Tensor,
    bound: float,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Computes the knots of splines from unconstrained parameters.

    Args:
        unnormalized_widths: `event_shape + (bins,)`.
        unnormalized_heights: `event_shape + (bins,)`.
        unnormalized_derivatives: `event_shape + (bins - 1,)`.
        bound: The splines are the identity outside [-bound, bound].

    Returns:
        `(x, y, slopes)`, each `(bins + 1,) + event_shape`.
    """
    sizes, derivatives = (
        tf.stack([unnormalized_widths, unnormalized_heights]),
        unnormalized_derivatives,
    )
    bins, last = sizes.shape[-1], derivatives.shape.rank - 1
    # The knots come first from here on: every operation then runs along the elements.
    sizes = tf.transpose(sizes, [last + 1, *range(last + 1)])
    sizes = tf.exp(sizes - tf.reduce_max(sizes, axis=0))
    sizes = 2 * bound * (_MINIMUM + (1 - _MINIMUM * bins) / tf.reduce_sum(sizes, axis=0) * sizes)
    # The ends are exact, whatever the sum of the sizes is rounded to.
    start = tf.fill(tf.shape(sizes)[1:], tf.cast(-bound, sizes.dtype))
    inner = itertools.accumulate([start, *tf.unstack(sizes)[:-1]])
    x, y = tf.unstack(tf.stack([*inner, -start]), axis=1)
    slopes = _MINIMUM + tf.math.softplus(derivatives + math.log(math.exp(1 - _MINIMUM) - 1))
    end = tf.ones_like(x[:1])
    return x, y, tf.concat([end, tf.transpose(slopes, [last, *range(last)]), end], axis=0)


def rational_quadratic_spline(
    x: tf.Tensor,
    unnormalized_widths: tf.Tensor,
    unnormalized_heights: tf.Tensor,
    unnormalized_derivatives: tf.Tensor,
    bound: float,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Evaluates splines (Durkan et al. 2019, Eqs. 4, 5): value and log-slope, of the shape of x.
    Arguments as in `spline_knots`.
    """
    weights = (unnormalized_widths, unnormalized_heights, unnormalized_derivatives)
    flat, weights = _flatten(x, weights)
    value, log_slope = _spline(flat, weights, bound)
    return tf.reshape(value, (-1, *x.shape[1:])), tf.reshape(log_slope, (-1, *x.shape[1:]))


def rational_quadratic_spline_inverse(
    z: tf.Tensor,
    unnormalized_widths: tf.Tensor,
    unnormalized_heights: tf.Tensor,
    unnormalized_derivatives: tf.Tensor,
    bound: float,
) -> tf.Tensor:
    """Inverts splines in closed form (Durkan et al. 2019, Eqs. 6-8). Arguments as in
    `spline_knots`.
    """
    weights = (unnormalized_widths, unnormalized_heights, unnormalized_derivatives)
    x = tf.slice(_inverse_spline(_pad_rows(z), weights, bound), [0] * z.shape.rank, tf.shape(z))
    x.set_shape(z.shape)
    return x


def _pad_rows(x):
    """Adds rows of zeros up to a power of two: XLA compiles for every number of rows anew."""
    rows = tf.shape(x)[:1, None]
    exponent = tf.raw_ops.LowerBound(sorted_inputs=[_POWERS], values=rows)
    padded = tf.pad(x, (2**exponent - rows) * tf.constant([[0, 1]] + [[0, 0]] * (x.shape.rank - 1)))
    padded.set_shape((None, *x.shape[1:]))
    return padded


def _flatten(x, weights):
    """All elements of an event on one axis, over which TensorFlow broadcasts fastest."""
    elements = math.prod(x.shape[1:])
    return tf.reshape(x, (-1, elements)), [
        tf.reshape(weight, (elements, weight.shape[-1])) for weight in weights
    ]


def _spline(x, weights, bound):
    knots_x, knots_y, slopes = spline_knots(*weights, bound=bound)
    inside, position = _inside(x, knots_x)
    left, width, bottom, height, s, d, c = _bins_at(position, knots_x, knots_x, knots_y, slopes)
    t = (position - left) / width
    e = s - d
    denominator = s + c * (t * (1 - t))
    value = bottom + height * (t * (d + e * t)) / denominator
    log_slope = tf.math.log((d + t * (2 * e + c * t)) * tf.square(s / denominator))
    return tf.where(inside, value, x), tf.where(inside, log_slope, tf.zeros_like(x))


# One loop for all of it: without XLA a sample spends most of its time here.
@tf.function(jit_compile=True)
def _inverse_spline(latents, weights, bound):
    z, weights = _flatten(latents, weights)
    knots_x, knots_y, slopes = spline_knots(*weights, bound=bound)
    inside, position = _inside(z, knots_y)
    left, width, bottom, height, s, d, c = _bins_at(position, knots_y, knots_x, knots_y, slopes)
    rise = position - bottom
    a = height * (s - d) + rise * c
    b = height * d - rise * c
    twice = 2 * s * rise
    # Positive for every increasing spline; rounding alone can push it below 0.
    discriminant = tf.maximum(tf.square(b) + 2 * a * twice, 0)
    x = tf.where(inside, left + width * twice / (b + tf.sqrt(discriminant)), z)
    return tf.reshape(x, tf.shape(latents))


def _inside(x, knots):
    """Which x lie on the spline, and those, with 0 for the others."""
    inside = (x > knots[0]) & (x < knots[-1])
    return inside, tf.where(inside, x, tf.zeros_like(x))


def _bins_at(position, edges, knots_x, knots_y, slopes):
    """Left, width, bottom, height, s, d and c of the formulas above, for the bin between `edges`
    that each position falls in.
    """
    width, height = knots_x[1:] - knots_x[:-1], knots_y[1:] - knots_y[:-1]
    s, d = height / width, slopes[:-1]
    tables = (knots_x[:-1], width, knots_y[:-1], height, s, d, d + slopes[1:] - 2 * s)
    beyond = [position >= edge for edge in tf.unstack(edges[1:-1])]
    # By comparison with every edge: the gradient of a gather would scatter.
    found = []
    for table in tables:
        first, *others = tf.unstack(table)
        entry = tf.broadcast_to(first, tf.shape(position))
        for is_beyond, other in zip(beyond, others, strict=True):
            entry = tf.where(is_beyond, other, entry)
        found.append(entry)
    return found
