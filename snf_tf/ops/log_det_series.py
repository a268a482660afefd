"""log|det(I + J)| of x + g(x) from products with J, the Jacobian of g, alone.

One power series gives values and gradients. `v` is a probe, a random vector with E[v v^T] = I::

    log|det(I + J)| = sum_k (-1)^(k + 1) / k tr(J^k)         tr(A) = E[v^T A v]
    d log|det(I + J)| = tr((I + J)^-1 dJ)                    (I + J)^-1 = sum_k (-J)^k
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

Map = Callable[[tf.Tensor], tf.Tensor]
# A sum of f log|det(I + s J)| as pairs (f, s): of x + g(x), and of monotone flows (Ahn et al.
# 2022).
Terms = Sequence[tuple[float, float]]
RESIDUAL: Terms = ((1.0, 1.0),)
MONOTONE: Terms = ((1.0, -1.0), (-1.0, 1.0))


def series_log_det(
    function: Map,
    x: tf.Tensor,
    probe: tf.Tensor,
    coefficients: tf.Tensor,
    gradient: str = "neumann",
    inverse: Map | None = None,
) -> tf.Tensor:
    """Estimates log|det(I + J)| by its power series, `sum_k (-1)^(k+1) / k c_k v^T J^k v` (RF Eqs.
    6, 8).

    With c_k = 1 the series is truncated. With `c_k = 1 / P(N >= k)` for k up to a random N its
    expectation is exact (Russian roulette). The estimate is linear in every example's cotangent.

    With `inverse` the function is a whole map f instead of g, and inverse is about its inverse.
    Then -J is replaced by E = I - G J, G the Jacobian of inverse at f(x). The value estimates
    log|det(G J)|. The gradient is that of log|det J|, and takes `v^T (sum_k c_k E^k) G dJ v`.

    Args:
        function: Maps x to g(x), of the same shape.
        x: `(batch,) + event_shape`.
        probe: v, of the shape of x.
        coefficients: c, `(n,)`, n >= 1.
        gradient: "neumann": the gradient is `v^T (I + sum_k c_k (-J)^k) dJ v` (RF Theorem 2), whose
            memory does not grow with n. "series": the gradient of the value (RF Eq. 7).
        inverse: Maps f(x) to about x.

    Returns:
        `(batch,)`, in the dtype of the coefficients.

    Raises:
        ValueError: If gradient is unknown, the function changes the shape, or "series" is asked of
            coefficients of an unknown number, or with an inverse.

    Example:
        >>> x = probe = tf.ones((1, 2))
        >>> terms = tf.ones(30)
        >>> estimate = snf_tf.ops.series_log_det(lambda x: 0.5 * x, x, probe, terms)
        >>> bool(abs(estimate[0] - 2 * np.log(1.5)) < 1e-6)
        True
    """
    coefficients = tf.convert_to_tensor(coefficients)
    if gradient not in ("neumann", "series"):
        raise ValueError(f'gradient must be "neumann" or "series". Received: gradient={gradient!r}')
    if coefficients.shape.rank != 1 or coefficients.shape[0] == 0:
        raise ValueError(
            "coefficients must have the shape (n,), n >= 1. "
            f"Received: coefficients of shape {coefficients.shape}"
        )
    values, brackets = series_weights(coefficients)
    if gradient == "neumann":
        return power_series(function, x, probe, values, brackets, inverse)
    if coefficients.shape[0] is None or inverse is not None:
        raise ValueError(
            'gradient="series" keeps every term: it takes a known number of coefficients, and no '
            f"inverse. Received: coefficients of shape {coefficients.shape}, inverse={inverse}"
        )
    x = tf.convert_to_tensor(x)
    products, value = Products(function, x), 0.0
    power = tf.cast(probe, x.dtype)
    for weight in tf.unstack(values):
        power = products.transposed(power)
        value += weight * inner(power, probe, coefficients.dtype)
    return value


def series_weights(coefficients: tf.Tensor, terms: Terms = RESIDUAL) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the factors of `v^T J^k v` in the value, and of J^k in the bracket of the gradient.

    Args:
        coefficients: c, `(n,)`.
        terms: As in `brute_force_log_det`.

    Returns:
        `values` `(n,)` for k = 1..n, and `brackets` `(n + 1,)` for k = 0..n, as `power_series`
        takes them.
    """
    orders = tf.cast(tf.range(tf.size(coefficients) + 1), coefficients.dtype)
    parity = 1.0 - 2.0 * tf.math.floormod(orders, 2.0)
    one = tf.ones((1,), coefficients.dtype)
    # (-s)^k is the parity of k where s = 1, and 1 where s = -1.
    brackets = tf.add_n([f * s * (parity if s > 0 else tf.ones_like(parity)) for f, s in terms])
    values = brackets[:-1] / orders[1:] * coefficients
    return values, brackets * tf.concat([one, coefficients], 0)


def power_series(
    function: Map,
    x: tf.Tensor,
    probe: tf.Tensor,
    values: tf.Tensor,
    brackets: tf.Tensor,
    inverse: Map | None = None,
) -> tf.Tensor:
    """Computes `sum_k values[k-1] v^T J^k v` with the gradient of `sum_k brackets[k] v^T J^k dJ v`.

    Args:
        function: As in `series_log_det`.
        x: As there.
        probe: As there.
        values: `(n,)`, for k = 1..n.
        brackets: `(n + 1,)`, for k = 0..n.
        inverse: As in `series_log_det`; J is then G J - I.

    Returns:
        `(batch,)`, in the dtype of values.
    """
    x = tf.convert_to_tensor(x)
    products = Products(function, x, inverse)
    probe = tf.cast(probe, x.dtype)
    count = tf.get_static_value(tf.size(values))

    def term(k, power, value, bracket):
        power = products.power_step(power)
        value += values[k] * inner(power, probe, values.dtype)
        return k + 1, power, value, bracket + tf.cast(brackets[k + 1], x.dtype) * power

    zeros = tf.zeros(tf.shape(x)[:1], values.dtype)
    found = (0, probe, zeros, tf.cast(brackets[0], x.dtype) * probe)
    if count is not None and count <= 4:
        for _ in range(count):
            found = term(*found)
    else:
        k = tf.constant(0)
        found = tf.while_loop(lambda k, *_: k < tf.size(values), term, (k, *found[1:]))
    _, _, value, bracket = found
    return products.with_gradient(value, bracket, probe)


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


def early_gradients(
    function: Callable[..., tf.Tensor],
    x: tf.Tensor,
    values: list[tf.Tensor],
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

    @tf.custom_gradient
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


def inner(a: tf.Tensor, b: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Computes the inner products of the examples of two batches, `(batch,)`, in a dtype."""
    product = tf.cast(a, dtype) * tf.cast(b, dtype)
    return tf.reduce_sum(product, axis=list(range(1, product.shape.rank)))
