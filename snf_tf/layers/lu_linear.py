"""Fully connected bijections in triangular factors, with a log-determinant for free."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from snf_tf import ops
from snf_tf.layers.flow_layer import FlowLayer
from snf_tf.layers.initial_kernels import require_regular, solve_dense
from snf_tf.layers.initializers import NoisyIdentity, checked_initializer
from snf_tf.layers.parameterizations import PLU


@keras.saving.register_keras_serializable("snf_tf")
class LULinear(FlowLayer):
    """Fully connected layer `z = x @ P L (U + diag(s)) + bias` (Oliva et al. 2018; `PLU`).

    P is a fixed permutation, L unit lower and U strictly upper triangular. The log-determinant is
    `sum(log_scale)`, with s = sign * exp(log_scale) of fixed signs. The inverse takes two
    triangular solves. All is exact, in training too, and takes O(D^2) an example.

    Args:
        kernel_initializer: Initial kernel `P L (U + diag(s))`, `(D, D)`; by default
            `NoisyIdentity(gain=0.01)`.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        kernel: `(D, D)`, computed from the factors.
        order: `(D,)`, the permutation: `x @ P` is `x[:, order]`. Not trained, nor is sign.
        bias: `(D,)`.

    Raises:
        ValueError: In build, if the input is not of rank 2, or the initial kernel is singular.

    Example:
        >>> layer = snf_tf.layers.LULinear()
        >>> z, log_det = layer(tf.ones((4, 8)))
        >>> x = layer.inverse(z)
        >>> bool(tf.reduce_all(tf.abs(x - 1) < 1e-5))
        True
    """

    takes_context = False
    log_det_is_constant = True

    def __init__(self, kernel_initializer: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kernel_initializer = checked_initializer(kernel_initializer, NoisyIdentity())

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        if len(self.event_shape) != 1:
            raise ValueError(
                f"{type(self).__name__} takes inputs of shape (batch, D); put Flatten before it. "
                f"Received: input_shape={input_shape}"
            )
        size = self.event_shape[0]
        initial = np.array(self.kernel_initializer((size, size), dtype=self.variable_dtype))
        require_regular(initial, self.kernel_initializer, solve_dense, self.event_shape)
        values = PLU().initial_weights(initial[None, None])
        values["bias"] = np.zeros(size)
        # As indices: a product with the matrix would cost as much as one with a factor.
        values["order"] = np.argmax(values.pop("permutation"), axis=0)
        for name, value in values.items():
            weight = self.add_weight(
                name=name,
                shape=value.shape,
                dtype="int64" if name == "order" else None,
                initializer=lambda shape, dtype, value=value: tf.cast(value, dtype),
                trainable=name not in ("order", "sign"),
            )
            setattr(self, name, weight)

    @property
    def kernel(self) -> tf.Tensor:
        lower, upper = self._triangles()
        return tf.gather(lower @ upper, tf.argsort(self.order))

    def call(
        self, x: tf.Tensor, context: tf.Tensor | None = None, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        lower, upper = self._triangles()
        bias = self.widen(self.bias)
        permuted = tf.gather(tf.cast(x, self.call_dtype(training)), self.order, axis=1)
        y = ops.affine_matmul(permuted, lower, tf.zeros_like(bias))
        return ops.affine_matmul(y, upper, bias), self.repeat(self.constant_log_det(), x)

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        lower, upper = self._triangles()
        columns = tf.transpose(z - self.widen(self.bias))
        columns = tf.linalg.triangular_solve(upper, columns, lower=False, adjoint=True)
        columns = tf.linalg.triangular_solve(lower, columns, lower=True, adjoint=True)
        return tf.transpose(tf.gather(columns, tf.argsort(self.order)))

    def constant_log_det(self) -> tf.Tensor:
        return tf.reduce_sum(self.widen(self.log_scale))

    def diagnostics(self, x: tf.Tensor, z: tf.Tensor) -> Mapping[str, Any]:
        return {"kernel_norm": tf.norm(self.kernel), "log_det": self.constant_log_det()}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }

    def _triangles(self) -> tuple[tf.Tensor, tf.Tensor]:
        names = ("lower", "upper", "sign", "log_scale")
        return PLU().triangles({name: self.widen(getattr(self, name)) for name in names})
