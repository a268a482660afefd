"""log|det(I + J)| of x + g(x) from products with J, the Jacobian of g, alone.

One power series gives values and gradients. `v` is a probe, a random vector with E[v v^T] = I::

    log|det(I + J)| = sum_k (-1)^(k + 1) / k tr(J^k)         tr(A) = E[v^T A v]
    d log|det(I + J)| = tr((I + J)^-1 dJ)                    (I + J)^-1 = sum_k (-J)^k
"""

import tensorflow as tf

from snf_tf._checks import check_choice
from snf_tf.ops.jacobian_products import RESIDUAL, Map, Products, Terms, inner


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
    check_choice("gradient", gradient, ("neumann", "series"))
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
    count: tf.Tensor | None = None,
) -> tf.Tensor:
    """Computes `sum_k values[k-1] v^T J^k v` with the gradient of `sum_k brackets[k] v^T J^k dJ v`.

    Args:
        function: As in `series_log_det`.
        x: As there.
        probe: As there.
        values: `(n,)`, for k = 1..n.
        brackets: `(n + 1,)`, for k = 0..n.
        inverse: As in `series_log_det`; J is then G J - I.
        count: Number of terms, an integer scalar, where it is not the size of values: later values
            and brackets are left out. XLA needs sizes that are known.

    Returns:
        `(batch,)`, in the dtype of values.
    """
    x = tf.convert_to_tensor(x)
    products = Products(function, x, inverse)
    probe = tf.cast(probe, x.dtype)
    known = values.shape[0] if count is None else None
    count = tf.size(values) if count is None else count

    def term(k, power, value, bracket):
        power = products.power_step(power)
        value += values[k] * inner(power, probe, values.dtype)
        return k + 1, power, value, bracket + tf.cast(brackets[k + 1], x.dtype) * power

    zeros = tf.zeros(tf.shape(x)[:1], values.dtype)
    found = (0, probe, zeros, tf.cast(brackets[0], x.dtype) * probe)
    if known is not None and known <= 4:
        for _ in range(known):
            found = term(*found)
    else:
        k = tf.constant(0)
        found = tf.while_loop(lambda k, *_: k < count, term, (k, *found[1:]))
    _, _, value, bracket = found
    return products.with_gradient(value, bracket, probe)
