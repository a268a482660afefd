"""The convolution that keeps its inverse as another convolution (SNF section 4.2)."""

from typing import Any, ClassVar

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf.layers.conv import ExactConv2D, odd_size
from snf_tf.layers.self_normalizing.inverse_method import InverseMethod
from snf_tf.layers.self_normalizing.layer import SelfNormalizing
from snf_tf.layers.self_normalizing.learned import LearnedInverse
from snf_tf.layers.self_normalizing.least_squares import LeastSquares
from snf_tf.layers.self_normalizing.penalty import Penalty


@keras.saving.register_keras_serializable("snf_tf")
class SelfNormalizingConv2D(SelfNormalizing, ExactConv2D):
    """Convolution that trains by its learned inverse, another convolution (SNF section 4.2).

    With `training=True` and a learned inverse:

    - log_det has the value 0. The gradients of kernel and inverse_kernel are those of SNF Eqs. 15
      and 16, halved by the mixture of Eq. 3. Kernels of different sizes take Eqs. 28-30. See
      `snf_tf.ops.self_normalizing_conv2d`.
    - the layer adds a loss: `reconstruction_weight` times the mean over the batch of
      `|| conv2d(conv2d(x, kernel), inverse_kernel) - x ||^2`. x receives no gradient of this loss.

    Otherwise log_det and gradients are exact, as in `ExactConv2D`.

    Args:
        kernel_size: An odd integer, or two.
        inverse_kernel_size: Likewise for the inverse kernel; by default `kernel_size`.
        reconstruction_weight: Lambda of SNF Eq. 3, short for `penalty=FixedPenalty(weight)`; by
            default 1.
        kernel_initializer: As in `ExactConv2D`. The inverse kernel starts as the flip of the
            kernel, cropped or padded with zeros.
        inverse_method: `LearnedInverse()` or `LeastSquares()`, or their names "learned" and
            "least_squares".
        penalty: Short for `inverse_method=LearnedInverse(penalty)`: `FixedPenalty(weight)`,
            `GECO(...)` or `MDMM(...)`, or their names "fixed", "geco", "mdmm".
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        kernel: `(kh, kw, C, C)`, HWIO.
        inverse_kernel: `(rh, rw, C, C)`: `x ~ conv2d(z - bias, inverse_kernel)`.
        bias: `(C,)`.
        reconstruction_weight: Scalar, not trained; only for a learned inverse.

    Raises:
        ValueError: If a kernel size is even or not positive, or inverse_method is unknown. If
            reconstruction_weight is negative, or given to a method without a penalty.

    Example:
        >>> layer = snf_tf.layers.SelfNormalizingConv2D(kernel_size=3, inverse_kernel_size=7)
        >>> z, log_det = layer(tf.ones((2, 6, 5, 3)), training=True)
        >>> x = layer.inverse(z, exact=False)
    """

    inverse_methods: ClassVar = {"learned": LearnedInverse, "least_squares": LeastSquares}

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        inverse_kernel_size: int | tuple[int, int] | None = None,
        reconstruction_weight: float | None = None,
        kernel_initializer: Any = None,
        inverse_method: str | InverseMethod = "learned",
        penalty: str | Penalty | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size,
            kernel_initializer=kernel_initializer,
            reconstruction_weight=reconstruction_weight,
            penalty=penalty,
            inverse_method=inverse_method,
            **kwargs,
        )
        self.inverse_kernel_size = self.kernel_size
        if inverse_kernel_size is not None:
            self.inverse_kernel_size = odd_size(inverse_kernel_size, "inverse_kernel_size")

    def initial_inverse_kernel(self) -> tf.Tensor:
        kernel = tf.convert_to_tensor(self.kernel)
        return ops.flip(ops.resize_kernel(kernel, self.inverse_kernel_size))

    def self_normalizing(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        kernels = self.widen(self.kernel), self.widen(self.inverse_kernel)
        return ops.self_normalizing_conv2d(x, *kernels, self.widen(self.bias))

    def times_inverse_kernel(self, y: tf.Tensor) -> tf.Tensor:
        return ops.conv2d(y, self.widen(self.inverse_kernel))

    def refined_inverse(self, z: tf.Tensor) -> ops.Solution:
        kernels = self.widen(self.kernel), self.widen(self.inverse_kernel)
        return ops.refined_conv2d_solve(z - self.widen(self.bias), *kernels)

    def log_det_gradients(self, x: tf.Tensor, z: tf.Tensor) -> dict[str, tf.Tensor]:
        kernel = tf.convert_to_tensor(self.kernel)
        inverses = {
            "kept": tf.convert_to_tensor(self.inverse_kernel),
            "transpose": ops.flip(kernel),
        }
        for n in (3, 5, 7):
            size = max(n, self.kernel_size[0]), max(n, self.kernel_size[1])
            inverses[f"least_squares_{n}"] = ops.least_squares_inverse_kernel(kernel, size)
        image_size = self.event_shape[:2]
        return {
            name: ops.conv2d_log_det_gradient(inverse, self.kernel_size, image_size)
            for name, inverse in inverses.items()
        }

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"inverse_kernel_size": self.inverse_kernel_size}
