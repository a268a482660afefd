"""Convolutional bijections `z = conv2d(x, kernel) + bias` with exact log-determinants."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import check_odd_sizes
from snf_tf.layers.flow_layer import FlowLayer
from snf_tf.layers.initial_kernels import require_regular, solve_conv2d
from snf_tf.layers.initializers import NoisyIdentity, checked_initializer


@keras.saving.register_keras_serializable("snf_tf")
class ExactConv2D(FlowLayer):
    """Convolution with the exact log-determinant, in training too.

    `z = conv2d(x, kernel) + bias` on `(batch, H, W, C)`, with stride 1 and zero padding. Block
    cyclic reduction computes log_det and the inverse without the dense (HWC, HWC) matrix; see
    `snf_tf.ops.banded`.

    Args:
        kernel_size: An odd integer, or two.
        kernel_initializer: Initial kernel, `(kh, kw, C, C)`; by default `NoisyIdentity(gain=0.01)`
            (SNF A.3).
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        kernel: `(kh, kw, C, C)`, HWIO.
        bias: `(C,)`.

    Raises:
        ValueError: If a kernel size is even or not positive.

    Example:
        >>> layer = snf_tf.layers.ExactConv2D(kernel_size=3)
        >>> z, log_det = layer(tf.ones((2, 6, 5, 3)))
        >>> x = layer.inverse(z)
        >>> bool(tf.reduce_all(tf.abs(x - 1) < 1e-5))
        True
    """

    event_shape: tuple[int, int, int]
    takes_context = False
    log_det_is_constant = True

    def __init__(
        self, kernel_size: int | tuple[int, int], kernel_initializer: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        # XLA has no LU kernel.
        self.supports_jit = False
        self.kernel_size = odd_size(kernel_size, "kernel_size")
        self.kernel_initializer = checked_initializer(kernel_initializer, NoisyIdentity())

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights for inputs of shape `(batch, H, W, C)`.

        Raises:
            ValueError: If the input is not of rank 4.
        """
        super().build(input_shape)
        self.require_images()
        channels = self.event_shape[2]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.kernel_size, channels, channels),
            initializer=self.kernel_initializer,
        )
        self.require_kernel()
        self.bias = self.add_weight(name="bias", shape=(channels,), initializer="zeros")

    def require_kernel(self) -> None:
        """Raises a ValueError in build, if the initial kernel has no inverse."""
        require_regular(self.kernel, self.kernel_initializer, solve_conv2d, self.event_shape)

    def affine(self, x: tf.Tensor) -> tf.Tensor:
        """Computes z, with convolutions in the dtype of x."""
        return ops.affine_conv2d(x, self.widen(self.kernel), self.widen(self.bias))

    def call(
        self, x: tf.Tensor, context: tf.Tensor | None = None, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        z = self.affine(tf.cast(x, self.call_dtype(training)))
        kernel = self.widen(self.kernel)
        log_det = ops.conv2d_log_det(kernel, self.event_shape, with_gradient=training)
        return z, self.repeat(log_det, x)

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        return ops.conv2d_solve(z - self.widen(self.bias), self.widen(self.kernel))

    def constant_log_det(self) -> tf.Tensor:
        kernel = self.widen(self.kernel)
        return ops.conv2d_log_det(kernel, self.event_shape, with_gradient=False)

    def diagnostics(self, x: tf.Tensor, z: tf.Tensor) -> Mapping[str, Any]:
        return {"kernel_norm": tf.norm(self.kernel.value), "log_det": self.constant_log_det()}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "kernel_size": self.kernel_size,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def odd_size(size: int | tuple[int, int], name: str) -> tuple[int, int]:
    """Returns a kernel size as two integers.

    Raises:
        ValueError: If size is not one odd positive integer, or two.
    """
    # Otherwise the transpose is no convolution with the same zero padding.
    return check_odd_sizes(name, size)
