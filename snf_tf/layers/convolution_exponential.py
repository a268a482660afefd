"""Convolution exponentials."""

from typing import Any

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import check_number
from snf_tf.layers.conv import ExactConv2D
from snf_tf.layers.initial_kernels import require_finite
from snf_tf.layers.initializers import checked_initializer

# Steps of power iteration: few in training, where the kernel hardly changes between calls.
_STEPS = 20
_TRAINING_STEPS = 2


@keras.saving.register_keras_serializable("snf_tf")
class ConvolutionExponential(ExactConv2D):
    """Convolution exponential `z = exp(T) x + bias` (Hoogeboom et al. 2020).

    T is the map of a zero-padded convolution. log_det is the trace of T: H W times the trace of the
    kernel's center. The inverse is the exponential of -T. The series stops where, at a norm of
    `bound`, terms fall below rounding. The published runs took 6 terms in training and 13 in
    evaluation.

    If the spectral norm of T exceeds `bound`, the layer scales the kernel down to this norm. Power
    iteration from `singular_vector` estimates the norm. With `training=False` 20 steps leave the
    vector unchanged; with `training=True` 2 steps update the vector.

    Args:
        kernel_size: An odd integer, or two.
        bound: Largest spectral norm of T, at most 10: beyond, rounding errors would spoil the
            inverse. The estimate of the norm is never too large. Random kernels exceed the bound by
            up to 8 % with `training=False`, and by up to 50 % in the first calls with
            `training=True`.
        kernel_initializer: Initial kernel, `(kh, kw, C, C)`; by default Glorot normal noise of gain
            0.01.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        kernel: `(kh, kw, C, C)`, before scaling.
        bias: `(C,)`.
        singular_vector: `(1, H, W, C)`, not trained: an estimate of T's first right singular
            vector; zeros before the first call with `training=True`.

    Raises:
        ValueError: If a kernel size is even, or bound is not in (0, 10].

    Example:
        >>> layer = snf_tf.layers.ConvolutionExponential(3)
        >>> z, log_det = layer(tf.random.normal((2, 6, 5, 3)))
        >>> x = layer.inverse(z)
    """

    # A file without `singular_vector` loads; power iteration then starts afresh.
    _count_of_optional_weights = 1

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        bound: float = 0.9,
        kernel_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        # NoisyIdentity minus the identity.
        default = keras.initializers.VarianceScaling(1e-4, mode="fan_avg")
        initializer = checked_initializer(kernel_initializer, default)
        super().__init__(kernel_size, kernel_initializer=initializer, **kwargs)
        self.supports_jit = True
        self.bound = check_number("bound", bound, above=0, at_most=10)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        self.singular_vector = self.add_weight(
            name="singular_vector",
            shape=(1, *self.event_shape),
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
        )

    def require_kernel(self) -> None:
        # The exponential of any kernel is invertible.
        require_finite(self.kernel, self.kernel_initializer)

    def call(
        self, x: tf.Tensor, context: tf.Tensor | None = None, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        kernel = self.scaled_kernel(training)
        z = ops.exponential_conv2d(self.widen(x), kernel, self.bound) + self.widen(self.bias)
        return tf.cast(z, self.call_dtype(training)), self.repeat(
            ops.conv2d_trace(kernel, self.event_shape), x
        )

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        kernel = -self.scaled_kernel()
        return ops.exponential_conv2d(z - self.widen(self.bias), kernel, self.bound)

    def constant_log_det(self) -> tf.Tensor:
        return ops.conv2d_trace(self.scaled_kernel(), self.event_shape)

    def scaled_kernel(self, training: bool = False) -> tf.Tensor:
        """Computes the kernel of T, `kernel * min(1, bound / norm)`.

        Args:
            training: As in the call.
        """
        kernel = self.widen(self.kernel)
        vector = ops.conv2d_singular_vector(
            kernel, self.widen(self.singular_vector), _TRAINING_STEPS if training else _STEPS
        )
        if training:
            self.singular_vector.assign(vector)
        return kernel * tf.minimum(self.bound / ops.conv2d_norm(kernel, vector), 1)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"bound": self.bound}
