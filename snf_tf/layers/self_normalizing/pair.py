"""A pair of networks, a map and its learned inverse, as a layer (SNF section 3)."""

import math
from collections.abc import Mapping
from typing import Any, Self

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import check_choice, check_flag, check_network
from snf_tf._compat import layers_within
from snf_tf.layers.flow_layer import FlowLayer
from snf_tf.layers.log_det_estimators import (
    LOG_DET_ESTIMATORS,
    LogDetEstimator,
    NotTrained,
)
from snf_tf.layers.options import deserialized, resolve
from snf_tf.layers.residual_map import PROBES
from snf_tf.layers.self_normalizing.inverse_method import add_state
from snf_tf.layers.self_normalizing.learned import LearnedInverse
from snf_tf.layers.self_normalizing.pair_maps import PairMaps
from snf_tf.layers.self_normalizing.penalty import PENALTIES, Penalty, check_weight

ESTIMATORS: Mapping[str, type] = {
    "learned_inverse": LearnedInverse,
    **{name: kind for name, kind in LOG_DET_ESTIMATORS.items() if kind is not NotTrained},
}
# Up to so many dimensions the log-determinant in evaluation is exact, by brute force.
_SMALL = 1024
# Examples by which a training call judges the inverse.
_JUDGED = 4


@keras.saving.register_keras_serializable("snf_tf")
class SelfNormalizingPair(FlowLayer):
    """Any map f that trains by a learned inverse g, both Keras networks (SNF section 3).

    With `training=True`:

    - log_det has the value 0, and a gradient: see `snf_tf.ops.learned_pair`. That of
      `LearnedInverse()` is the paper's, shared by f and g, and biased where g is not exact. That of
      `RussianRoulette()` is unbiased, that of `Krylov(m)` to its residual; they go to f whole, and
      errors alone train g.
    - the layer adds a loss, the penalty on `|g(f(x)) - x|^2`.

    With `training=False` log_det is exact in up to 1024 dimensions, by brute force. Beyond, it is
    an estimate by `snf_tf.ops.lanczos_log_det`.

    Nothing keeps f invertible but the penalty: watch `inverse_error`, `|v - G J v| / |v|` for the
    Jacobians G and J of g and f. Above 1 the series diverges: `fit` warns after an epoch, and stops
    after two.

    Args:
        forward: f, a Keras layer that keeps the shape of x.
        inverse: g, likewise. `snf_tf.networks.ResidualNetwork` makes good pairs. Both are called
            with `training=False`.
        log_det: `LearnedInverse(terms=n)`, `RussianRoulette(...)`, `TruncatedSeries(n)`,
            `Krylov(m)` or `BruteForce()`, or their names.
        probe: "rademacher" or "normal": the distribution of v.
        penalty: `FixedPenalty(weight)`, `GECO(...)` or `MDMM(...)`, or their names.
        jacobian_penalty: Weight of `|G J v - v|^2` (SNF Eq. 31), which trains g alone.
        noise: Standard deviation of noise, at which the error is penalised, too; 0 for none.
        prior_weight: Weight of the error `|f(g(z)) - z|^2` of standard normal z, beside that of
            data.
        conditional: Whether both networks are called on `[x, context]`.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        forward: As given.
        inverse_network: g, as given.
        reconstruction_weight: Lambda of SNF Eq. 3, a scalar, not trained.

    Raises:
        ValueError: If an argument is none of these, or a network changes the shape. In `inverse`,
            if no x is found with f(x) = z. If a conditional pair is given no context.

    Example:
        >>> networks = [snf_tf.networks.ResidualNetwork((16,)) for _ in range(2)]
        >>> layer = snf_tf.layers.SelfNormalizingPair(*networks, log_det="russian_roulette")
        >>> x = tf.random.normal((4, 3))
        >>> z, log_det = layer(x, training=True)
        >>> bool(tf.reduce_max(tf.abs(layer.inverse(z) - x)) < 1e-5), len(layer.losses)
        (True, 1)
    """

    takes_seed = True
    has_approximate_inverse = True

    def __init__(
        self,
        forward: keras.layers.Layer,
        inverse: keras.layers.Layer,
        log_det: str | LearnedInverse | LogDetEstimator = "learned_inverse",
        probe: str = "rademacher",
        penalty: str | Penalty = "fixed",
        jacobian_penalty: float = 0.0,
        noise: float = 0.0,
        prior_weight: float = 0.0,
        conditional: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_network("forward", forward)
        check_network("inverse", inverse)
        if not set(map(id, layers_within(forward))).isdisjoint(map(id, layers_within(inverse))):
            raise ValueError("forward and inverse must be two networks. Received: common layers")
        numbers = dict(jacobian_penalty=jacobian_penalty, noise=noise, prior_weight=prior_weight)
        for name, value in numbers.items():
            check_weight(name, value)
        self.forward, self.inverse_network = forward, inverse
        self.log_det = resolve(log_det, ESTIMATORS, "log_det")
        if isinstance(self.log_det, LearnedInverse) and not self.log_det.has_default_penalties:
            raise ValueError(
                "A pair takes penalty and jacobian_penalty itself: leave them out of log_det. "
                f"Received: log_det with {self.log_det.get_config()}"
            )
        self.probe = check_choice("probe", probe, PROBES)
        self.penalty = resolve(penalty, PENALTIES, "penalty")
        self.jacobian_penalty, self.noise, self.prior_weight = numbers.values()
        self.conditional = check_flag("conditional", conditional)
        self.supports_jit = self.log_det.supports_jit

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        self._waits_for_context = self.conditional and not (
            self.forward.built and self.inverse_network.built
        )
        if not self.conditional:
            self._build_networks()
        self.inverse_state = add_state(self, self.penalty.initial_state())
        self.judgement = self.add_weight(
            name="judgement", initializer="zeros", trainable=False, aggregation="only_first_replica"
        )
        self.add_noise_counter()

    def _build_networks(self, context: tf.Tensor | None = None) -> None:
        x = keras.KerasTensor((None, *self.event_shape), self.log_det_dtype)
        for name, network in (("forward", self.forward), ("inverse", self.inverse_network)):
            inputs = x
            if context is not None:
                inputs = [x, keras.KerasTensor((None, *context.shape[1:]), self.log_det_dtype)]
            output = network(inputs)
            if tuple(output.shape[1:]) != self.event_shape:
                raise ValueError(
                    f"The {name} network of a pair must keep the shape of x. "
                    f"Received: {x.shape} is mapped to {tuple(output.shape)}"
                )
        self._waits_for_context = False

    @property
    def takes_context(self) -> bool:  # type: ignore[override]
        return self.conditional

    def unbuilt_parts(self) -> list[str]:
        return [self.name] if self._waits_for_context else []

    @property
    def largest_inverse_error(self) -> float:  # type: ignore[override]
        # Beyond 1 the series of I - G J diverges.
        return 1.0 if self.log_det.needs_contraction else float("inf")

    @property
    def training_only_weights(self) -> tuple[keras.Variable, ...]:
        return tuple(self.inverse_network.trainable_weights)

    @property
    def reconstruction_weight(self) -> keras.Variable:
        """Returns lambda of SNF Eq. 3."""
        return self.inverse_state["reconstruction_weight"]

    @property
    def log_det_kind(self) -> str:  # type: ignore[override]
        return "exact" if self.has_exact_log_det else "estimate"

    @property
    def has_exact_log_det(self) -> bool:
        """Returns whether the log-determinant in evaluation is exact."""
        return math.prod(self.event_shape) <= _SMALL

    @property
    def estimated_weights(self) -> tuple[keras.Variable, ...]:
        return () if self.log_det.is_exact else tuple(self.forward.trainable_weights)

    def call(
        self,
        x: tf.Tensor,
        context: tf.Tensor | None = None,
        training: bool = False,
        seed: tf.Tensor | int | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        x = tf.cast(x, self.call_dtype(training))
        if training:
            return self._train(x, context, self.next_seed() if seed is None else seed)
        maps, dtype = self._maps(context), self.log_det_dtype
        if self.has_exact_log_det:
            return maps.f(x), maps.exact_log_det(x, dtype)
        probe = self._draw(self.probe, x, ops.row_seed(seed), 0)
        return maps.f(x), maps.log_det_estimate(x, probe, dtype)

    def _train(
        self, x: tf.Tensor, context: tf.Tensor | None, seed: tf.Tensor | int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        maps, seed = self._maps(context), ops.row_seed(seed)
        probe = self._draw(self.probe, x, seed, 0)
        found = maps.train(x, self.log_det, probe, seed, self.log_det.shares_gradient)
        x = tf.stop_gradient(x)
        error, dtype = found.error, self.log_det_dtype
        if self.noise > 0:
            noisy = x + tf.cast(self.noise * self._draw("normal", x, seed, 2), x.dtype)
            error += maps.data_error(noisy, dtype)
        if self.prior_weight > 0:
            z = tf.cast(self._draw("normal", x, seed, 3), x.dtype)
            error += self.prior_weight * maps.latent_error(z, dtype)
        loss, state = self.penalty(error, self.inverse_state)
        self._judge(x, context, probe)
        if self.jacobian_penalty > 0:
            loss += self.jacobian_penalty * ops.batch_mean(maps.jacobian_error(x, probe, dtype))
        self.add_loss(loss)
        for name, value in state.items():
            self.inverse_state[name].assign(tf.cast(value, self.inverse_state[name].dtype))
        return found.z, found.log_det

    def _judge(self, x: tf.Tensor, context: tf.Tensor | None, probe: tf.Tensor) -> None:
        """Keeps the error of the inverse on a few examples, for `inverse_error`."""
        few = self._maps(None if context is None else context[:_JUDGED])
        judged = few.inverse_error(x[:_JUDGED], probe[:_JUDGED], self.log_det_dtype)
        self.judgement.assign(tf.cast(judged, self.judgement.dtype))

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        maps = self._maps(context)
        if not exact:
            return maps.g(z)
        root = maps.solve(z)
        message = (
            f"{self.name} must find an x with f(x) = z. The pair may not be invertible there, or "
            "not trained enough. |f(x) - z| must be at most 100 rounding errors of "
            "sqrt(1 + |z|^2 + |g(z)|^2)."
        )
        checked = ops.require(root.converged, root.residual, message)
        with tf.control_dependencies([checked]):
            return tf.identity(root.value)

    def inverse_error(self) -> tf.Tensor | None:
        return tf.convert_to_tensor(self.judgement)

    def diagnostics(self, x: tf.Tensor, z: tf.Tensor) -> Mapping[str, Any]:
        told = self.inverse_state if self.penalty.adapts else {}
        state = {name: tf.convert_to_tensor(weight) for name, weight in told.items()}
        if self.conditional:
            # Of the last training call: here no context is known.
            return {"inverse_error": tf.convert_to_tensor(self.judgement), **state}
        x, dtype, maps = self.widen(x), self.log_det_dtype, self._maps(None)
        probe = self._draw(self.probe, x, ops.row_seed(0), 0)
        return {
            "reconstruction_error": ops.batch_mean(maps.data_error(x, dtype)),
            "inverse_error": maps.inverse_error(x, probe, dtype),
            **state,
        }

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "forward": keras.saving.serialize_keras_object(self.forward),
            "inverse": keras.saving.serialize_keras_object(self.inverse_network),
            "log_det": keras.saving.serialize_keras_object(self.log_det),
            "probe": self.probe,
            "penalty": keras.saving.serialize_keras_object(self.penalty),
            "jacobian_penalty": self.jacobian_penalty,
            "noise": self.noise,
            "prior_weight": self.prior_weight,
            "conditional": self.conditional,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**deserialized(config))

    def _maps(self, context: tf.Tensor | None) -> PairMaps:
        if not self.conditional:
            context = None
        elif context is None:
            raise ValueError(f"{self.name} is conditional: give a context. Received: context=None")
        else:
            context = self.widen(context)
            if self._waits_for_context:
                self._build_networks(context)
        return PairMaps.of(self.forward, self.inverse_network, context)

    def _draw(self, kind: str, x: tf.Tensor, seed: tf.Tensor, stream: int) -> tf.Tensor:
        noise = ops.fold_in(seed, stream)
        return PROBES[kind](noise, tf.shape(x), tf.as_dtype(self.log_det_dtype))
