"""How a residual block computes or estimates log|det(I + J)|."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import keras
import numpy as np
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import check_choice, check_integer
from snf_tf.layers.options import Option, deserialized, resolve
from snf_tf.layers.term_distributions import TERM_DISTRIBUTIONS, TermDistribution

Map = Callable[[tf.Tensor], tf.Tensor]
# A number of terms beyond has a probability below that of a rounding error.
_LONGEST, _NEGLIGIBLE = 2000, 1e-16


class LogDetProblem(NamedTuple):
    """What an estimator is asked for: log|det(I + J)|, J the Jacobian of function at x.

    Attributes:
        function: Maps x to g(x).
        x: `(batch,) + event_shape`.
        probe: v, of the shape of x; E[v v^T] = I.
        seed: A row seed, for what is random beside the probe; shared by the batch.
        lipschitz: The Lipschitz constant of g.
        terms: As in `snf_tf.ops.brute_force_log_det`.
        inverse: As in `snf_tf.ops.series_log_det`: with it function is the whole map.
    """

    function: Map
    x: tf.Tensor
    probe: tf.Tensor
    seed: tf.Tensor
    lipschitz: float
    terms: Any = ops.RESIDUAL
    inverse: Map | None = None


class LogDetEstimator(Option):
    """A way to log|det(I + J)|.

    Attributes:
        is_exact: Whether the value is no estimate.
        shares_gradient: Whether a map and its learned inverse share the gradient by halves.
        needs_contraction: Whether it is of no use where the series diverges.
        supports_jit: Whether XLA compiles it, and its gradient, on every device.
    """

    is_exact = False
    shares_gradient = False
    needs_contraction = True
    supports_jit = True

    def __call__(self, problem: LogDetProblem) -> tf.Tensor:
        """Returns `(batch,)` in the dtype of the probe, in nats, with its gradient."""
        raise NotImplementedError

    def for_evaluation(self) -> "LogDetEstimator":
        """Returns what evaluates in the place of this one where dimensions are many.

        By default roulette after 20 exact terms: unbiased, and of little variance (RF section 5.1).
        """
        return RussianRoulette(exact_terms=20)

    def _series(
        self, problem: LogDetProblem, coefficients: tf.Tensor, count: tf.Tensor | None = None
    ) -> tf.Tensor:
        function, x, probe, _, _, terms, inverse = problem
        weights = ops.series_weights(tf.cast(coefficients, probe.dtype), terms)
        return ops.power_series(function, x, probe, *weights, inverse=inverse, count=count)


@keras.saving.register_keras_serializable("snf_tf")
class RussianRoulette(LogDetEstimator):
    """The unbiased estimator of Residual Flows (RF Theorems 1, 2).

    The power series runs to `exact_terms + N` terms. Those after the exact ones are divided by the
    probability of reaching them. Gradients are the Neumann series'. N is drawn once a call.

    Args:
        exact_terms: Terms that are always computed, at least 0.
        distribution: `Geometric(0.5)`, `Poisson(2)` or `ByBound()`, or their names "geometric",
            "poisson", "by_bound".

    Raises:
        ValueError: If an argument is none of these.

    Example:
        >>> roulette = RussianRoulette(distribution=snf_tf.layers.Geometric(0.5))
        >>> roulette.coefficients(4, lipschitz=0.9).tolist()
        [1.0, 1.0, 1.0, 2.0]
    """

    # XLA cannot differentiate a series of an unknown number of terms.
    supports_jit = False

    def __init__(
        self, exact_terms: int = 2, distribution: str | TermDistribution = "geometric"
    ) -> None:
        self.exact_terms = exact_terms = check_integer("exact_terms", exact_terms, 0)
        self.distribution = resolve(distribution, TERM_DISTRIBUTIONS, "distribution")
        super().__init__(exact_terms=exact_terms, distribution=self.distribution)

    def coefficients(self, count: int, lipschitz: float) -> np.ndarray:
        """Returns the factors of the first `count` terms, `1 / P(N >= k - exact_terms)`."""
        later = np.arange(1.0, max(count - self.exact_terms, 0) + 1.0)
        factors = 1.0 / self.distribution.survival(later, lipschitz)
        return np.concatenate([np.ones(self.exact_terms), factors])[:count]

    def __call__(self, problem: LogDetProblem) -> tf.Tensor:
        survival = self.distribution.survival(np.arange(1.0, _LONGEST), problem.lipschitz)
        survival = survival[: max(int(np.sum(survival > _NEGLIGIBLE)), 1)]
        # The same number on all replicas: the row does not count.
        uniform = tf.random.stateless_uniform((), problem.seed[:2], dtype=tf.float64)
        n = tf.reduce_sum(tf.cast(survival > uniform, tf.int32))
        factors = self.coefficients(self.exact_terms + len(survival), problem.lipschitz)
        return self._series(problem, tf.constant(factors), self.exact_terms + n)

    def for_evaluation(self) -> LogDetEstimator:
        return RussianRoulette(max(20, self.exact_terms), self.distribution)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return cls(**deserialized(config))


@keras.saving.register_keras_serializable("snf_tf")
class TruncatedSeries(LogDetEstimator):
    """The biased estimator of i-ResNets (Behrmann et al. 2019): a fixed number of terms.

    Args:
        terms: At least 1.
        gradient: "neumann", whose memory does not grow with the terms, or "series", the gradient of
            the value (RF Eq. 7), for comparison.

    Raises:
        ValueError: If terms is not a positive integer, or gradient is unknown.
    """

    def __init__(self, terms: int = 10, gradient: str = "neumann") -> None:
        check_choice("gradient", gradient, ("neumann", "series"))
        super().__init__(terms=check_integer("terms", terms, 1), gradient=gradient)

    def __call__(self, problem: LogDetProblem) -> tf.Tensor:
        function, x, probe = problem[:3]
        ones = tf.ones((self.options["terms"],), probe.dtype)
        if self.options["gradient"] == "neumann":
            return self._series(problem, ones)

        def log_det(sign: float) -> tf.Tensor:
            return ops.series_log_det(
                lambda x: sign * function(x), x, probe, ones, "series", problem.inverse
            )

        return tf.add_n([factor * log_det(sign) for factor, sign in problem.terms])


@keras.saving.register_keras_serializable("snf_tf")
class Krylov(LogDetEstimator):
    """A Krylov space of a fixed number of products: nothing is random but the probe.

    Its error is far below the probe's own where J has real eigenvalues; see docs/residual_flows.md.

    Args:
        products: Products with the Jacobian, at least 1.

    Raises:
        ValueError: If products is not a positive integer.
    """

    needs_contraction = False

    def __init__(self, products: int = 4) -> None:
        super().__init__(products=check_integer("products", products, 1))

    def __call__(self, problem: LogDetProblem) -> tf.Tensor:
        function, x, probe, _, _, terms, inverse = problem
        count = self.options["products"]
        return ops.krylov_log_det(function, x, probe, count, inverse, probe.dtype, terms).value

    def for_evaluation(self) -> LogDetEstimator:
        return Krylov(max(10, self.options["products"]))


@keras.saving.register_keras_serializable("snf_tf")
class BruteForce(LogDetEstimator):
    """The exact log-determinant by the whole Jacobian, for few dimensions.

    Beyond two dimensions XLA cannot compile it: train with `jit_compile=False`.
    """

    is_exact = True
    needs_contraction = False
    supports_jit = False

    def __init__(self) -> None:
        super().__init__()

    def __call__(self, problem: LogDetProblem) -> tf.Tensor:
        function, x, probe, _, _, terms, inverse = problem
        if inverse is not None:
            # Of a whole map.
            return ops.brute_force_log_det(lambda x: function(x) - x, x, probe.dtype)
        return ops.brute_force_log_det(function, x, probe.dtype, terms)

    def for_evaluation(self) -> LogDetEstimator:
        return self


@keras.saving.register_keras_serializable("snf_tf")
class NotTrained(LogDetEstimator):
    """No log-determinant in training, where a loss does without: its value and gradient are 0.

    Args:
        estimator: What evaluates is that of this estimator, or of its name.

    Raises:
        ValueError: If estimator is none of these.
    """

    def __init__(self, estimator: str | LogDetEstimator = "russian_roulette") -> None:
        super().__init__(estimator=resolve(estimator, LOG_DET_ESTIMATORS, "estimator"))

    def __call__(self, problem: LogDetProblem) -> tf.Tensor:
        return tf.zeros(tf.shape(problem.x)[:1], problem.probe.dtype)

    def for_evaluation(self) -> LogDetEstimator:
        return self.options["estimator"].for_evaluation()


LOG_DET_ESTIMATORS: Mapping[str, type] = {
    "russian_roulette": RussianRoulette,
    "truncated_series": TruncatedSeries,
    "krylov": Krylov,
    "brute_force": BruteForce,
    "not_trained": NotTrained,
}
