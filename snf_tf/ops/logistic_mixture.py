"""The logit of the distribution function of a mixture of logistics (Ho et al. 2019, "Flow++")."""

import tensorflow as tf

from snf_tf.ops.monotone import monotone_inverse

# Keeps the gradient of the inverse finite where it has no digits any more.
_LEAST_LOG_SLOPE = -60.0


def logistic_mixture(
    x: tf.Tensor, logits: tf.Tensor, means: tf.Tensor, log_scales: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes `logit(sum_k pi_k sigmoid((x - mu_k) / s_k))`, increasing from all to all reals.

    Everything is computed from logarithms: value and slope keep their digits in both tails.

    Args:
        x: Of any shape.
        logits: `x.shape + (components,)`; pi is their softmax.
        means: The same shape; mu.
        log_scales: The same shape; the logarithms of s.

    Returns:
        `(value, log_slope)`, each of the shape of x.

    Example:
        >>> components = tf.zeros((3, 5)), tf.zeros((3, 5)), tf.zeros((3, 5))
        >>> z, _ = snf_tf.ops.logistic_mixture(tf.constant([-9.0, 0.5, 40.0]), *components)
        >>> z.numpy().round(4).tolist()
        [-9.0, 0.5, 40.0]
    """
    log_pi = tf.nn.log_softmax(logits)
    u = (x[..., None] - means) * tf.exp(-log_scales)
    log_below, log_above = -tf.math.softplus(-u), -tf.math.softplus(u)
    below, above = log_pi + log_below, log_pi + log_above
    value = tf.reduce_logsumexp(below, axis=-1) - tf.reduce_logsumexp(above, axis=-1)
    # With F + S = 1 the slope pdf / (F S) is pdf / F + pdf / S, sums over the components. The
    # logarithms of pdf, F and S themselves are large in the tails, and would cancel.
    by_cdf, by_survival = tf.nn.log_softmax(below) + log_above, tf.nn.log_softmax(above) + log_below
    terms = tf.concat([by_cdf - log_scales, by_survival - log_scales], axis=-1)
    return value, tf.reduce_logsumexp(terms, axis=-1)


def logistic_mixture_inverse(
    z: tf.Tensor, logits: tf.Tensor, means: tf.Tensor, log_scales: tf.Tensor
) -> tf.Tensor:
    """Inverts `logistic_mixture` by safeguarded Newton steps, with the gradient of all arguments.

    Args:
        z: Of any shape.
        logits: As in `logistic_mixture`, with z for x.
        means: The same.
        log_scales: The same.

    Returns:
        x, of the shape of z, to the rounding of z.

    Example:
        >>> components = tf.ones((1, 2)), tf.constant([[-1.0, 1.0]]), tf.zeros((1, 2))
        >>> z, _ = snf_tf.ops.logistic_mixture(tf.constant([0.5]), *components)
        >>> round(float(snf_tf.ops.logistic_mixture_inverse(z, *components)[0]), 4)
        0.5
    """

    def function(x):
        value, log_slope = logistic_mixture(x, logits, means, log_scales)
        return value, tf.exp(tf.maximum(log_slope, _LEAST_LOG_SLOPE))

    # The quantiles of the components enclose that of the mixture.
    quantiles = tf.stop_gradient(means + tf.exp(log_scales) * z[..., None])
    start = tf.reduce_sum(tf.nn.softmax(logits) * quantiles, axis=-1)
    lower, upper = tf.reduce_min(quantiles, axis=-1), tf.reduce_max(quantiles, axis=-1)
    return monotone_inverse(function, z, start, lower, upper)
