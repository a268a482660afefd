"""Monotone rational-quadratic splines (Durkan et al. 2019, "Neural Spline Flows"), one an element.

On [-bound, bound] the spline has K bins with knots (x_k, y_k), x_0 = y_0 = -bound, and slopes d_k
at the knots, 1 at both ends. Outside it is the identity. Parameterisation: widths and heights `2
bound (m + (1 - m K) softmax(u))` with m = 1e-3, inner slopes `m + softplus(u + log(exp(1 - m) -
1))`, so that u = 0 is the identity.

In a bin of width w, height h and slope s = h / w, with t = (x - x_k) / w, e = s - d_k and c = d_k +
d_{k+1} - 2 s, the value is `y_k + h t (d_k + e t) / (s + c t (1 - t))` (Eq. 4), its slope `s^2 (d_k
+ 2 e t + c t^2) / (s + c t (1 - t))^2` (Eq. 5).

A circular spline has the same slope at both ends, learned as the others. It is continued to all
reals by `f(x + 2 bound) = f(x) + 2 bound`: a smooth map of a circle (Rezende et al. 2020).

All take x as `(batch,) + event_shape` and parameters of shape `event_shape + (n,)`, shared by the
rows of x, or `(batch,) + event_shape + (n,)`, one set for each row.
"""

import functools
import math

import tensorflow as tf

from snf_tf._checks import check_number
from snf_tf.ops.portable import is_portable
from snf_tf.ops.spline_bins import all_knots, inverse_spline, spline

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
    check_number("bound", bound, above=0)
    knots = all_knots(unnormalized_widths, unnormalized_heights, unnormalized_derivatives, bound)
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
        ValueError: If the shapes of x and the parameters do not match, or there are not as many
            derivatives as said.

    Example:
        >>> parameters = [tf.zeros((2, n)) for n in (5, 5, 4)]
        >>> x = tf.constant([[0.25, -3.0]])
        >>> z, log_slope = snf_tf.ops.rational_quadratic_spline(x, *parameters, 5.0)
        >>> z.numpy().tolist()
        [[0.25, -3.0]]
    """
    check_number("bound", bound, above=0)
    parameters = (unnormalized_widths, unnormalized_heights, unnormalized_derivatives)
    _check_derivatives(parameters, parameters[0].shape[-1] - 1)
    return _forward(x, parameters, bound)


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
    check_number("bound", bound, above=0)
    parameters = (unnormalized_widths, unnormalized_heights, unnormalized_derivatives)
    _check_derivatives(parameters, parameters[0].shape[-1] - 1)
    return _inverse(z, parameters, bound)


def circular_spline(
    x: tf.Tensor,
    unnormalized_widths: tf.Tensor,
    unnormalized_heights: tf.Tensor,
    unnormalized_derivatives: tf.Tensor,
    bound: float,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Evaluates circular splines of the period 2 bound (Rezende et al. 2020, section 2.1).

    They map [-bound, bound) to itself; -bound stays where it is.

    Args:
        x: `(batch,) + event_shape`.
        unnormalized_widths: `event_shape + (bins,)` or `(batch,) + event_shape + (bins,)`.
        unnormalized_heights: The same shape.
        unnormalized_derivatives: The same shape; the first is that of both ends.
        bound: Half the period.

    Returns:
        `(value, log_slope)`, each of the shape of x; not a number, where x is not finite.

    Raises:
        ValueError: If the shapes of x and the parameters do not match, or there are not as many
            derivatives as bins.

    Example:
        >>> parameters = [tf.ones((2, 4))] * 3
        >>> z, _ = snf_tf.ops.circular_spline(tf.constant([[0.25, 2.25]]), *parameters, 1.0)
        >>> bool(abs(z[0, 1] - z[0, 0] - 2.0) < 1e-6)
        True
    """
    check_number("bound", bound, above=0)
    parameters = (unnormalized_widths, unnormalized_heights, unnormalized_derivatives)
    _check_derivatives(parameters, parameters[0].shape[-1])
    start = _start_of_period(x, bound)
    value, log_slope = _forward(x - start, parameters, bound)
    return value + start, log_slope


def circular_spline_inverse(
    z: tf.Tensor,
    unnormalized_widths: tf.Tensor,
    unnormalized_heights: tf.Tensor,
    unnormalized_derivatives: tf.Tensor,
    bound: float,
) -> tf.Tensor:
    """Inverts circular splines in closed form.

    Arguments and errors as in `circular_spline`, with z for x; returns x.
    """
    check_number("bound", bound, above=0)
    parameters = (unnormalized_widths, unnormalized_heights, unnormalized_derivatives)
    _check_derivatives(parameters, parameters[0].shape[-1])
    start = _start_of_period(z, bound)
    return _inverse(z - start, parameters, bound) + start


def _start_of_period(x, bound):
    """Returns the multiple of the period to subtract from x, without a gradient."""
    return 2 * bound * tf.floor((x + bound) / (2 * bound))


def _check_derivatives(parameters, count):
    bins, given = parameters[0].shape[-1], parameters[2].shape[-1]
    if given != count:
        raise ValueError(
            f"This spline of {bins} bins takes {count} derivatives: a circular one as many as "
            f"bins, others one less. Received: {given} derivatives"
        )


def _forward(x, parameters, bound):
    has_rows = _have_rows(parameters, x)
    # XLA wins, but where a gradient sums by bin over rows.
    value, log_slope = _share(spline, x, parameters, bound, compiled=has_rows)
    return value, log_slope


def _inverse(z, parameters, bound):
    (x,) = _share(inverse_spline, z, parameters, bound, compiled=True)
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


def _share(function, x, parameters, bound, compiled):
    """Calls a function with x as `(rows, splines)`, the parameters as `(splines, n)`, and bound.

    Returns the results in the shape of x, as a list.
    """
    compiled = compiled and not is_portable()
    has_rows = _have_rows(parameters, x)
    splines = None if has_rows else math.prod(x.shape[1:])
    counts = tuple(parameter.shape[-1] for parameter in parameters)
    given = _pad_rows(x) if compiled else x
    if compiled and has_rows:
        parameters = tuple(map(_pad_rows, parameters))
    flat = tf.reshape(given, (1, -1) if has_rows else (-1, splines))
    parameters = [tf.reshape(parameter, (-1, parameter.shape[-1])) for parameter in parameters]
    traced = _traced(function, splines, counts, bound, x.dtype, compiled)
    results = []
    for result in tf.nest.flatten(traced(flat, *parameters)):
        result = tf.reshape(result, (-1, *x.shape[1:]))
        result = result[: tf.shape(x)[0]] if compiled else result
        result.set_shape(x.shape)
        results.append(result)
    return results


# Layers of one shape share one graph: most of a flow's start-up is the tracing of its splines.
@functools.lru_cache(maxsize=64)
def _traced(function, splines, counts, bound, dtype, compiled):
    shapes = [(None, splines), *((splines, count) for count in counts)]
    signature = [tf.TensorSpec(shape, dtype) for shape in shapes]
    return tf.function(
        functools.partial(function, bound=bound),
        input_signature=signature,
        autograph=False,
        jit_compile=compiled,
    )
