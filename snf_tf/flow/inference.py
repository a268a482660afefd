"""Uses of a fitted flow: likelihoods, latents, samples, bijectors."""

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from snf_tf import ops
from snf_tf._array_checks import check_array, refuse_array
from snf_tf._checks import check_flag, check_integer, check_scalar, check_seed_tensor
from snf_tf.flow.checking import FlowChecking
from snf_tf.flow.estimation import LogProbEstimate, bound, estimate
from snf_tf.flow.graph_function import traced

if TYPE_CHECKING:
    from tensorflow_probability.distributions import TransformedDistribution

    from snf_tf.bijectors import FlowBijector


class FlowInference(FlowChecking):
    """Adds the uses of a fitted flow to `snf_tf.Flow`; exact unless an argument says otherwise."""

    base: Any

    def log_prob(
        self,
        x: tf.Tensor,
        context: tf.Tensor | None = None,
        seed: int | None = None,
        batch_size: int | None = None,
    ) -> tf.Tensor:
        """Computes the exact log-density of data.

        Args:
            x: `(batch,) + event_shape`.
            context: `(batch, ...)`, handed to every layer.
            seed: Seed of the dequantization noise, an integer; None is 0, so that two calls agree.
                Row i gets the noise of (seed, i).
            batch_size: Rows that are computed at once; all by default. It changes no number.

        Returns:
            `(batch,)`, in nats, empty for an empty batch. For images log p(x + u) on the scale of
            0..255, whose mean over u bounds log P(x) from below.

        Raises:
            ValueError: If x or the context is no real numbers, has the wrong shape, is not finite
                in the dtype of the flow, or is not accepted by a layer. If a layer can only
                estimate its log-determinant: take `estimate_log_prob`. If noise has a learned
                density: take `log_prob_bound`.
        """
        self.require_exact("log_prob")
        return self._by_rows(self._log_prob, x, context, seed, batch_size)

    def estimate_log_prob(
        self,
        x: tf.Tensor,
        context: tf.Tensor | None = None,
        draws: int = 8,
        seed: int | None = None,
        batch_size: int | None = None,
    ) -> LogProbEstimate:
        """Estimates the log-density of data, without bias but for that of layers that say so.

        The dequantization noise is that of `log_prob` with the same seed; a draw has its own
        probes. Where every layer is exact, all draws agree.

        Args:
            x: As in `log_prob`.
            context: As there.
            draws: K, the number of estimates that are averaged.
            seed: As there.
            batch_size: As there.

        Returns:
            `(mean, standard_error)`, `(batch,)` each, in nats: over the draws of every row. With
            one draw the standard error is NaN.

        Raises:
            ValueError: As `log_prob`, or if draws is not positive.
        """
        self.require_no_bound("estimate_log_prob")
        count = check_scalar("draws", draws, tf.int32, at_least=1)

        def by_draws(x, context, seed, version):
            return self._estimates(x, context, seed, count, version)

        return LogProbEstimate(*self._by_rows(by_draws, x, context, seed, batch_size))

    def log_prob_bound(
        self,
        x: tf.Tensor,
        context: tf.Tensor | None = None,
        draws: int = 1,
        seed: int | None = None,
        batch_size: int | None = None,
    ) -> tf.Tensor:
        """Bounds log P(x) of integers from below, by the density of what dequantizes them.

        `log(1/K sum_k w_k)` with `w_k = p(x + u_k) / q(u_k|x)`, over draws u_k of the noise (Burda
        et al. 2016; Ho et al. 2019). It is a bound in the mean over the noise, tighter for more
        draws, and tends to log P(x). With `Dequantize` q is 1.

        Args:
            x: As in `log_prob`.
            context: As there.
            draws: K; draw k has the noise of seed + k.
            seed: As there.
            batch_size: As there.

        Returns:
            `(batch,)`, in nats. Without noise in the flow, log p(x).

        Raises:
            ValueError: As `log_prob`, but for bounds; or if draws is not positive.
        """
        self.require_no_estimate("log_prob_bound")
        count = check_scalar("draws", draws, tf.int32, at_least=1)

        def by_draws(x, context, seed, version):
            return self._bounds(x, context, seed, count, version)

        return self._by_rows(by_draws, x, context, seed, batch_size)

    def encode(
        self,
        x: tf.Tensor,
        context: tf.Tensor | None = None,
        seed: int | None = None,
        batch_size: int | None = None,
    ) -> tf.Tensor:
        """Maps data `(batch,) + event_shape` to latents `(batch, D)`, float32 at least.

        Arguments and errors are those of `log_prob`.
        """
        return self._by_rows(self._encode, x, context, seed, batch_size)

    def decode(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        """Maps latents `(batch, D)` to data; images are floats in [0, 256).

        Args:
            z: `(batch, D)`.
            context: `(batch, ...)`, handed to every layer.
            exact: Whether to use the exact inverses, or the approximate ones where there are any.

        Raises:
            ValueError: If z or the context is no real numbers, has the wrong shape, or is not
                finite in the dtype of the flow; in a graph values are checked when it runs.
        """
        exact = check_flag("exact", exact)
        z = check_array("z", z)
        if z.shape.rank is not None and tuple(z.shape[1:]) != self.latent_shape:
            refuse_array("z", z, f"of shape (batch,) + {self.latent_shape}: decode takes latents")
        finite = tf.reduce_all(tf.math.is_finite(self.widen(z)))
        z = ops.require(finite, z, f"z must be finite in {self.log_det_dtype}.")
        self.prepare()
        return self._decode(z, self.check_context(context, z), exact, self.version)

    def sample(
        self,
        n: int | tf.Tensor,
        context: tf.Tensor | None = None,
        exact: bool = False,
        temperature: float | tf.Tensor = 1.0,
        seed: int | tf.Tensor | None = None,
        batch_size: int | None = None,
    ) -> tf.Tensor:
        """Draws samples.

        Args:
            n: How many, an integer of at least 1.
            context: `(n, ...)`, or one row for all samples; handed to every layer.
            exact: Whether to use the exact inverses, or the approximate ones where there are any.
            temperature: Factor on the latents.
            seed: An integer; None draws one from TensorFlow's global generator.
            batch_size: Rows that are decoded at once; all by default. It changes no number.

        Returns:
            `(n,) + event_shape`; images are floats in [0, 256).

        Raises:
            ValueError: If n is not an integer of at least 1, temperature is negative, or the
                context does not fit.
        """
        # As tensors: TensorFlow traces anew for every Python number.
        n = check_scalar("n", n, tf.int32, at_least=1)
        temperature = check_scalar("temperature", temperature, self.log_det_dtype, at_least=0)
        exact = check_flag("exact", exact)
        check_integer("batch_size", batch_size, 1, optional=True)
        if seed is None:
            seed = tf.random.uniform((), maxval=tf.int64.max, dtype=tf.int64)
        seed = check_seed_tensor(seed)
        self.prepare()
        if context is not None:
            context = check_array("context", context)
            # One row goes to all samples.
            rows = tf.shape(context)[:1]
            context = tf.repeat(context, tf.where(rows == 1, n, 1), axis=0)
        context = self.check_context(context, tf.zeros((n, 0)))  # Of n rows.
        z = self._latents(n, temperature, seed, *self._of_base(context))
        if batch_size is None:
            return self._decode(z, context, exact, self.version)
        parts = [
            self._decode(z[i : i + batch_size], _rows(context, i, batch_size), exact, self.version)
            for i in range(0, len(z), batch_size)
        ]
        return tf.concat(parts, axis=0)

    # TensorFlow Probability takes seconds to import, and only these two need it.
    @property
    def bijector(self) -> "FlowBijector":
        """Returns the flow as a TFP bijector; see `snf_tf.bijectors.as_bijector`."""
        from snf_tf.bijectors import as_bijector

        return as_bijector(self)

    @property
    def distribution(self) -> "TransformedDistribution":
        """Returns the flow's TFP distribution of data; see `snf_tf.bijectors.as_distribution`."""
        from snf_tf.bijectors import as_distribution

        return as_distribution(self)

    # The computations. A change of a layer changes the version, for which they are traced anew.

    def base_log_prob(self, z: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        """Computes the log-density (nats) of latents `(batch, D)` under the base: `(batch,)`."""
        z = tf.cast(z, self.log_det_dtype)
        if self.base is None:
            return ops.standard_normal_log_prob(z)
        return self.base.log_prob(z, *self._of_base(context))

    def _of_base(self, context):
        return (context,) if getattr(self.base, "takes_context", False) else ()

    def latents_and_log_prob(
        self, x: tf.Tensor, context: tf.Tensor | None, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes latents `(batch, D)` and log-densities `(batch,)` of checked data."""
        return self._latents_and_log_prob(x, context, seed, self.version)

    def _by_rows(self, function, x, context, seed, batch_size):
        check_integer("batch_size", batch_size, 1, optional=True)
        self.prepare()
        x = self.check_data(x)
        context, seed = self.check_context(context, x), ops.row_seed(seed)
        if batch_size is None or x.shape[0] == 0:
            return function(x, context, seed, self.version)
        parts = [
            function(
                x[i : i + batch_size],
                _rows(context, i, batch_size),
                seed + tf.constant([0, 0, i], tf.int64),
                self.version,
            )
            for i in range(0, len(x), batch_size)
        ]
        return tf.nest.map_structure(lambda *rows: tf.concat(rows, axis=0), *parts)

    @traced
    def _estimates(self, x, context, seed, draws, version):
        return tuple(estimate(self, x, context, seed, draws))

    @traced
    def _bounds(self, x, context, seed, draws, version):
        return bound(self, x, context, seed, draws)

    @traced
    def _latents_and_log_prob(self, x, context, seed, version):
        z, log_det = self.forward(x, context, seed=seed)
        return tf.cast(z, self.log_det_dtype), self.base_log_prob(z, context) + log_det

    @traced
    def _log_prob(self, x, context, seed, version):
        z, log_det = self.forward(x, context, seed=seed)
        return self.base_log_prob(z, context) + log_det

    @traced
    def _encode(self, x, context, seed, version):
        return tf.cast(self.forward(x, context, seed=seed)[0], self.log_det_dtype)

    @traced
    def _decode(self, z, context, exact, version):
        return self.inverse(z, context=context, exact=exact)

    @traced
    def _latents(self, n, temperature, seed, context=None):
        seed = tf.bitcast(seed, tf.int32)
        if self.base is None:
            shape = [n, *self.latent_shape]
            z = tf.random.stateless_normal(shape, seed=seed, dtype=self.log_det_dtype)
        else:
            given = self._of_base(context)
            z = tf.cast(self.base.sample(n, seed, *given), self.log_det_dtype)
        return tf.cast(temperature, self.log_det_dtype) * z


def _rows(context, first, count):
    return None if context is None else context[first : first + count]
