"""Products with the Jacobian of a function, the pieces of every estimator of log|det(I + J)|."""

from collections.abc import Callable, Sequence

import tensorflow as tf

Map = Callable[[tf.Tensor], tf.Tensor]
# A sum of f log|det(I + s J)| as pairs (f, s): of x + g(x), and of monotone flows (Ahn et al.
# 2022).
Terms = Sequence[tuple[float, float]]
RESIDUAL: Terms = ((1.0, 1.0),)
MONOTONE: Terms = ((1.0, -1.0), (-1.0, 1.0))


class Products:
    """Products with the Jacobian J of a function at x, by differentiation in reverse.

    Args:
        function: Maps x to a tensor of the same shape.
        x: `(batch,) + event_shape`.
        inverse: About the inverse of function; see `series_log_det`.

    Raises:
        ValueError: If the function changes the shape of x.
    """

    def __init__(self, function: Map, x: tf.Tensor, inverse: Map | None = None):
        self._tape, self._x = tf.GradientTape(persistent=True), x
        with self._tape:
            self._tape.watch(x)
            self._y = function(x)
        if not self._y.shape.is_compatible_with(x.shape):
            raise ValueError(
                "The function must keep the shape of x. "
                f"Received: x.shape={x.shape}, function(x).shape={self._y.shape}"
            )
        self._inverse = inverse
        if inverse is not None:
            self._z, self._inverse_tape = tf.stop_gradient(self._y), tf.GradientTape(True)
            with self._inverse_tape:
                self._inverse_tape.watch(self._z)
                self._back = inverse(self._z)

    def transposed(self, w: tf.Tensor) -> tf.Tensor:
        """Computes J^T w, of the shape of x."""
        return self._tape.gradient(self._y, self._x, w, unconnected_gradients="zero")

    def power_step(self, w: tf.Tensor) -> tf.Tensor:
        """Computes J^T w, or (G J - I)^T w where there is an inverse; without a gradient."""
        w = tf.stop_gradient(w)
        if self._inverse is None:
            return tf.stop_gradient(self.transposed(w))
        return tf.stop_gradient(self.transposed(self.inverse_transposed(w)) - w)

    def inverse_transposed(self, w: tf.Tensor) -> tf.Tensor:
        """Computes G^T w, without a gradient; w itself where there is no inverse."""
        if self._inverse is None:
            return w
        found = self._inverse_tape.gradient(self._back, self._z, w, unconnected_gradients="zero")
        return tf.stop_gradient(found)

    def with_gradient(self, value: tf.Tensor, bracket: tf.Tensor, probe: tf.Tensor) -> tf.Tensor:
        """Returns value, `(batch,)`, with the gradient of bracket^T (dJ) probe."""
        cotangent = self.inverse_transposed(tf.stop_gradient(bracket))
        surrogate = inner(self.transposed(cotangent), probe, value.dtype)
        return tf.stop_gradient(value) + surrogate - tf.stop_gradient(surrogate)


def forward_product(function: Map, x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
    """Computes J w by differentiating twice in reverse: J^T u is linear in u."""
    u = tf.zeros_like(x)
    with tf.GradientTape() as outer:
        outer.watch(u)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        transposed = tape.gradient(y, x, u, unconnected_gradients="zero")
    return outer.gradient(transposed, u, w, unconnected_gradients="zero")


def inner(a: tf.Tensor, b: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Computes the inner products of the examples of two batches, `(batch,)`, in a dtype."""
    product = tf.cast(a, dtype) * tf.cast(b, dtype)
    return tf.reduce_sum(product, axis=list(range(1, product.shape.rank)))
