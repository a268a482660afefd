"""Fully connected bijections `z = x @ kernel + bias` with exact log-determinants."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf.layers.flow_layer import FlowLayer
from snf_tf.layers.initial_kernels import require_regular, solve_dense
from snf_tf.layers.initializers import NoisyIdentity, checked_initializer


@keras.saving.register_keras_serializable("snf_tf")
class ExactDense(FlowLayer):
    """Fully connected layer with the exact log-determinant, in training too.

    `z = x @ kernel + bias` on `(batch, D)`; log_det = log|det kernel|, by LU: O(D^3) in every step.

    Args:
        kernel_initializer: Initial kernel, `(D, D)`; by default `NoisyIdentity(gain=0.01)` (SNF
            A.3).
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        kernel: `(D, D)`, the transpose of W in the paper.
        bias: `(D,)`.

    Example:
        >>> layer = snf_tf.layers.ExactDense()
        >>> z, log_det = layer(tf.ones((4, 8)))
        >>> x = layer.inverse(z)
        >>> bool(tf.reduce_all(tf.abs(x - 1) < 1e-5))
        True
    """

    takes_context = False
    log_det_is_constant = True

    def __init__(self, kernel_initializer: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # XLA has no LU kernel.
        self.supports_jit = False
        self.kernel_initializer = checked_initializer(kernel_initializer, NoisyIdentity())

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights for inputs of shape `(batch, D)`.

        Raises:
            ValueError: If the input is not of rank 2 (use `Flatten` before).
        """
        super().build(input_shape)
        if len(self.event_shape) != 1:
            raise ValueError(
                f"{type(self).__name__} takes inputs of shape (batch, D); put Flatten before it. "
                f"Received: input_shape={input_shape}"
            )
        size = self.event_shape[0]
        self.kernel = self.add_weight(
            name="kernel", shape=(size, size), initializer=self.kernel_initializer
        )
        require_regular(self.kernel, self.kernel_initializer, solve_dense, self.event_shape)
        self.bias = self.add_weight(name="bias", shape=(size,), initializer="zeros")

    def affine(self, x: tf.Tensor) -> tf.Tensor:
        """Computes z, with products in the dtype of x."""
        return ops.affine_matmul(x, self.widen(self.kernel), self.widen(self.bias))

    def call(
        self, x: tf.Tensor, context: tf.Tensor | None = None, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        z = self.affine(tf.cast(x, self.call_dtype(training)))
        return z, self.repeat(self.constant_log_det(), x)

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        y = tf.transpose(z - self.widen(self.bias))
        return tf.transpose(tf.linalg.solve(self.widen(self.kernel), y, adjoint=True))

    def constant_log_det(self) -> tf.Tensor:
        return ops.log_abs_det(self.widen(self.kernel))

    def diagnostics(self, x: tf.Tensor, z: tf.Tensor) -> Mapping[str, Any]:
        return {"kernel_norm": tf.norm(self.kernel.value), "log_det": self.constant_log_det()}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable("snf_tf")
class RelativeGradientDense(ExactDense):
    """Fully connected layer trained by the relative gradient (Gresele et al. 2020).

    With `training=True` log_det has the value 0. The gradient of the kernel is
    `kernel @ kernel^T @ dK`, with dK the exact gradient. The inverse in dK cancels, so that an
    example costs O(D^2). See `snf_tf.ops.relative_gradient_matmul`. Otherwise the layer works as
    `ExactDense`, and takes the same arguments.

    Example:
        >>> layer = snf_tf.layers.RelativeGradientDense()
        >>> z, log_det = layer(tf.ones((4, 8)), training=True)
    """

    def __init__(self, kernel_initializer: Any = None, **kwargs: Any) -> None:
        super().__init__(kernel_initializer=kernel_initializer, **kwargs)
        self.supports_jit = True

    def call(
        self, x: tf.Tensor, context: tf.Tensor | None = None, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if training:
            x = tf.cast(x, self.compute_dtype)
            return ops.relative_gradient_matmul(x, self.widen(self.kernel), self.widen(self.bias))
        return super().call(x)
