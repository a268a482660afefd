"""Convolution exponentials."""

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf.layers.conv import ExactConv2D


@keras.saving.register_keras_serializable("snf_tf")
class ConvolutionExponential(ExactConv2D):
    """Convolution exponential (Hoogeboom et al. 2020): `z = exp(T) x + bias`, T the map of a
    zero-padded convolution.

    log_det is the trace of T, H W times that of the kernel's center; the inverse is the exponential
    of -T. The series ends where its terms are below rounding (the published runs took 6 terms in
    training and 13 in evaluation). The kernel is scaled down to a spectral norm of `bound`, found
    by power iteration, where it has a larger one.

    Args:
        kernel_size: An odd integer, or two.
        bound: Largest spectral norm of T, to about 2 %; at most 10, for more the inverse would have
            no digits left.
        kernel_initializer: Initial kernel, `(kh, kw, C, C)`; by default Glorot normal noise of gain
            0.01.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        kernel: `(kh, kw, C, C)`, before it is scaled.
        bias: `(C,)`.

    Raises:
        ValueError: If a kernel size is even, or bound is not in (0, 10].

    Example:
        >>> layer = snf_tf.layers.ConvolutionExponential(3)
        >>> z, log_det = layer(tf.random.normal((2, 6, 5, 3)))
        >>> x = layer.inverse(z)
    """

    def __init__(self, kernel_size, bound=0.9, kernel_initializer=None, **kwargs):
        # NoisyIdentity minus the identity.
        initializer = kernel_initializer or keras.initializers.VarianceScaling(1e-4, mode="fan_avg")
        super().__init__(kernel_size, kernel_initializer=initializer, **kwargs)
        if not 0 < bound <= 10:
            raise ValueError(f"bound must be positive, and 10 at most. Received: bound={bound}")
        self.supports_jit = True
        self.bound = bound

    def call(self, x, context=None, training=False):
        kernel = self.scaled_kernel()
        z = ops.exponential_conv2d(self.widen(x), kernel) + self.widen(self.bias)
        return tf.cast(z, self.call_dtype(training)), self.repeat(
            ops.conv2d_trace(kernel, self.event_shape), x
        )

    def call_inverse(self, z, context=None, exact=True):
        return ops.exponential_conv2d(z - self.widen(self.bias), -self.scaled_kernel())

    def constant_log_det(self):
        return ops.conv2d_trace(self.scaled_kernel(), self.event_shape)

    def scaled_kernel(self):
        """The kernel of T: `kernel * min(1, bound / norm)`."""
        kernel = self.widen(self.kernel)
        return kernel * tf.minimum(self.bound / ops.conv2d_norm(kernel, self.event_shape), 1)

    def get_config(self):
        return super().get_config() | {"bound": self.bound}
