"""Backward-in-forward: the gradient of a log-determinant in the forward pass (RF section 3.2)."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from snf_tf.ops.custom_gradient import custom_gradient
from snf_tf.ops.jacobian_products import Map


def early_gradients(
    function: Callable[..., tf.Tensor],
    x: tf.Tensor,
    values: Sequence[tf.Tensor],
    log_det: Callable[[Map, tf.Tensor], tf.Tensor],
) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes g(x) and its log|det|, whose gradient is computed at once (RF section 3.2, Eq. 9).

    The graph of the log-determinant is dropped before the next layer begins. Backpropagation scales
    what was kept: sums over the batch for values, and one number for each of x. If the cotangents
    of the examples differ, the gradient of values is computed anew, from the same probe.

    Args:
        function: Maps `(x, *values)` to g(x).
        x: `(batch,) + event_shape`.
        values: What the function is made of: tensors that receive gradients.
        log_det: Maps `(g, x)` to `(batch,)`, with a gradient; such as `series_log_det`.

    Returns:
        `(g(x), log_det)`.
    """
    x = tf.convert_to_tensor(x)
    values = [tf.convert_to_tensor(value) for value in values]

    @custom_gradient
    def apply(x, *values):
        def estimate():
            return log_det(lambda x: function(x, *values), x)

        with tf.GradientTape() as tape:
            tape.watch([x, *values])
            found = estimate()
        early_x, *early = tape.gradient(found, [x, *values], unconnected_gradients="zero")
        early_x = tf.stop_gradient(early_x)
        early = [tf.stop_gradient(part) for part in early]
        with tf.GradientTape() as path:
            path.watch([x, *values])
            y = function(x, *values)

        def grad(dy, dl):
            dx, *direct = path.gradient(y, [x, *values], dy, unconnected_gradients="zero")
            scale = tf.reduce_max(dl)

            def anew():
                with tf.GradientTape() as again:
                    again.watch(list(values))
                    found = estimate()
                return again.gradient(found, list(values), dl, unconnected_gradients="zero")

            def scaled():
                return [tf.cast(scale, part.dtype) * part for part in early]

            if values:
                weighted = tf.cond(tf.reduce_all(tf.equal(dl, scale)), scaled, anew)
                direct = [a + b for a, b in zip(direct, weighted, strict=True)]
            rows = tf.reshape(tf.cast(dl, x.dtype), [-1] + [1] * (x.shape.rank - 1))
            return dx + rows * early_x, *direct

        return (tf.identity(y), tf.identity(found)), grad

    return apply(x, *values)
