"""The inverse kernel learned by gradient, as in the paper."""

import math
from typing import Any

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import check_integer
from snf_tf.layers.log_det_estimators import LogDetProblem
from snf_tf.layers.options import resolve
from snf_tf.layers.self_normalizing.inverse_method import (
    COUNT,
    InverseMethod,
    StateWeight,
    TrainingCall,
)
from snf_tf.layers.self_normalizing.penalty import PENALTIES, Penalty, check_weight

# Random vectors in a training call. In no more dimensions all unit vectors take their place.
_PROBES = 64


@keras.saving.register_keras_serializable("snf_tf")
class LearnedInverse(InverseMethod):
    """Learns the inverse kernel by gradient, with a penalty on the reconstruction error (SNF).

    Data in which some directions hardly vary do not teach these directions. The Jacobian penalty
    (SNF Eq. 31) does: `jacobian_penalty` times `E |v - v K R|^2` over random v with E[v v^T] = I, K
    and R the kernel and the inverse kernel as matrices. This is `|I - K R|^2`, Frobenius. It trains
    R alone, so that it does not pull at the model. Up to 64 dimensions it is computed as it stands;
    beyond, by 64 Rademacher probes in each call.

    Args:
        penalty: `FixedPenalty(weight)`, `GECO(...)` or `MDMM(...)`, or their names "fixed", "geco",
            "mdmm".
        jacobian_penalty: Weight of the Jacobian penalty, at least 0.
        terms: Of a `SelfNormalizingPair`: number of terms of the truncated series that corrects
            the gradient; 0 is the paper.

    Raises:
        ValueError: If penalty is none of these, jacobian_penalty is negative, or terms is no
            integer of at least 0.

    Example:
        >>> layer = snf_tf.layers.SelfNormalizingDense(inverse_method=LearnedInverse())
        >>> z, log_det = layer(tf.ones((4, 8)), training=True)
        >>> len(layer.losses)
        1
    """

    trains_inverse = True
    is_exact = False
    needs_contraction = True
    supports_jit = True

    def __init__(
        self, penalty: str | Penalty = "fixed", jacobian_penalty: float = 0.0, terms: int = 0
    ) -> None:
        self.jacobian_penalty = jacobian_penalty = check_weight(
            "jacobian_penalty", jacobian_penalty
        )
        self.terms = terms = check_integer("terms", terms, 0)
        self.penalty = resolve(penalty, PENALTIES, "penalty")
        super().__init__(penalty=self.penalty, jacobian_penalty=jacobian_penalty, terms=terms)
        self.untold = ("probe_calls",)
        if not self.penalty.adapts:
            self.untold += ("reconstruction_weight",)

    @property
    def shares_gradient(self) -> bool:  # type: ignore[override]
        # A corrected gradient is that of f alone.
        return self.terms == 0

    @property
    def has_default_penalties(self) -> bool:
        """Returns whether both penalties are those of `LearnedInverse()`."""
        defaults = LearnedInverse(terms=self.terms).get_config()
        return self.get_config() == defaults

    def initial_state(self, layer: Any) -> dict[str, StateWeight]:
        if self.terms:
            raise ValueError(
                "Linear layers take their gradient in closed form: leave terms at 0. "
                f"Received: terms={self.terms}"
            )
        counts = {"probe_calls": COUNT} if self._is_random(layer) else {}
        return self.penalty.initial_state() | counts

    def training_call(self, layer: Any, x: tf.Tensor) -> TrainingCall:
        z, log_det, error = layer.self_normalizing(x)
        loss, state = self.penalty(error, layer.inverse_state)
        if self.jacobian_penalty > 0:
            loss += self.jacobian_penalty * tf.cast(self._jacobian_error(layer), loss.dtype)
        if self._is_random(layer):
            state = {**state, "probe_calls": layer.inverse_state["probe_calls"] + 1}
        return TrainingCall(z, log_det, loss=loss, state=state)

    def __call__(self, problem: LogDetProblem) -> tf.Tensor:
        """Returns `(batch,)` with the gradient of log|det| of a pair, as a `LogDetEstimator`."""
        function, x, probe, _, _, _, inverse = problem
        assert inverse is not None, "A learned inverse belongs to a pair."
        if not self.terms:
            return ops.inverse_log_det(function, x, inverse, probe, probe.dtype)
        weights = ops.series_weights(tf.ones((self.terms,), probe.dtype))
        return ops.power_series(function, x, probe, *weights, inverse=inverse)

    def _is_random(self, layer: Any) -> bool:
        return self.jacobian_penalty > 0 and math.prod(layer.event_shape) > _PROBES

    def _jacobian_error(self, layer: Any) -> tf.Tensor:
        """Computes `|I - K R|^2`, or an estimate, with a gradient to the inverse kernel alone."""
        size = math.prod(layer.event_shape)
        if self._is_random(layer):
            # The same on all replicas.
            seed = ops.row_seed(0, layer.inverse_state["probe_calls"])
            probes = ops.rademacher_rows(seed, (_PROBES, size), layer.log_det_dtype) / _PROBES**0.5
        else:
            probes = tf.eye(size, dtype=layer.log_det_dtype)
        probes = tf.reshape(probes, (-1, *layer.event_shape))
        images = layer.affine(probes) - layer.widen(layer.bias)
        back = layer.times_inverse_kernel(tf.stop_gradient(images))
        return tf.reduce_sum(tf.square(back - probes))
