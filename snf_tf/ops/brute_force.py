"""log|det(I + J)| of x + g(x) by the whole Jacobian J of g, for few dimensions."""

import tensorflow as tf

from snf_tf.ops.jacobian_products import RESIDUAL, Map, Products, Terms


def brute_force_log_det(
    function: Map, x: tf.Tensor, dtype: tf.DType | None = None, terms: Terms = RESIDUAL
) -> tf.Tensor:
    """Computes log|det(I + J)| exactly, by the whole Jacobian J of function at x.

    Args:
        function: Maps x to g(x), of the same shape.
        x: `(batch,) + event_shape`, of D numbers each.
        dtype: Of the result; by default that of x.
        terms: `(f, s)` of the sum of `f log|det(I + s J)|` that is computed.

    Returns:
        `(batch,)`. The cost is that of D gradients of the function, up to 64 of them at once.

    Example:
        >>> log_det = snf_tf.ops.brute_force_log_det(lambda x: 0.5 * x, tf.ones((1, 2)))
        >>> bool(abs(log_det[0] - 2 * np.log(1.5)) < 1e-6)
        True
    """
    x = tf.convert_to_tensor(x)
    jacobian = tf.cast(_jacobian(function, x), dtype or x.dtype)
    eye = tf.eye(jacobian.shape[-1], dtype=jacobian.dtype)
    return tf.add_n([factor * _log_abs_det(eye + sign * jacobian) for factor, sign in terms])


def _log_abs_det(matrices):
    if matrices.shape[-1] == 1:
        return tf.math.log(tf.abs(matrices[:, 0, 0]))
    if matrices.shape[-1] == 2:
        # Thousands of tiny LU factorizations would take most of the time of a step.
        diagonal = matrices[:, 0, 0] * matrices[:, 1, 1]
        return tf.math.log(tf.abs(diagonal - matrices[:, 0, 1] * matrices[:, 1, 0]))
    return tf.linalg.slogdet(matrices)[1]


# Gradients of few outputs are computed from one call of the function, those of more from copies.
_FEW, _COPIES = 4, 64


def _jacobian(function, x):
    """Computes `(batch, D, D)`, rows of gradients of the outputs."""
    size = 1
    for length in x.shape[1:]:
        size *= length
    shape = tf.shape(x)
    units = tf.eye(size, dtype=x.dtype)
    if size <= _FEW:
        products = Products(function, x)
        rows = [
            products.transposed(tf.broadcast_to(tf.reshape(unit, (1, *x.shape[1:])), shape))
            for unit in tf.unstack(units)
        ]
        return tf.stack([tf.reshape(row, (-1, size)) for row in rows], axis=1)

    def gradients(units):
        count = tf.shape(units)[0]
        copies = tf.repeat(x, count, axis=0)
        products = Products(function, tf.ensure_shape(copies, (None, *x.shape[1:])))
        cotangents = tf.reshape(tf.tile(units, (shape[0], 1)), tf.shape(copies))
        return tf.reshape(products.transposed(cotangents), (shape[0], count, size))

    if size <= _COPIES:
        return tf.ensure_shape(gradients(units), (x.shape[0], size, size))
    rest = size % _COPIES
    chunks = tf.reshape(units[rest:], (-1, _COPIES, size))
    parts = tf.map_fn(gradients, chunks, fn_output_signature=x.dtype)
    rows = tf.reshape(tf.transpose(parts, (1, 0, 2, 3)), (shape[0], size - rest, size))
    if rest:
        rows = tf.concat([gradients(units[:rest]), rows], axis=1)
    return tf.ensure_shape(rows, (x.shape[0], size, size))
