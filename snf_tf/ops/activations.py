"""Element-wise increasing functions with their log-slopes and inverses.

Each function `f` returns `(f(x), log f'(x))`, both of the shape of x; each `f_inverse` returns x.
"""

import math

import tensorflow as tf

from snf_tf._checks import check_number
from snf_tf.ops.monotone import monotone_inverse


def leaky_relu(x: tf.Tensor, alpha: float) -> tuple[tf.Tensor, tf.Tensor]:
    """`max(x, 0) + alpha min(x, 0)`."""
    check_number("alpha", alpha, above=0)
    negative = x < 0
    return tf.where(negative, alpha * x, x), tf.where(
        negative, math.log(alpha) * tf.ones_like(x), tf.zeros_like(x)
    )


def leaky_relu_inverse(z: tf.Tensor, alpha: float) -> tf.Tensor:
    """The inverse of `leaky_relu`."""
    check_number("alpha", alpha, above=0)
    return tf.where(z < 0, z / alpha, z)


def smooth_leaky_relu(x: tf.Tensor, alpha: float) -> tuple[tf.Tensor, tf.Tensor]:
    """`alpha x + (1 - alpha) softplus(x)` (Gresele et al. 2020)."""
    check_number("alpha", alpha, above=0)
    return alpha * x + (1 - alpha) * tf.math.softplus(x), tf.math.log(
        _smooth_leaky_relu_slope(x, alpha)
    )


def smooth_leaky_relu_inverse(z: tf.Tensor, alpha: float) -> tf.Tensor:
    """The inverse of `smooth_leaky_relu`, to float tolerance."""
    # 0 <= softplus(x) - max(x, 0) <= log 2 puts f between leaky_relu and leaky_relu + (1 - alpha)
    # log 2. For alpha < 1 f is convex and the first bound lies right of the root, from where
    # Newton's steps go down to it without overshooting.
    check_number("alpha", alpha, above=0)
    start = leaky_relu_inverse(z, alpha)
    other = leaky_relu_inverse(z - (1 - alpha) * math.log(2), alpha)

    def function(x):
        return alpha * x + (1 - alpha) * tf.math.softplus(x), _smooth_leaky_relu_slope(x, alpha)

    return monotone_inverse(function, z, start, tf.minimum(start, other), tf.maximum(start, other))


def _smooth_leaky_relu_slope(x, alpha):
    return alpha + (1 - alpha) * tf.sigmoid(x)


def smooth_tanh(x: tf.Tensor, alpha: float, beta: float) -> tuple[tf.Tensor, tf.Tensor]:
    """`tanh(alpha x) + beta x`."""
    check_number("alpha", alpha, above=0)
    check_number("beta", beta, above=0)
    value, slope = _smooth_tanh(x, alpha, beta)
    return value, tf.math.log(slope)


def smooth_tanh_inverse(z: tf.Tensor, alpha: float, beta: float) -> tf.Tensor:
    """The inverse of `smooth_tanh`, to float tolerance."""
    # |f(x)| <= (alpha + beta) |x| and |f(x)| <= 1 + beta |x|: both bounds lie between 0 and the
    # root, on whose side f bends away from its tangents, so that Newton's steps from the outer one
    # go out to the root without overshooting.
    check_number("alpha", alpha, above=0)
    check_number("beta", beta, above=0)
    size = tf.abs(z)
    inner = tf.maximum(size / (alpha + beta), (size - 1) / beta)
    outer = size / beta
    sign = tf.sign(z)
    return monotone_inverse(
        lambda x: _smooth_tanh(x, alpha, beta),
        z,
        sign * inner,
        tf.minimum(sign * inner, sign * outer),
        tf.maximum(sign * inner, sign * outer),
    )


def _smooth_tanh(x, alpha, beta):
    tanh = tf.tanh(alpha * x)
    return tanh + beta * x, beta + alpha * (1 - tf.square(tanh))
