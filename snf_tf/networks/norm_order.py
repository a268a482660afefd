"""Learned orders of norms between the layers of a network (RF App. D)."""

from typing import Any

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import check_number


@keras.saving.register_keras_serializable("snf_tf")
class NormOrder(keras.layers.Layer):
    """A learned order of a norm, `p = 2 + tanh(s) / 2`, in (1.5, 2.5).

    Layers share the order of the space between them. s follows the gradient of the norms, not of
    the likelihood.

    Args:
        **kwargs: As in `keras.layers.Layer`.

    Example:
        >>> float(snf_tf.networks.NormOrder().value())
        2.0
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.s = self.add_weight(name="s", shape=(), initializer="zeros", autocast=False)
        self.built = True

    def value(self) -> tf.Tensor:
        """Returns p, a scalar."""
        return 2.0 + 0.5 * tf.tanh(tf.convert_to_tensor(self.s))


def order_value(order: float | NormOrder) -> float | tf.Tensor:
    """Returns an order as a number, or as a tensor without gradient where it is learned."""
    return tf.stop_gradient(order.value()) if isinstance(order, NormOrder) else order


def checked_order(order, argument: str, otherwise: str = "") -> float | NormOrder:
    """Returns the order of a norm: a number of at least 1, "inf", or a `NormOrder`.

    Args:
        order: What was given.
        argument: Its name.
        otherwise: What else may be given, for the message; the caller allows it.

    Raises:
        ValueError: If the order is none of these.
    """
    if isinstance(order, NormOrder):
        return order
    if isinstance(order, str | float) and order in ("inf", float("inf")):
        return float("inf")
    allowed = f', {otherwise}"inf" or a NormOrder'
    return float(check_number(argument, order, at_least=1, otherwise=allowed))


def norm_gradient(u: tf.Tensor, v: tf.Tensor, codomain, domain) -> tf.Tensor | None:
    """Returns a scalar of value about 0 with the gradient of log norm with respect to orders.

    At the vectors u, v of the norm, `log sigma = log(u^T W v / (|u|_q* |v|_p))` depends on the
    orders through the lengths alone.

    Args:
        u: `(outputs,)`.
        v: `(inputs,)`.
        codomain: Order q of the norm of the codomain.
        domain: Order p of the norm of the domain.

    Returns:
        None if no order is learned.
    """
    lengths = []
    if isinstance(domain, NormOrder):
        lengths.append(ops.vector_norm(tf.stop_gradient(v), domain.value()))
    if isinstance(codomain, NormOrder):
        dual = ops.dual_order(codomain.value())
        lengths.append(ops.vector_norm(tf.stop_gradient(u), dual))
    return -tf.add_n([tf.math.log(length) for length in lengths]) if lengths else None
