"""Monotone rational-quadratic splines (Durkan et al. 2019, "Neural Spline Flows"), one an element.

On [-bound, bound] the spline has K bins with knots (x_k, y_k), x_0 = y_0 = -bound, and slopes d_k at the knots, 1 at both ends.
Outside it is the identity. Parameterisation: widths and heights `2 bound (m + (1 - m K) softmax(u))` with m = 1e-3, inner slopes
`m + softplus(u + log(exp(1 - m) - 1))`, so that u = 0 is the identity.
"""

import itertools
import math

import tensorflow as tf

_MINIMUM = 1e-3


def spline_knots(
    unnormalized_widths: tf.Tensor, unnormalized_heights: tf.Tensor, unnormalized_derivatives: tf.Tensor, bound: float
) -> tuple[list[tf.Tensor], list[tf.Tensor], list[tf.Tensor]]:
    """Computes the knots of splines from unconstrained parameters.

    Args:
        unnormalized_widths: `event_shape + (bins,)`.
        unnormalized_heights: `event_shape + (bins,)`.
        unnormalized_derivatives: `event_shape + (bins - 1,)`.
        bound: The splines are the identity outside [-bound, bound].

    Returns:
        `(x, y, slopes)`: three lists of bins + 1 tensors of shape `event_shape`.
    """
    x = _cumulative(unnormalized_widths, bound)
    y = _cumulative(unnormalized_heights, bound)
    shift = math.log(math.exp(1 - _MINIMUM) - 1)
    inner = _MINIMUM + tf.math.softplus(unnormalized_derivatives + shift)
    end = tf.ones_like(x[0])
    return x, y, [end, *tf.unstack(inner, axis=-1), end]


def _cumulative(unnormalized, bound):
    bins = unnormalized.shape[-1]
    sizes = 2 * bound * (_MINIMUM + (1 - _MINIMUM * bins) * tf.nn.softmax(unnormalized))
    inner = tf.unstack(-bound + tf.cumsum(sizes, axis=-1), axis=-1)[:-1]
    end = bound * tf.ones_like(sizes[..., 0])
    return [-end, *inner, end]


def _select(position: tf.Tensor, edges: list[tf.Tensor], *tables: list[tf.Tensor]) -> list[tf.Tensor]:
    """Looks up, element by element, the entries of the tables for the bin that `position` falls in."""
    found = [tf.broadcast_to(table[0], tf.shape(position)) for table in tables]
    for k, edge in enumerate(edges[1:-1], start=1):
        beyond = position >= edge
        found = [tf.where(beyond, table[k], entry) for table, entry in zip(tables, found, strict=True)]
    return found


def rational_quadratic_spline(
    x: tf.Tensor, knots_x: list[tf.Tensor], knots_y: list[tf.Tensor], slopes: list[tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Evaluates splines (Durkan et al. 2019, Eqs. 4, 5): `(batch,) + event_shape` -> value and log-slope of the same shape."""
    inside = (x > knots_x[0]) & (x < knots_x[-1])
    position = tf.where(inside, x, tf.zeros_like(x))
    left, width, bottom, height, d0, d1 = _bins(position, knots_x, knots_x, knots_y, slopes)
    slope = height / width
    t = (position - left) / width
    u = t * (1 - t)
    denominator = slope + (d0 + d1 - 2 * slope) * u
    value = bottom + height * (slope * tf.square(t) + d0 * u) / denominator
    log_slope = (
        2 * tf.math.log(slope)
        + tf.math.log(d1 * tf.square(t) + 2 * slope * u + d0 * tf.square(1 - t))
        - 2 * tf.math.log(denominator)
    )
    return tf.where(inside, value, x), tf.where(inside, log_slope, tf.zeros_like(x))


def rational_quadratic_spline_inverse(
    z: tf.Tensor, knots_x: list[tf.Tensor], knots_y: list[tf.Tensor], slopes: list[tf.Tensor]
) -> tf.Tensor:
    """Inverts splines in closed form (Durkan et al. 2019, Eqs. 6-8)."""
    inside = (z > knots_y[0]) & (z < knots_y[-1])
    position = tf.where(inside, z, tf.zeros_like(z))
    left, width, bottom, height, d0, d1 = _bins(position, knots_y, knots_x, knots_y, slopes)
    slope = height / width
    rise = position - bottom
    curvature = rise * (d0 + d1 - 2 * slope)
    a = height * (slope - d0) + curvature
    b = height * d0 - curvature
    c = -slope * rise
    # Positive for every increasing spline; rounding alone can push it below 0.
    discriminant = tf.maximum(tf.square(b) - 4 * a * c, 0)
    root = 2 * c / (-b - tf.sqrt(discriminant))
    return tf.where(inside, root * width + left, z)


def _bins(position, edges, knots_x, knots_y, slopes):
    widths = [right - left for left, right in itertools.pairwise(knots_x)]
    heights = [top - bottom for bottom, top in itertools.pairwise(knots_y)]
    return _select(position, edges, knots_x[:-1], widths, knots_y[:-1], heights, slopes[:-1], slopes[1:])
