"""Residual blocks of Residual Flows, invertible because they contract."""

import math
from collections.abc import Mapping
from typing import Any, Self

import keras
import tensorflow as tf

from snf_tf import networks, ops
from snf_tf._checks import check_choice, check_flag, check_network, check_number
from snf_tf.layers.flow_layer import FlowLayer
from snf_tf.layers.log_det_estimators import (
    LOG_DET_ESTIMATORS,
    BruteForce,
    LogDetEstimator,
    NotTrained,
)
from snf_tf.layers.options import deserialized, resolve
from snf_tf.layers.residual_map import PROBES, ResidualMap, residual_map

# Up to so many dimensions the log-determinant in evaluation is exact, by brute force.
_SMALL = 64


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
        self.network = check_network("network", network)
        self.log_det = resolve(log_det, LOG_DET_ESTIMATORS, "log_det")
        self.probe = check_choice("probe", probe, PROBES)
        self.monotone = check_flag("monotone", monotone)
        bound = check_number("lipschitz_bound", lipschitz_bound, above=0, below=1, optional=True)
        self.lipschitz_bound = bound
        self.backward_in_forward = check_flag("backward_in_forward", backward_in_forward)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        shape = (None, *self.event_shape)
        output = self.network(keras.KerasTensor(shape, self.log_det_dtype))
        if tuple(output.shape[1:]) != self.event_shape:
            raise ValueError(
                "The network of a residual block must keep the shape of x. "
                f"Received: {shape} is mapped to {tuple(output.shape)}"
            )
        self._options = {
            "log_det": self.log_det,
            "evaluation": self._evaluation(),
            "probe": self.probe,
            "monotone": self.monotone,
            "early": self.backward_in_forward,
            "dtype": self.log_det_dtype,
            "lipschitz_bound": self.lipschitz_bound,
        }
        self._map = residual_map(self.network, self.event_shape, self._options)
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
        is_estimate = not (self.log_det.is_exact or isinstance(self.log_det, NotTrained))
        return tuple(self.network.trainable_weights) if is_estimate else ()

    def call(
        self,
        x: tf.Tensor,
        context: tf.Tensor | None = None,
        training: bool = False,
        seed: tf.Tensor | int | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        x = tf.cast(x, self.call_dtype(training))
        if x.shape[0] == 0:
            # TensorFlow's convolutions return wrong shapes for empty batches.
            z, log_det = self.call(tf.zeros((1, *self.event_shape), x.dtype), context, training, 0)
            return z[:0], log_det[:0]
        if training:
            shared = self._shared_map()
            values, constants = shared.values(self.network)
            found, loss = shared.update(values, constants)
            constants = shared.assign(self.network, found)
            self.add_loss(self.widen(loss))
            if seed is None and self.takes_seed:
                seed = self.next_seed()
            z, log_det = shared.train(x, values, constants, ops.row_seed(seed))
        else:
            self.prepare()
            shared = self._shared_map()
            values, constants = shared.values(self.network)
            bound = self._certified_bound()
            seed = ops.row_seed(seed)
            z, log_det, converged = shared.evaluate(x, values, constants, seed, bound)
            if self.monotone:
                z = self._require_converged(converged, z)
        return z, self.widen(log_det)

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        if z.shape[0] == 0:
            return self.call_inverse(tf.zeros((1, *self.latent_shape), z.dtype))[:0]
        self.prepare()
        shared = self._shared_map()
        values, constants = shared.values(self.network)
        x, converged = shared.inverse(z, values, constants, self._certified_bound())
        return self._require_converged(converged, x)

    def _shared_map(self) -> ResidualMap:
        """Returns the computations that this block shares with others."""
        # Kept, as nothing else keeps them; found again, as the network may have changed.
        self._map = residual_map(self.network, self.event_shape, self._options, self._map)
        return self._map

    @tf.autograph.experimental.do_not_convert
    def prepare(self) -> None:
        """Certifies the bound of g; see `Bijection.prepare`. A graph does so when it is traced.

        Raises:
            ValueError: If the bound is not below 1.
        """
        with tf.init_scope():
            # In a graph of TensorFlow 1 nothing can be computed.
            if tf.executing_eagerly():
                self._certify()

    def _certify(self) -> None:
        for part in networks.lipschitz_parts(self.network):
            part.certify()
        bound = self.lipschitz_bound or networks.lipschitz_bound(self.network)
        if not bound < 1.0:
            raise ValueError(
                f"The block {self.name} is not certified to be invertible: the bound of its "
                "network's Lipschitz constant must be below 1. Lower coeff, or take norm=2 where "
                f"norms are learned. Received: a bound of {bound:.4g}"
            )
        if float(tf.convert_to_tensor(self.bound)) != tf.cast(bound, self.bound.dtype):
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

    def _evaluation(self) -> LogDetEstimator:
        """Returns the estimator of calls with `training=False`."""
        small = math.prod(self.event_shape) <= _SMALL
        return BruteForce() if small else self.log_det.for_evaluation()

    def _require_converged(self, converged: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        message = f"The fixed point of {self.name} must converge: is g a contraction, x finite?"
        return ops.require(converged, x, message)

    def _certified_bound(self) -> tf.Tensor:
        bound = tf.convert_to_tensor(self.bound)
        return ops.require(
            (bound >= 0.0) & (bound < 1.0),
            bound,
            f"Call prepare() of {self.name}, or of its flow, before a graph evaluates it.",
        )
