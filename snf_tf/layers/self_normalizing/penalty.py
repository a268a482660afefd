"""Penalties on the reconstruction error of a learned inverse (SNF Eq. 3, A.5)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import check_number
from snf_tf.layers.options import Option
from snf_tf.layers.self_normalizing.inverse_method import StateWeight

# A weight that adapts itself stays a number whose products do not overflow. One that is multiplied
# must not vanish.
_LARGEST, _SMALLEST = 1e12, 1e-12


class Penalized(NamedTuple):
    """What a penalty found in a training call.

    Attributes:
        loss: A scalar to add to the losses.
        state: New values of some of the penalty's numbers, by name.
    """

    loss: tf.Tensor
    state: Mapping[str, tf.Tensor]


class Penalty(Option):
    """A penalty on reconstruction errors. The layer stores its numbers, among its weights.

    Attributes:
        adapts: Whether the penalty's weight changes in training.
    """

    adapts = True

    def initial_state(self) -> dict[str, StateWeight]:
        """Names the numbers that the layer stores, `reconstruction_weight` among them."""
        return {"reconstruction_weight": StateWeight(initial=self.options["weight"])}

    def __call__(self, error: tf.Tensor, state: Mapping[str, keras.Variable]) -> Penalized:
        """Computes the loss of a training call, and what to keep.

        Args:
            error: Squared reconstruction errors, `(batch,)`; of one replica, where there are more.
            state: The numbers that the layer stores.
        """
        raise NotImplementedError


@keras.saving.register_keras_serializable("snf_tf")
class FixedPenalty(Penalty):
    """Multiplies the reconstruction error by a constant, the lambda of SNF Eq. 3.

    Args:
        weight: Initial value of the layer's `reconstruction_weight`, which is not trained.

    Raises:
        ValueError: If weight is negative, or no number.

    Example:
        >>> penalty = snf_tf.layers.FixedPenalty(10.0)
        >>> layer = snf_tf.layers.SelfNormalizingDense(penalty=penalty)
        >>> layer.build((None, 3))
        >>> float(layer.reconstruction_weight)
        10.0
    """

    adapts = False

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__(weight=check_weight("weight", weight))

    def __call__(self, error: tf.Tensor, state: Mapping[str, keras.Variable]) -> Penalized:
        weight = tf.cast(state["reconstruction_weight"], error.dtype)
        return Penalized(weight * ops.batch_mean(error), {})


@keras.saving.register_keras_serializable("snf_tf")
class GECO(Penalty):
    """Tunes lambda by the error itself: GECO (Rezende and Viola 2018; SNF A.5).

    After each training call, with the mean e of the errors of the global batch::

        C      <- momentum C + (1 - momentum) e,       C = e in the first call
        lambda <- lambda exp(rate (C - tolerance))

    With `tolerance = 0` lambda can only grow, as in the published runs. With a tolerance lambda
    falls where the inverse is good enough.

    Args:
        tolerance: Largest error that does no harm, in squared units of the layer's input, summed
            over dimensions.
        rate: Step of log lambda.
        momentum: Of the moving average, in [0, 1).
        weight: Initial lambda.

    Raises:
        ValueError: If a number is negative, weight is 0, or momentum is not in [0, 1).

    Example:
        >>> layer = snf_tf.layers.SelfNormalizingDense(penalty=snf_tf.layers.GECO(weight=0.1))
        >>> z, log_det = layer(tf.random.normal((4, 8)), training=True)
        >>> bool(layer.reconstruction_weight > 0.1), bool(layer.inverse_state["constraint"] > 0.0)
        (True, True)
    """

    def __init__(
        self,
        tolerance: float = 0.0,
        rate: float = 1e-3,
        momentum: float = 0.9,
        weight: float = 1.0,
    ) -> None:
        super().__init__(
            tolerance=check_weight("tolerance", tolerance),
            rate=check_weight("rate", rate),
            momentum=check_number("momentum", momentum, at_least=0, below=1),
            # It is multiplied.
            weight=check_number("weight", weight, above=0, below=_LARGEST),
        )

    def initial_state(self) -> dict[str, StateWeight]:
        # Errors are not negative: below 0 there was none.
        constraint = StateWeight(initial=-1.0)
        return super().initial_state() | {"constraint": constraint}

    def __call__(self, error: tf.Tensor, state: Mapping[str, keras.Variable]) -> Penalized:
        weight, before = (
            tf.cast(state[name], error.dtype) for name in ("reconstruction_weight", "constraint")
        )
        mean = tf.stop_gradient(ops.global_batch_mean(error))
        momentum, rate, tolerance = (
            tf.constant(self.options[name], error.dtype)
            for name in ("momentum", "rate", "tolerance")
        )
        constraint = tf.where(before < 0.0, mean, momentum * before + (1.0 - momentum) * mean)
        new = tf.maximum(weight * tf.exp(rate * (constraint - tolerance)), _SMALLEST)
        return Penalized(
            weight * ops.batch_mean(error),
            _if_finite(mean, state, reconstruction_weight=new, constraint=constraint),
        )


@keras.saving.register_keras_serializable("snf_tf")
class MDMM(Penalty):
    """Tunes lambda as a multiplier of `e <= tolerance`: the modified differential method of
    multipliers (Platt and Barr 1988).

    With the mean e of the errors of the global batch, the loss is this product, whose first factor
    is held constant::

        max(0, lambda + damping (e - tolerance)) e
        lambda <- max(0, lambda + rate (e - tolerance))        after the call

    Args:
        tolerance: Largest error that does no harm, in squared units of the layer's input, summed
            over dimensions.
        rate: Step of lambda.
        damping: Keeps lambda from swinging.
        weight: Initial lambda.

    Raises:
        ValueError: If a number is negative.

    Example:
        >>> layer = snf_tf.layers.SelfNormalizingDense(penalty=snf_tf.layers.MDMM())
        >>> z, log_det = layer(tf.random.normal((4, 8)), training=True)
        >>> len(layer.losses)
        1
    """

    def __init__(
        self,
        tolerance: float = 1.0,
        rate: float = 1e-3,
        damping: float = 1e-2,
        weight: float = 1.0,
    ) -> None:
        options = {"tolerance": tolerance, "rate": rate, "damping": damping, "weight": weight}
        super().__init__(**{name: check_weight(name, value) for name, value in options.items()})

    def initial_state(self) -> dict[str, StateWeight]:
        return super().initial_state() | {"constraint": StateWeight()}

    def __call__(self, error: tf.Tensor, state: Mapping[str, keras.Variable]) -> Penalized:
        weight = tf.cast(state["reconstruction_weight"], error.dtype)
        mean = tf.stop_gradient(ops.global_batch_mean(error))
        tolerance, rate, damping = (
            tf.constant(self.options[name], error.dtype)
            for name in ("tolerance", "rate", "damping")
        )
        excess = mean - tolerance
        damped = tf.maximum(weight + damping * excess, tf.zeros_like(weight))
        new = tf.maximum(weight + rate * excess, tf.zeros_like(weight))
        return Penalized(
            damped * ops.batch_mean(error),
            _if_finite(mean, state, reconstruction_weight=new, constraint=mean),
        )


PENALTIES: Mapping[str, type] = {"fixed": FixedPenalty, "geco": GECO, "mdmm": MDMM}


def _if_finite(
    error: tf.Tensor, state: Mapping[str, keras.Variable], **new: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Returns the new numbers, or those of before where a step has failed."""
    ok = tf.math.is_finite(error)
    new["reconstruction_weight"] = tf.minimum(new["reconstruction_weight"], _LARGEST)
    return {
        name: tf.where(ok, value, tf.cast(state[name], value.dtype)) for name, value in new.items()
    }


def check_weight(name: str, value: Any) -> Any:
    """Returns a number of at least 0; raises a ValueError for others, or for too large a one."""
    return check_number(name, value, at_least=0, below=_LARGEST)
