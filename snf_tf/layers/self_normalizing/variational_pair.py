"""A pair of networks as a variational autoencoder of small noise (SNF A.4)."""

import math
from typing import Any

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import check_number
from snf_tf.layers.log_det_estimators import LogDetEstimator
from snf_tf.layers.self_normalizing.learned import LearnedInverse
from snf_tf.layers.self_normalizing.pair import SelfNormalizingPair
from snf_tf.layers.self_normalizing.penalty import FixedPenalty


@keras.saving.register_keras_serializable("snf_tf")
class VariationalPair(SelfNormalizingPair):
    """A stochastic map f and decoder g, whose likelihood has a bound (SNF A.4).

    The model is `x ~ N(g(z), sigma^2)`. The encoder is `z = f(x + sigma e)` with standard normal e
    (Gritsenko et al. 2019). What follows z has the density p. Then::

        log p(x) >= E_e [log p(z) + log|det J| + |e|^2 / 2 - |x - g(z)|^2 / (2 sigma^2)],

    J the Jacobian of f at x + sigma e. log_det is all but log p(z). The reconstruction error has
    the weight `1 / (2 sigma^2)`, lambda of SNF Eq. 3. As sigma goes to 0 and g to the inverse of f,
    the bound becomes the exact likelihood of f. f must be one-to-one on the noise around an x
    alone, not everywhere.

    With `training=True` the value leaves log|det J| out, and its gradient is that of `log_det`. Of
    a flow with this layer `log_det_kind` is "bound": it has `log_prob_bound`, not `log_prob`, and
    evaluates to `nll_bound`. `inverse` has no noise: it solves f(x) = z, and with `exact=False` it
    is the mean g(z) of the model.

    Args:
        forward: f, as in `SelfNormalizingPair`.
        inverse: g, likewise.
        sigma: Standard deviation of the noise, positive. Below 1e-3 rounding errors of float32
            count.
        log_det: As in `SelfNormalizingPair`; f gets the gradient whole.
        probe: As there.
        conditional: As there.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: If sigma is not positive; else as in `SelfNormalizingPair`. In `build`, beyond
            1024 dimensions, in which log|det J| is not exact.

    Example:
        >>> networks = [snf_tf.networks.ResidualNetwork((16,)) for _ in range(2)]
        >>> pair = snf_tf.layers.VariationalPair(*networks, sigma=0.1)
        >>> flow = snf_tf.Flow([pair], event_shape=(3,))
        >>> flow.log_prob_bound(tf.zeros((5, 3)), draws=4).shape
        TensorShape([5])
    """

    is_bijection = False
    log_det_kind = "bound"

    def __init__(
        self,
        forward: keras.layers.Layer,
        inverse: keras.layers.Layer,
        sigma: float = 0.01,
        log_det: str | LearnedInverse | LogDetEstimator = "russian_roulette",
        probe: str = "rademacher",
        conditional: bool = False,
        **kwargs: Any,
    ) -> None:
        sigma = check_number("sigma", sigma, above=0)
        penalty = FixedPenalty(0.5 / sigma**2)
        super().__init__(
            forward, inverse, log_det, probe, penalty, conditional=conditional, **kwargs
        )
        self.sigma = sigma

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        if not self.has_exact_log_det:
            raise ValueError(
                "The bound of a VariationalPair needs exact log-determinants: take events of up to "
                f"1024 dimensions. Received: {math.prod(self.event_shape)} dimensions"
            )

    def call(
        self,
        x: tf.Tensor,
        context: tf.Tensor | None = None,
        training: bool = False,
        seed: tf.Tensor | int | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        x = tf.cast(x, self.call_dtype(training))
        seed = ops.row_seed(self.next_seed() if training and seed is None else seed)
        maps, dtype = self._maps(context), self.log_det_dtype
        noise = self._draw("normal", x, seed, 2)
        noisy = x + tf.cast(self.sigma * noise, x.dtype)
        if training:
            probe = self._draw(self.probe, x, seed, 0)
            z, log_det, _ = maps.train(noisy, self.log_det, probe, seed, share=False)
            self._judge(tf.stop_gradient(noisy), context, probe)
        else:
            z, log_det = maps.f(noisy), maps.exact_log_det(noisy, dtype)
        rest = (self.widen(maps.g(z)) - self.widen(x)) / self.sigma
        wide = tf.as_dtype(dtype)
        # The difference of two squares: noise and error cancel where g is exact.
        decoder = 0.5 * ops.inner(noise - rest, noise + rest, wide)
        return z, log_det + decoder

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in ("penalty", "jacobian_penalty", "noise", "prior_weight"):
            del config[name]
        return config | {"sigma": self.sigma}
