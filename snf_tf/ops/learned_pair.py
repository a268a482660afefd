"""The self normalizing gradient of a general map f with a learned inverse g (SNF section 3).

With J the Jacobian of f at x, G that of g at z = f(x), and a probe v, E[v v^T] = I::

    d log|det J| = tr(J^-1 dJ) ~ E[v^T A G dJ v],      A = sum_k c_k E^k,  E = I - G J

A = I is the gradient of the paper, biased where g is not exact. A power series by Russian roulette
makes it unbiased, whatever g is, if the spectral radius of E is below 1. For g = identity and
f = x + h(x) it is the Neumann gradient of Residual Flows.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from snf_tf.ops.fixed_point import FixedPoint, fixed_point
from snf_tf.ops.jacobian_products import Products, forward_product, inner

# How far I - G J contracts is not known: this makes errors of residuals.
_CONTRACTION = 0.5
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
) -> LearnedPair:
    """Computes f(x) with the gradients of a self normalizing pair (SNF Eqs. 3 to 5).

    With a probe f and g share the likelihood's gradient by halves, as in the paper: with the
    cotangents dz and dl, and dx = J^T dz, ::

        d values         = 1/2 (dz^T df + dl v^T G dJ v)
        d inverse_values = 1/2 (-dx^T dg - dl v^T dG J v)
        dx               = J^T dz + dl d(v^T G J v) / dx         (not halved)

    Without one, values get the whole gradient, and inverse_values that of the error alone.

    Args:
        forward: Maps `(x, *values)` to z, of the shape of x.
        inverse: Maps `(z, *inverse_values)` to about x.
        x: `(batch,) + event_shape`.
        values: What f is made of: tensors that receive gradients.
        inverse_values: What g is made of.
        log_det: Maps `(f, x, g)` to `(batch,)`, of which the gradient counts alone; such as
            `power_series`.
        probe: v of the gradient of g, of the shape of x.
        dtype: Of log_det and error; by default that of x.

    Returns:
        A `LearnedPair`, linear in the cotangents of every example.
    """
    x = tf.convert_to_tensor(x)
    dtype = dtype or x.dtype
    count = len(values)
    share = 1.0 if probe is None else 0.5

    @tf.custom_gradient
    def apply(x, *both):
        own, others = list(both[:count]), list(both[count:])

        def f(x):
            return forward(x, *own)

        def g(z):
            return inverse(z, *others)

        with tf.GradientTape(persistent=True) as tape:
            tape.watch([x, *both])
            z = f(x)
            surrogate = log_det(f, x, lambda z: inverse(z, *map(tf.stop_gradient, others)))
            back = g(z)
            difference = tf.cast(back, dtype) - tf.cast(tf.stop_gradient(x), dtype)
            error = inner(difference, difference, dtype)
            if probe is not None:
                opposite = _opposite(f, g, x, tf.cast(probe, x.dtype), dtype)

        def grad(dz, dl, de):
            def gradient(of, cotangent, by):
                return tape.gradient(of, by, cotangent, unconnected_gradients="zero")

            dx = gradient(z, dz, x)
            of_own = _sum(gradient(z, dz, own), gradient(surrogate, dl, own))
            of_own = [share * part for part in of_own]
            of_others = [tf.zeros_like(part) for part in others]
            if probe is not None:
                of_others = _sum(gradient(back, -dx, others), gradient(opposite, -dl, others))
                of_others = [share * part for part in of_others]
            of_error = gradient(error, de, [*own, *others])
            dx += gradient(surrogate, dl, x)
            return dx, *_sum([*of_own, *of_others], of_error)

        return (tf.identity(z), tf.zeros_like(error), tf.identity(error)), grad

    return LearnedPair(*apply(x, *map(tf.convert_to_tensor, [*values, *inverse_values])))


def pair_inverse(
    forward: Network,
    inverse: Network,
    z: tf.Tensor,
    values: Sequence[tf.Tensor],
) -> FixedPoint:
    """Solves f(x) = z by `x <- x + g(z) - g(f(x))`, accelerated by `snf_tf.ops.fixed_point`.

    The gradient is that of the implicit function: `J^T a = dx` is solved in the same way, by
    `a <- a + G^T (dx - J^T a)`. Where I - G J does not contract the iteration may fail.

    Args:
        forward: As in `learned_pair`.
        inverse: Maps z to about x; what it is made of receives no gradient.
        z: `(batch,) + event_shape`.
        values: As there.

    Returns:
        A `FixedPoint`, of which the user checks |f(x) - z|.
    """

    @tf.custom_gradient
    def apply(z, *own):
        start = inverse(z)
        found = fixed_point(lambda x: x + start - inverse(forward(x, *own)), start, _CONTRACTION)
        x = tf.stop_gradient(found.value)

        def grad(dx, *_):
            with tf.GradientTape(persistent=True) as tape:
                tape.watch([x, *own])
                image = forward(x, *own)
                apart = tf.stop_gradient(image)
                tape.watch(apart)
                back = inverse(apart)

            def through_inverse(w):
                return tape.gradient(back, apart, w, unconnected_gradients="zero")

            first = through_inverse(dx)

            def step(a):
                product = tape.gradient(image, x, a, unconnected_gradients="zero")
                return a + first - through_inverse(product)

            a = fixed_point(step, first, _CONTRACTION).value
            of_values = tape.gradient(image, list(own), -a, unconnected_gradients="zero")
            return a, *of_values

        return tuple(found), grad

    return FixedPoint(*apply(*map(tf.convert_to_tensor, [z, *values])))


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
