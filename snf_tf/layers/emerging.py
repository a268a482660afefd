"""Emerging convolutions: two autoregressive convolutions in opposite orders."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import check_integer, refuse
from snf_tf.layers.flow_layer import FlowLayer
from snf_tf.layers.initial_kernels import require_finite, require_regular, solve_dense
from snf_tf.layers.initializers import NoisyIdentity, checked_initializer


@keras.saving.register_keras_serializable("snf_tf")
class EmergingConv2D(FlowLayer):
    """Emerging convolution (Hoogeboom et al. 2019), exact in training, too.

    `z = conv2d(conv2d(x, first), second) + bias`, with two autoregressive convolutions. `first`
    sees the pixels above and to the left, and at its own pixel the channels up to its own. `second`
    sees the pixels below and to the right, and at its own pixel the channels from its own on. Both
    maps are triangular: log_det is H W times the sum of log|diagonal entry| of both kernels.
    Both together see kernel_size x kernel_size pixels. The inverse solves both by block cyclic
    reduction (`snf_tf.ops.banded`). The published runs put a 1x1 convolution before this layer.

    Args:
        kernel_size: An odd integer k of at least 3; each of the two kernels is (k + 1) / 2 wide.
        kernel_initializer: Initializer of both kernels, called for `(k, k, C, C)`, of which each
            kernel takes its quarter. By default `NoisyIdentity(gain=0.01)`.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        kernel: `(m, m, C, C)`, m = (k + 1) / 2, of the first convolution. The last tap is the own
            pixel's; only its upper triangle counts (from channel i to j >= i).
        reverse_kernel: `(m, m, C, C)`, of the second convolution. The first tap is the own pixel's;
            only its lower triangle counts.
        bias: `(C,)`.

    Raises:
        ValueError: If kernel_size is not odd or below 3, or the input is no image.

    Example:
        >>> layer = snf_tf.layers.EmergingConv2D(3)
        >>> z, log_det = layer(tf.random.normal((2, 6, 5, 3)))
        >>> x = layer.inverse(z)
    """

    takes_context = False
    log_det_is_constant = True

    def __init__(self, kernel_size: int = 3, kernel_initializer: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kernel_size = check_integer("kernel_size", kernel_size, 3)
        if kernel_size % 2 == 0:
            refuse("kernel_size", kernel_size, "an odd integer of at least 3")
        self.kernel_initializer = checked_initializer(kernel_initializer, NoisyIdentity())

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        self.require_images()
        channels, reach = self.event_shape[2], self.kernel_size // 2

        def add(name: str, part: slice) -> keras.Variable:
            def initial(shape: tuple[int, ...], dtype: Any) -> tf.Tensor:
                whole = self.kernel_initializer(
                    (self.kernel_size, self.kernel_size, channels, channels), dtype=dtype
                )
                return whole[part, part]

            shape = (reach + 1, reach + 1, channels, channels)
            return self.add_weight(name=name, shape=shape, initializer=initial)

        self.kernel = add("kernel", slice(None, reach + 1))
        self.reverse_kernel = add("reverse_kernel", slice(reach, None))
        # Both kernels are triangular: the numbers on their diagonals decide.
        first = require_finite(self.kernel, self.kernel_initializer)
        second = require_finite(self.reverse_kernel, self.kernel_initializer)
        if first is not None and second is not None:
            own = np.diagonal(first[-1, -1]), np.diagonal(second[0, 0])
            diagonal = np.diag(np.concatenate(own)).astype(self.variable_dtype)
            require_regular(diagonal, self.kernel_initializer, solve_dense, (2 * channels,))
        self.bias = self.add_weight(name="bias", shape=(channels,), initializer="zeros")

    def call(
        self, x: tf.Tensor, context: tf.Tensor | None = None, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        first, second = self._kernels()
        no_bias = tf.zeros_like(self.widen(self.bias))
        h = ops.affine_conv2d(tf.cast(x, self.call_dtype(training)), first, no_bias)
        return ops.affine_conv2d(h, second, self.widen(self.bias)), self.repeat(
            self.constant_log_det(), x
        )

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        y = z - self.widen(self.bias)
        first, second = self._kernels()
        return ops.conv2d_solve(ops.conv2d_solve(y, second), first)

    def constant_log_det(self) -> tf.Tensor:
        height, width, _ = self.event_shape
        own = tf.concat(
            [tf.linalg.diag_part(k) for k in (self.kernel[-1, -1], self.reverse_kernel[0, 0])],
            axis=0,
        )
        return height * width * tf.reduce_sum(tf.math.log(tf.abs(self.widen(own))))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "kernel_size": self.kernel_size,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }

    def _kernels(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns both kernels, masked and padded with zeros to the whole, odd size."""
        reach = self.kernel_size // 2
        center = (
            tf.reshape(
                tf.one_hot((reach + 1) ** 2 - 1, (reach + 1) ** 2), (reach + 1, reach + 1, 1, 1)
            )
            > 0
        )
        first = tf.where(
            center, tf.linalg.band_part(self.widen(self.kernel), 0, -1), self.widen(self.kernel)
        )
        center = tf.reverse(center, axis=[0, 1])
        second = tf.where(
            center,
            tf.linalg.band_part(self.widen(self.reverse_kernel), -1, 0),
            self.widen(self.reverse_kernel),
        )
        before, after, channels = [0, reach], [reach, 0], [0, 0]
        return tf.pad(first, [before, before, channels, channels]), tf.pad(
            second, [after, after, channels, channels]
        )
