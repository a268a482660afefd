"""A pair of networks, a map and its learned inverse, as a layer (SNF section 3)."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from snf_tf import networks, ops
from snf_tf.layers.flow_layer import FlowLayer
from snf_tf.layers.log_det_estimators import (
    LOG_DET_ESTIMATORS,
    LogDetEstimator,
    LogDetProblem,
    NotTrained,
)
from snf_tf.layers.options import deserialized, resolve
from snf_tf.layers.residual_map import PROBES
from snf_tf.layers.self_normalizing.inverse_method import add_state
from snf_tf.layers.self_normalizing.learned import LearnedInverse
from snf_tf.layers.self_normalizing.penalty import PENALTIES, Penalty, check_number

ESTIMATORS: Mapping[str, type] = {
    "learned_inverse": LearnedInverse,
    **{name: kind for name, kind in LOG_DET_ESTIMATORS.items() if kind is not NotTrained},
}
# Up to so many dimensions the log-determinant in evaluation is exact, by brute force.
_SMALL = 1024
# Products of the quadrature that estimates it in more dimensions.
_STEPS = 30
# Examples by which a training call judges the inverse.
_JUDGED = 4
# For `ByBound`, which asks for the norm of I - G J.
_NORM = 0.9
# Relative residuals of the exact inverse, in rounding errors.
_TOLERANCE = 100.0


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
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        forward: As given.
        inverse_network: g, as given.
        reconstruction_weight: Lambda of SNF Eq. 3, a scalar, not trained.

    Raises:
        ValueError: If an argument is none of these, or a network changes the shape. In `inverse`,
            if no x is found with f(x) = z.

    Example:
        >>> networks = [snf_tf.networks.ResidualNetwork((16,)) for _ in range(2)]
        >>> layer = snf_tf.layers.SelfNormalizingPair(*networks, log_det="russian_roulette")
        >>> x = tf.random.normal((4, 3))
        >>> z, log_det = layer(x, training=True)
        >>> bool(tf.reduce_max(tf.abs(layer.inverse(z) - x)) < 1e-5), len(layer.losses)
        (True, 1)
    """

    takes_context = False
    takes_seed = True
    has_approximate_inverse = True
    # Beyond, the series of I - G J diverges.
    largest_inverse_error = 1.0

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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, network in (("forward", forward), ("inverse", inverse)):
            if not isinstance(network, keras.layers.Layer):
                raise ValueError(f"{name} must be a Keras layer or model. Received: {network!r}")
        if forward is inverse:
            raise ValueError("forward and inverse must be two networks. Received: one, twice")
        if probe not in PROBES:
            raise ValueError(f'probe must be "rademacher" or "normal". Received: probe={probe!r}')
        numbers = dict(jacobian_penalty=jacobian_penalty, noise=noise, prior_weight=prior_weight)
        for name, value in numbers.items():
            check_number(name, value)
        self.forward, self.inverse_network = forward, inverse
        self.log_det = resolve(log_det, ESTIMATORS, "log_det")
        if self.log_det.shares_gradient and not self.log_det.has_default_penalties:
            raise ValueError(
                "A pair takes penalty and jacobian_penalty itself: leave them out of log_det. "
                f"Received: log_det with {self.log_det.get_config()}"
            )
        self.probe = probe
        self.penalty = resolve(penalty, PENALTIES, "penalty")
        self.jacobian_penalty, self.noise, self.prior_weight = numbers.values()
        # XLA cannot differentiate a series of an unknown number of terms.
        self.supports_jit = False

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        shape = (None, *self.event_shape)
        for name, network in (("forward", self.forward), ("inverse", self.inverse_network)):
            output = network(keras.KerasTensor(shape, self.log_det_dtype))
            if tuple(output.shape[1:]) != self.event_shape:
                raise ValueError(
                    f"The {name} network of a pair must keep the shape of x. "
                    f"Received: {shape} is mapped to {tuple(output.shape)}"
                )
        self.inverse_state = add_state(self, self.penalty.initial_state())
        self.judgement = self.add_weight(
            name="judgement", initializer="zeros", trainable=False, aggregation="only_first_replica"
        )
        self.add_noise_counter()

    @property
    def reconstruction_weight(self) -> keras.Variable:
        """Returns lambda of SNF Eq. 3."""
        return self.inverse_state["reconstruction_weight"]

    @property
    def log_det_kind(self) -> str:  # type: ignore[override]
        return "exact" if math.prod(self.event_shape) <= _SMALL else "estimate"

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
            return self._train(x, ops.row_seed(self.next_seed() if seed is None else seed))
        if self.log_det_kind == "exact":
            log_det = ops.brute_force_log_det(
                lambda x: self._f(x) - x, x, tf.as_dtype(self.log_det_dtype)
            )
        else:
            probe = self._draw(self.probe, x, ops.row_seed(seed), 0)
            log_det = ops.lanczos_log_det(self._f, x, probe, _STEPS, self.log_det_dtype)
        return self._f(x), self.widen(log_det)

    def _train(self, x: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        probe = self._draw(self.probe, x, seed, 0)
        share = self.log_det.shares_gradient

        def log_det(f: Callable, x: tf.Tensor, g: Callable) -> tf.Tensor:
            seed_of_terms = ops.fold_in(seed, 1)
            return self.log_det(LogDetProblem(f, x, probe, seed_of_terms, _NORM, ops.RESIDUAL, g))

        found = ops.learned_pair(
            networks.as_function(self.forward),
            networks.as_function(self.inverse_network),
            x,
            self.forward.trainable_variables,
            self.inverse_network.trainable_variables,
            log_det,
            probe if share else None,
            tf.as_dtype(self.log_det_dtype),
        )
        error = found.error + self._further_errors(tf.stop_gradient(x), seed)
        loss, state = self.penalty(error, self.inverse_state)
        x = tf.stop_gradient(x)
        # A replica may have no row of a last batch.
        judged = tf.math.divide_no_nan(
            tf.reduce_sum(self._jacobian_error(x[:_JUDGED], probe[:_JUDGED])),
            tf.reduce_sum(tf.square(probe[:_JUDGED])),
        )
        self.judgement.assign(tf.cast(tf.sqrt(judged), self.judgement.dtype))
        if self.jacobian_penalty > 0:
            loss += self.jacobian_penalty * ops.batch_mean(self._jacobian_error(x, probe))
        self.add_loss(loss)
        for name, value in state.items():
            self.inverse_state[name].assign(tf.cast(value, self.inverse_state[name].dtype))
        return found.z, found.log_det

    def _further_errors(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Computes the errors of noisy data and of samples of the prior, `(batch,)`."""
        total = tf.zeros(tf.shape(x)[:1], self.log_det_dtype)
        if self.noise > 0:
            noisy = x + tf.cast(self.noise * self._draw("normal", x, seed, 2), x.dtype)
            total += self._squares(self._g(self._f(noisy)) - noisy)
        if self.prior_weight > 0:
            z = tf.cast(self._draw("normal", x, seed, 3), x.dtype)
            total += self.prior_weight * self._squares(self._f(self._g(z)) - z)
        return total

    def _jacobian_error(self, x: tf.Tensor, probe: tf.Tensor) -> tf.Tensor:
        dtype = tf.as_dtype(self.log_det_dtype)
        return ops.jacobian_error(self._f, x, self._g, probe, dtype)

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        approximate = self._g(z)
        if not exact:
            return approximate
        g = networks.as_function(self.inverse_network)
        constants = [tf.convert_to_tensor(v) for v in self.inverse_network.trainable_variables]
        x = ops.pair_inverse(
            networks.as_function(self.forward),
            lambda z: g(z, *constants),
            z,
            self.forward.trainable_variables,
        ).value
        residual = self._squares(self._f(x) - z)
        # Not of the size of x: of an x far away any residual is as small as rounding errors.
        size = 1.0 + self._squares(z) + self._squares(approximate)
        rounding = _TOLERANCE * np.finfo(z.dtype.as_numpy_dtype).eps
        valid = tf.reduce_all((residual <= rounding**2 * size) & tf.math.is_finite(size))
        message = (
            f"{self.name} must find an x with f(x) = z: is the pair invertible there, and trained? "
            f"|f(x) - z|^2 must be at most {rounding**2:.1e} (1 + |z|^2 + |g(z)|^2)."
        )
        with tf.control_dependencies([ops.require(valid, residual, message)]):
            return tf.identity(x)

    def inverse_error(self) -> tf.Tensor | None:
        return tf.convert_to_tensor(self.judgement)

    def diagnostics(self, x: tf.Tensor, z: tf.Tensor) -> Mapping[str, Any]:
        x, z = self.widen(x), self.widen(z)
        probe = self._draw(self.probe, x, ops.row_seed(0), 0)
        errors = self._jacobian_error(x, probe) / self._squares(probe)
        told = self.inverse_state if self.penalty.adapts else {}
        state = {name: tf.convert_to_tensor(weight) for name, weight in told.items()}
        return {
            "reconstruction_error": ops.batch_mean(self._squares(self._g(z) - x)),
            "inverse_error": tf.sqrt(tf.reduce_max(errors)),
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
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**deserialized(config))

    def _f(self, x: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.forward(x, training=False), x.dtype)

    def _g(self, z: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.inverse_network(z, training=False), z.dtype)

    def _draw(self, kind: str, x: tf.Tensor, seed: tf.Tensor, stream: int) -> tf.Tensor:
        noise = ops.fold_in(seed, stream)
        return PROBES[kind](noise, tf.shape(x), tf.as_dtype(self.log_det_dtype))

    def _squares(self, rows: tf.Tensor) -> tf.Tensor:
        return ops.inner(rows, rows, tf.as_dtype(self.log_det_dtype))
