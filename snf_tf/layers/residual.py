"""Residual blocks of Residual Flows, invertible because they contract."""

import math
from collections.abc import Mapping
from typing import Any, Self

import keras
import tensorflow as tf

from snf_tf import networks, ops
from snf_tf.layers.flow_layer import FlowLayer
from snf_tf.layers.log_det_estimators import LOG_DET_ESTIMATORS, BruteForce, LogDetEstimator
from snf_tf.layers.options import deserialized, resolve

# Up to so many dimensions the log-determinant in evaluation is exact, by brute force.
_SMALL = 64
_PROBES = {"rademacher": ops.rademacher_rows, "normal": ops.normal_rows}


@keras.saving.register_keras_serializable("snf_tf")
class ResidualBlock(FlowLayer):
    """Residual block, `z = x + g(x)`, with a Lipschitz constant of g below 1 (RF).

    With `training=True` log_det is the value of `log_det`, an estimate with an estimated gradient;
    beside it the norms of g are brought up to date. With `training=False` log_det is exact in up to
    64 dimensions, or with `BruteForce()`. Elsewhere it is an estimate: `log_det_kind` says so.
    Outside of a graph the block certifies the norms first.

    With `monotone=True` the block is `z = sqrt(2) (I + g)^-1 (sqrt(2) x) - x` (Ahn et al. 2022).
    Its Lipschitz constant has no ceiling. Both directions solve a fixed point.

    Args:
        network: g, a Keras layer that keeps the shape of x: `snf_tf.networks.LipschitzNetwork`,
            `LipschitzDenseNet`, or a Sequential of layers with a bound. It is called with
            `training=False`: the map of a block is not random.
        log_det: `RussianRoulette()`, `TruncatedSeries(terms)`, `Krylov(products)` or
            `BruteForce()`; or a name: "russian_roulette", "truncated_series", "krylov",
            "brute_force".
        probe: "rademacher" or "normal": the distribution of v in `v^T J v`.
        monotone: Whether the block is a monotone one.
        lipschitz_bound: A bound of g in (0, 1), for a network of other layers. The user answers for
            it.
        backward_in_forward: Whether the gradient of log_det is computed in the forward pass (RF
            section 3.2). It saves the memory of all blocks' Jacobians but one.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        network: As given.
        bound: The bound of g that was certified last, a weight; negative before.

    Raises:
        ValueError: If an argument is none of these, or the network changes the shape. In calls with
            `training=False`, and in `inverse`, if the certified bound is not below 1.

    Example:
        >>> network = snf_tf.networks.LipschitzNetwork(widths=(16, 16))
        >>> block = snf_tf.layers.ResidualBlock(network)
        >>> x = tf.random.normal((5, 2))
        >>> z, log_det = block(x)
        >>> block.log_det_kind, bool(tf.reduce_max(tf.abs(block.inverse(z) - x)) < 1e-5)
        ('exact', True)
    """

    takes_context = False

    def __init__(
        self,
        network: keras.layers.Layer,
        log_det: str | LogDetEstimator = "russian_roulette",
        probe: str = "rademacher",
        monotone: bool = False,
        lipschitz_bound: float | None = None,
        backward_in_forward: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(network, keras.layers.Layer):
            raise ValueError(f"network must be a Keras layer or model. Received: {network!r}")
        if probe not in _PROBES:
            raise ValueError(f'probe must be "rademacher" or "normal". Received: probe={probe!r}')
        if lipschitz_bound is not None and not (
            isinstance(lipschitz_bound, int | float) and 0 < lipschitz_bound < 1
        ):
            raise ValueError(
                f"lipschitz_bound must be in (0, 1). Received: lipschitz_bound={lipschitz_bound!r}"
            )
        self.network = network
        self.log_det = resolve(log_det, LOG_DET_ESTIMATORS, "log_det")
        self.probe = probe
        self.monotone = monotone
        self.lipschitz_bound = lipschitz_bound
        self.backward_in_forward = backward_in_forward

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        shape = (None, *self.event_shape)
        output = self.network(keras.KerasTensor(shape, self.log_det_dtype))
        if tuple(output.shape[1:]) != self.event_shape:
            raise ValueError(
                "The network of a residual block must keep the shape of x. "
                f"Received: {shape} is mapped to {tuple(output.shape)}"
            )
        if self.lipschitz_bound is None:
            # Refuses a network without a bound before it is trained.
            networks.nominal_bound(self.network)
        self.bound = self.add_weight(
            name="bound",
            shape=(),
            initializer=keras.initializers.Constant(-1.0),
            trainable=False,
            aggregation="only_first_replica",
        )
        self.add_noise_counter()

    @property
    def takes_seed(self) -> bool:  # type: ignore[override]
        return not self.log_det.is_exact

    @property
    def log_det_kind(self) -> str:  # type: ignore[override]
        return "exact" if self._evaluation().is_exact else "estimate"

    @property
    def estimated_weights(self) -> tuple[keras.Variable, ...]:
        return () if self.log_det.is_exact else tuple(self.network.trainable_weights)

    def call(
        self,
        x: tf.Tensor,
        context: tf.Tensor | None = None,
        training: bool = False,
        seed: tf.Tensor | int | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if training:
            self._update_norms()
            lipschitz, estimator = self._nominal_bound(), self.log_det
            if seed is None and self.takes_seed:
                seed = self.next_seed()
        else:
            self.prepare()
            lipschitz, estimator = self._certified_bound(), self._evaluation()
        seed = ops.row_seed(seed)
        x = tf.cast(x, self.call_dtype(training))
        values = [tf.convert_to_tensor(weight) for weight in self.network.trainable_variables]
        w = x
        if self.monotone:
            w = self._solve(math.sqrt(2.0) * x, values, lipschitz)

        def log_det(function, w):
            if estimator.is_exact:
                probe = tf.zeros_like(w, self.log_det_dtype)
            else:
                noise = ops.fold_in(seed, 0)
                probe = _PROBES[self.probe](noise, tf.shape(w), self.log_det_dtype)
            terms = ops.MONOTONE if self.monotone else ops.RESIDUAL
            nominal = self._nominal_bound()
            return estimator(function, w, probe, ops.fold_in(seed, 1), nominal, terms)

        if training and self.backward_in_forward:
            y, found = ops.early_gradients(self._function, w, values, log_det)
        else:
            y = self._function(w, *values)
            found = log_det(lambda w: self._function(w, *values), w)
        z = math.sqrt(2.0) * w - x if self.monotone else x + y
        return z, self.widen(found)

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        self.prepare()
        values = [tf.convert_to_tensor(weight) for weight in self.network.trainable_variables]
        bound = self._certified_bound()
        if not self.monotone:
            return self._solve(z, values, bound)
        w = self._solve(math.sqrt(2.0) * z, values, bound, sign=-1.0)
        return math.sqrt(2.0) * w - z

    def prepare(self) -> None:
        """Certifies the bound of g, outside of a graph; see `Bijection.prepare`.

        Raises:
            ValueError: If the bound is not below 1.
        """
        if not tf.executing_eagerly():
            return
        for part in networks.lipschitz_parts(self.network):
            part.certify()
        bound = self.lipschitz_bound or networks.lipschitz_bound(self.network)
        if not bound < 1.0:
            raise ValueError(
                f"The block {self.name} is not certified to be invertible: the bound of its "
                "network's Lipschitz constant must be below 1. Lower coeff, or take norm=2 where "
                f"norms are learned. Received: a bound of {bound:.4g}"
            )
        if float(self.bound) != tf.cast(bound, self.bound.dtype):
            self.bound.assign(bound)

    def diagnostics(self, x: tf.Tensor, z: tf.Tensor) -> Mapping[str, Any]:
        self.prepare()
        return {"lipschitz_bound": tf.convert_to_tensor(self.bound)}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "network": keras.saving.serialize_keras_object(self.network),
            "log_det": keras.saving.serialize_keras_object(self.log_det),
            "probe": self.probe,
            "monotone": self.monotone,
            "lipschitz_bound": self.lipschitz_bound,
            "backward_in_forward": self.backward_in_forward,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**deserialized(config))

    def _evaluation(self):
        """Returns the estimator of calls with `training=False`."""
        small = math.prod(self.event_shape) <= _SMALL
        return BruteForce() if small else self.log_det.for_evaluation()

    def _function(self, x, *values):
        """Computes g(x) from given trainable weights of the network."""
        constants = [tf.convert_to_tensor(w) for w in self.network.non_trainable_variables]
        y, _ = self.network.stateless_call(list(values), constants, x, training=False)
        return tf.cast(y, x.dtype)

    def _solve(self, z, values, bound, sign=1.0):
        """Solves `x + sign g(x) = z`, and refuses a solution that has not converged."""
        found = ops.residual_inverse(
            lambda x, *values: sign * self._function(x, *values), z, values, bound
        )
        return ops.require(
            found.converged,
            found.value,
            f"The fixed point of {self.name} must converge: is g a contraction, and z finite?",
        )

    def _update_norms(self):
        for part in networks.lipschitz_parts(self.network):
            part.update_norm()
            loss = part.norm_loss()
            if loss is not None:
                self.add_loss(loss)

    def _nominal_bound(self):
        """Returns the bound that training aims at, a number."""
        return self.lipschitz_bound or networks.nominal_bound(self.network)

    def _certified_bound(self):
        bound = tf.convert_to_tensor(self.bound)
        return ops.require(
            (bound >= 0.0) & (bound < 1.0),
            bound,
            f"Call prepare() of {self.name}, or of its flow, before a graph evaluates it.",
        )
