"""The self normalizing gradient of a general map f with a learned inverse g (SNF section 3).

With J the Jacobian of f at x, G that of g at z = f(x), and a probe v, E[v v^T] = I::

    d log|det J| = tr(J^-1 dJ) ~ E[v^T A G dJ v],      A = sum_k c_k E^k,  E = I - G J

A = I is the gradient of the paper, biased where g is not exact. A power series by Russian roulette
makes it unbiased, whatever g is, if the spectral radius of E is below 1. For g = identity and
f = x + h(x) it is the Neumann gradient of Residual Flows.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from snf_tf.ops.custom_gradient import custom_gradient
from snf_tf.ops.fixed_point import fixed_point
from snf_tf.ops.jacobian_products import Products, forward_product, inner
from snf_tf.ops.newton_krylov import Root, least_residual, newton_krylov

# How far I - G J contracts is not known: this makes errors of residuals.
_CONTRACTION = 0.5
# Steps of the fixed point, after which Newton's method goes on.
_STEPS = 100
# Krylov spaces of a linear system, one after the other.
_RESTARTS = 20
# Residuals of so many rounding errors are aimed at, and are taken for none.
_AIM, _TOLERANCE = 4.0, 100.0
Network = Callable[..., tf.Tensor]
Estimator = Callable[[Callable, tf.Tensor, Callable], tf.Tensor]


class LearnedPair(NamedTuple):
    """A map and its learned inverse in a training call.

    Attributes:
        z: f(x).
        log_det: `(batch,)` zeros, with a gradient of log|det J|.
        error: |g(f(x)) - x|^2, `(batch,)`; x receives no gradient of it.
    """

    z: tf.Tensor
    log_det: tf.Tensor
    error: tf.Tensor


def learned_pair(
    forward: Network,
    inverse: Network,
    x: tf.Tensor,
    values: Sequence[tf.Tensor],
    inverse_values: Sequence[tf.Tensor],
    log_det: Estimator,
    probe: tf.Tensor | None = None,
    dtype: tf.DType | None = None,
    context: tf.Tensor | None = None,
) -> LearnedPair:
    """Computes f(x) with the gradients of a self normalizing pair (SNF Eqs. 3 to 5).

    With a probe f and g share the likelihood's gradient by halves, as in the paper: with the
    cotangents dz and dl, and dx = J^T dz, ::

        d values         = 1/2 (dz^T df + dl v^T G dJ v)
        d inverse_values = 1/2 (-dx^T dg - dl v^T dG J v)
        dx               = J^T dz + dl d(v^T G J v) / dx         (not halved)

    A context gets the gradients of z and log_det, as x does. Without a probe values get the whole
    gradient, and inverse_values that of the error alone.

    Args:
        forward: Maps `(x, *values)` to z, of the shape of x; or `([x, context], *values)`.
        inverse: Maps `(z, *inverse_values)` to about x.
        x: `(batch,) + event_shape`.
        values: What f is made of: tensors that receive gradients.
        inverse_values: What g is made of.
        log_det: Maps `(f, x, g)` to `(batch,)`, of which the gradient counts alone; such as
            `power_series`.
        probe: v of the gradient of g, of the shape of x.
        dtype: Of log_det and error; by default that of x.
        context: `(batch, ...)`, or None.

    Returns:
        A `LearnedPair`, linear in the cotangents of every example.
    """
    x = tf.convert_to_tensor(x)
    dtype = dtype or x.dtype
    count, total = len(values), len(values) + len(inverse_values)
    share = 1.0 if probe is None else 0.5

    given = [] if context is None else [tf.convert_to_tensor(context)]

    @custom_gradient
    def apply(x, *rest):
        given, both = list(rest[: len(rest) - total]), rest[len(rest) - total :]
        own, others = list(both[:count]), list(both[count:])

        def f(x):
            return forward(beside(x, *given), *own)

        def g(z):
            return inverse(beside(z, *given), *others)

        def fixed_g(z):
            return inverse(beside(z, *given), *map(tf.stop_gradient, others))

        with tf.GradientTape(persistent=True) as tape:
            tape.watch([x, *rest])
            z = f(x)
            surrogate = log_det(f, x, fixed_g)
            back = g(z)
            difference = tf.cast(back, dtype) - tf.cast(tf.stop_gradient(x), dtype)
            error = inner(difference, difference, dtype)
            if probe is not None:
                opposite = _opposite(f, g, x, tf.cast(probe, x.dtype), dtype)

        def grad(dz, dl, de):
            def gradient(of, cotangent, by):
                return tape.gradient(of, by, cotangent, unconnected_gradients="zero")

            receivers = [x, *given, *own]
            of_z = gradient(z, dz, receivers)
            dx, *of_inputs = _sum(of_z, gradient(surrogate, dl, receivers))
            of_given = of_inputs[: len(given)]
            of_own = [share * part for part in of_inputs[len(given) :]]
            of_others = [tf.zeros_like(part) for part in others]
            if probe is not None:
                of_others = _sum(gradient(back, -of_z[0], others), gradient(opposite, -dl, others))
                of_others = [share * part for part in of_others]
            of_error = gradient(error, de, [*own, *others])
            return dx, *of_given, *_sum([*of_own, *of_others], of_error)

        return (tf.identity(z), tf.zeros_like(error), tf.identity(error)), grad

    weights = map(tf.convert_to_tensor, [*values, *inverse_values])
    return LearnedPair(*apply(x, *given, *weights))


def beside(x: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor | list[tf.Tensor]:
    """Returns `[x, context]`, or x where there is no context.

    Of an x of more rows, copies of every row follow each other, as in the whole Jacobian.
    """
    if context is None:
        return x
    copies = tf.shape(x)[0] // tf.maximum(tf.shape(context)[0], 1)
    return [x, tf.repeat(context, copies, axis=0)]


def pair_inverse(
    forward: Network,
    inverse: Network,
    z: tf.Tensor,
    values: Sequence[tf.Tensor],
) -> Root:
    """Solves f(x) = z by `x <- x + g(z) - g(f(x))`, accelerated by `snf_tf.ops.fixed_point`.

    Where I - G J does not contract, the iteration may fail: `newton_krylov` then goes on. The
    gradient is that of the implicit function, `J^T a = dx`, from Krylov spaces of J^T G^T.

    Args:
        forward: As in `learned_pair`.
        inverse: Maps z to about x; what it is made of receives no gradient.
        z: `(batch,) + event_shape`.
        values: As there.

    Returns:
        A `Root`. It has converged where `|f(x) - z|` is at most 100 rounding errors of
        `sqrt(1 + |z|^2 + |g(z)|^2)`: not of x, as far away any residual is a rounding error.
    """

    @custom_gradient
    def apply(z, *own):
        dtype = z.dtype

        def f(x):
            return forward(x, *own)

        start = inverse(z)
        size = tf.sqrt(1.0 + inner(z, z, dtype) + inner(start, start, dtype))
        limit = _TOLERANCE * np.finfo(dtype.as_numpy_dtype).eps * size
        found = fixed_point(
            lambda x: x + start - inverse(f(x)), start, _CONTRACTION, max_steps=_STEPS
        )
        difference = f(found.value) - z
        residual = tf.sqrt(inner(difference, difference, dtype))
        converged = tf.reduce_all(residual <= limit)

        def newton():
            # An example that the iteration has lost begins anew.
            difference = f(start) - z
            kept = residual**2 <= inner(difference, difference, dtype)
            shape = [-1] + [1] * (z.shape.rank - 1)
            begin = tf.where(tf.reshape(kept, shape), found.value, start)
            root = newton_krylov(f, z, begin, inverse, limit * (_AIM / _TOLERANCE))
            converged = tf.reduce_all(root.residual <= limit)
            return root._replace(steps=root.steps + found.steps, converged=converged)

        root = tf.cond(
            converged, lambda: Root(found.value, found.steps, residual, converged), newton
        )
        x = tf.stop_gradient(root.value)

        def grad(dx, *_):
            with tf.GradientTape() as tape:
                tape.watch([x, *own])
                image = f(x)
            products = Products(f, x, inverse)
            b = _solve(lambda w: products.transposed(products.inverse_transposed(w)), dx)
            a = products.inverse_transposed(b)
            of_values = tape.gradient(image, list(own), -a, unconnected_gradients="zero")
            return a, *of_values

        return tuple(root), grad

    return Root(*apply(*map(tf.convert_to_tensor, [z, *values])))


def _solve(product, y):
    """Solves a linear system to rounding errors, by Krylov spaces one after the other."""
    dtype = y.dtype
    relative = _TOLERANCE * np.finfo(dtype.as_numpy_dtype).eps
    # Of length 1: squares of small numbers vanish.
    size = tf.reshape(
        tf.reduce_max(tf.abs(y), axis=list(range(1, y.shape.rank))), [-1] + [1] * (y.shape.rank - 1)
    )
    y = tf.math.divide_no_nan(y, size)
    length = inner(y, y, dtype)

    def goes_on(step, x, left):
        return (step < _RESTARTS) & tf.reduce_any(inner(left, left, dtype) > relative**2 * length)

    def advance(step, x, left):
        x += least_residual(product, left, 0.1 * relative).value
        return step + 1, x, y - product(x)

    _, x, left = tf.while_loop(goes_on, advance, (tf.constant(0), tf.zeros_like(y), y))
    # What is not solved, or was NaN, is no gradient.
    solved = inner(left, left, dtype) <= relative * length
    return tf.where(tf.reshape(solved, tf.shape(size)), size * x, np.nan)


def inverse_log_det(
    function: Callable, x: tf.Tensor, inverse: Callable, probe: tf.Tensor, dtype: tf.DType
) -> tf.Tensor:
    """Returns zeros `(batch,)` with the gradient v^T G dJ v: the estimator of the paper."""
    products = Products(function, x, inverse)
    probe = tf.cast(probe, x.dtype)
    return products.with_gradient(tf.zeros(tf.shape(x)[:1], dtype), probe, probe)


def jacobian_error(
    function: Callable, x: tf.Tensor, inverse: Callable, probe: tf.Tensor, dtype: tf.DType
) -> tf.Tensor:
    """Computes |G J v - v|^2 (SNF Eq. 31), `(batch,)`, with a gradient to what inverse is made of.

    Args:
        function: f.
        x: `(batch,) + event_shape`.
        inverse: g.
        probe: v, of the shape of x.
        dtype: Of the result.
    """
    probe = tf.cast(probe, x.dtype)
    image = tf.stop_gradient(function(x))
    tangent = tf.stop_gradient(forward_product(function, x, probe))
    difference = forward_product(inverse, image, tangent) - probe
    return inner(difference, difference, dtype)


def _opposite(f, g, x, probe, dtype):
    """Returns v^T G J v with the gradient of G alone, `(batch,)`."""
    z = tf.stop_gradient(f(x))
    tangent = tf.stop_gradient(forward_product(f, x, probe))
    with tf.GradientTape() as tape:
        tape.watch(z)
        back = g(z)
    transposed = tape.gradient(back, z, probe, unconnected_gradients="zero")
    return inner(transposed, tangent, dtype)


def _sum(first, second):
    return [a + b for a, b in zip(first, second, strict=True)]
