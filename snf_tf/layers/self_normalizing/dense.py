"""The fully connected layer that keeps its inverse (SNF section 4.1)."""

from typing import Any, ClassVar

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf.layers.dense import ExactDense
from snf_tf.layers.self_normalizing.inverse_method import InverseMethod
from snf_tf.layers.self_normalizing.layer import SelfNormalizing
from snf_tf.layers.self_normalizing.learned import LearnedInverse
from snf_tf.layers.self_normalizing.newton_schulz import NewtonSchulz
from snf_tf.layers.self_normalizing.penalty import Penalty
from snf_tf.layers.self_normalizing.projected import Projected


@keras.saving.register_keras_serializable("snf_tf")
class SelfNormalizingDense(SelfNormalizing, ExactDense):
    """Fully connected layer that trains by its learned inverse (SNF section 4.1).

    With `training=True` and a learned inverse:

    - log_det has the value 0. The gradients of kernel and inverse_kernel are those of SNF Eqs. 10
      and 11, in which the learned inverse replaces the exact one. They cost O(D^2) an example. See
      `snf_tf.ops.self_normalizing_matmul`.
    - the layer adds a loss: `reconstruction_weight` times the mean over the batch of
      `|| (x @ kernel) @ inverse_kernel - x ||^2`. x receives no gradient of this loss.

    Otherwise log_det and gradients are exact, as in `ExactDense`.

    Args:
        reconstruction_weight: Lambda of SNF Eq. 3, short for `penalty=FixedPenalty(weight)`; by
            default 1.
        kernel_initializer: As in `ExactDense`. The inverse kernel starts as the kernel's transpose.
        inverse_method: `LearnedInverse()`, `Projected()` or `NewtonSchulz()`, or their names
            "learned", "projected", "newton_schulz".
        penalty: Short for `inverse_method=LearnedInverse(penalty)`: `FixedPenalty(weight)`,
            `GECO(...)` or `MDMM(...)`, or their names "fixed", "geco", "mdmm".
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        kernel: `(D, D)`, the transpose of W in the paper.
        inverse_kernel: `(D, D)`, the transpose of R: `x ~ (z - bias) @ inverse_kernel`.
        bias: `(D,)`.
        reconstruction_weight: Scalar, not trained; only for a learned inverse.

    Raises:
        ValueError: If inverse_method is unknown. If reconstruction_weight is negative, or given to
            a method without a penalty.

    Example:
        >>> layer = snf_tf.layers.SelfNormalizingDense()
        >>> z, log_det = layer(tf.ones((4, 8)), training=True)
        >>> x = layer.inverse(z, exact=False)
        >>> len(layer.losses)
        1
    """

    inverse_methods: ClassVar = {
        "learned": LearnedInverse,
        "projected": Projected,
        "newton_schulz": NewtonSchulz,
    }

    def __init__(
        self,
        reconstruction_weight: float | None = None,
        kernel_initializer: Any = None,
        inverse_method: str | InverseMethod = "learned",
        penalty: str | Penalty | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_initializer=kernel_initializer,
            reconstruction_weight=reconstruction_weight,
            penalty=penalty,
            inverse_method=inverse_method,
            **kwargs,
        )

    def initial_inverse_kernel(self) -> tf.Tensor:
        return tf.transpose(self.kernel)

    def self_normalizing(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        kernels = self.widen(self.kernel), self.widen(self.inverse_kernel)
        return ops.self_normalizing_matmul(x, *kernels, self.widen(self.bias))

    def times_inverse_kernel(self, y: tf.Tensor) -> tf.Tensor:
        return tf.matmul(y, self.widen(self.inverse_kernel))

    def refined_inverse(self, z: tf.Tensor) -> ops.Solution:
        kernels = self.widen(self.kernel), self.widen(self.inverse_kernel)
        return ops.refined_matmul_solve(z - self.widen(self.bias), *kernels)

    def log_det_gradients(self, x: tf.Tensor, z: tf.Tensor) -> dict[str, tf.Tensor]:
        kernel, kept = tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.inverse_kernel)
        inverses = {
            "kept": kept,
            "transpose": tf.transpose(kernel),
            "projected": ops.project_inverse(kept, x, z - self.bias, damping=1e-3),
            "newton_schulz": ops.newton_schulz_inverse(kernel, kept),
        }
        return {name: tf.transpose(inverse) for name, inverse in inverses.items()}
