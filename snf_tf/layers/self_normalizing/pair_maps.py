"""Both networks of a pair as functions, with the context of a call."""

from collections.abc import Callable
from typing import NamedTuple, Self

import keras
import tensorflow as tf

from snf_tf import networks, ops
from snf_tf.layers.log_det_estimators import LogDetEstimator, LogDetProblem

# For `ByBound`, which asks for the norm of I - G J.
_NORM = 0.9
# Products of the quadrature that estimates log-determinants.
_STEPS = 30


class PairMaps(NamedTuple):
    """A map and its learned inverse as functions.

    Attributes:
        forward: Maps `(x, *values)` to z.
        inverse: Maps `(z, *inverse_values)` to about x.
        values: Those of the trained variables of forward.
        inverse_values: Those of inverse.
        context: What both maps depend on beside x, or None.
    """

    forward: Callable[..., tf.Tensor]
    inverse: Callable[..., tf.Tensor]
    values: list[tf.Tensor]
    inverse_values: list[tf.Tensor]
    context: tf.Tensor | None = None

    @classmethod
    def of(
        cls,
        forward: keras.layers.Layer,
        inverse: keras.layers.Layer,
        context: tf.Tensor | None = None,
    ) -> Self:
        """Reads the values of two networks."""
        return cls(
            networks.as_function(forward),
            networks.as_function(inverse),
            networks.stored_values(forward.trainable_variables),
            networks.stored_values(inverse.trainable_variables),
            context,
        )

    def f(self, x: tf.Tensor) -> tf.Tensor:
        """Computes z from x."""
        return self.forward(ops.beside(x, self.context), *self.values)

    def g(self, z: tf.Tensor) -> tf.Tensor:
        """Computes about x from z."""
        return self.inverse(ops.beside(z, self.context), *self.inverse_values)

    def solve(self, z: tf.Tensor) -> ops.Root:
        """Solves f(x) = z; see `snf_tf.ops.pair_inverse`."""
        if self.context is None:
            return ops.pair_inverse(self.forward, self.g, z, self.values)

        def forward(x: tf.Tensor, context: tf.Tensor, *values: tf.Tensor) -> tf.Tensor:
            return self.forward(ops.beside(x, context), *values)

        return ops.pair_inverse(forward, self.g, z, [self.context, *self.values])

    def train(
        self,
        x: tf.Tensor,
        estimator: LogDetEstimator,
        probe: tf.Tensor,
        seed: tf.Tensor,
        share: bool,
    ) -> ops.LearnedPair:
        """Computes z and the gradients of a training call; see `snf_tf.ops.learned_pair`.

        Args:
            x: `(batch,) + event_shape`.
            estimator: Of the log-determinant, in the dtype of the probe.
            probe: v.
            seed: A row seed, for what is random beside the probe.
            share: Whether both maps share the gradient by halves.
        """

        def log_det(f: Callable, x: tf.Tensor, g: Callable) -> tf.Tensor:
            seed_of_terms = ops.fold_in(seed, 1)
            return estimator(LogDetProblem(f, x, probe, seed_of_terms, _NORM, ops.RESIDUAL, g))

        halves = probe if share else None
        maps = self.forward, self.inverse, x, self.values, self.inverse_values
        return ops.learned_pair(*maps, log_det, halves, probe.dtype, self.context)

    def exact_log_det(self, x: tf.Tensor, dtype: str) -> tf.Tensor:
        """Computes log|det J| by the whole Jacobian, `(batch,)`."""
        return ops.brute_force_log_det(lambda x: self.f(x) - x, x, tf.as_dtype(dtype))

    def log_det_estimate(self, x: tf.Tensor, probe: tf.Tensor, dtype: str) -> tf.Tensor:
        """Estimates log|det J| by a probe, `(batch,)`."""
        return ops.lanczos_log_det(self.f, x, probe, _STEPS, tf.as_dtype(dtype))

    def data_error(self, x: tf.Tensor, dtype: str) -> tf.Tensor:
        """Computes |g(f(x)) - x|^2, `(batch,)`."""
        return _squares(self.g(self.f(x)) - x, dtype)

    def latent_error(self, z: tf.Tensor, dtype: str) -> tf.Tensor:
        """Computes |f(g(z)) - z|^2, `(batch,)`."""
        return _squares(self.f(self.g(z)) - z, dtype)

    def jacobian_error(self, x: tf.Tensor, probe: tf.Tensor, dtype: str) -> tf.Tensor:
        """Computes |G J v - v|^2, `(batch,)`, for a probe v; it trains the inverse alone."""
        return ops.jacobian_error(self.f, x, self.g, probe, tf.as_dtype(dtype))

    def inverse_error(self, x: tf.Tensor, probe: tf.Tensor, dtype: str) -> tf.Tensor:
        """Computes |G J v - v| / |v| over a batch, a scalar; 0 of an empty one."""
        # A replica may have no row of a last batch.
        square = tf.math.divide_no_nan(
            tf.reduce_sum(self.jacobian_error(x, probe, dtype)),
            tf.reduce_sum(tf.square(tf.cast(probe, dtype))),
        )
        return tf.sqrt(square)


def _squares(rows: tf.Tensor, dtype: str) -> tf.Tensor:
    return ops.inner(rows, rows, tf.as_dtype(dtype))
