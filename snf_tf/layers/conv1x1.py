"""1 x 1 convolutions `z = x @ kernel` at every pixel, without bias."""

from collections.abc import Mapping
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from snf_tf import ops
from snf_tf.layers.flow_layer import FlowLayer
from snf_tf.layers.initial_kernels import require_regular, solve_conv2d
from snf_tf.layers.initializers import checked_initializer
from snf_tf.layers.options import deserialized, resolve
from snf_tf.layers.parameterizations import PLU, Householder, Parameterization, Plain

_PARAMETERIZATIONS: Mapping[str, type] = {"plain": Plain, "plu": PLU, "householder": Householder}


@keras.saving.register_keras_serializable("snf_tf")
class InvertibleConv1x1(FlowLayer):
    """Invertible 1 x 1 convolution (Kingma and Dhariwal 2018, section 3.2), exact in training, too.

    log_det is H W times log|det| of the kernel's matrix.

    Args:
        parameterization: `Plain()`, `PLU()` or `Householder()`, or their names "plain", "plu",
            "householder".
        kernel_initializer: Initial kernel; by default a random orthogonal matrix.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        kernel: `(1, 1, C, C)`, computed from the weights of the parameterization. These weights are
            attributes of the layer, too.

    Raises:
        ValueError: If parameterization is unknown, or in build, if the input is no image or the
            initial kernel is singular.

    Example:
        >>> layer = snf_tf.layers.InvertibleConv1x1(parameterization="plu")
        >>> z, log_det = layer(tf.ones((2, 4, 4, 3)))
        >>> bool(tf.reduce_all(tf.abs(log_det) < 1e-4))
        True
    """

    takes_context = False
    log_det_is_constant = True

    def __init__(
        self,
        parameterization: str | Parameterization = "plain",
        kernel_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.parameterization = resolve(parameterization, _PARAMETERIZATIONS, "parameterization")
        self.supports_jit = not self.parameterization.needs_lu
        orthogonal = keras.initializers.Orthogonal()
        self.kernel_initializer = checked_initializer(kernel_initializer, orthogonal)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        self.require_images()
        channels = self.event_shape[2]
        shape = (1, 1, channels, channels)
        initial = np.array(self.kernel_initializer(shape, dtype=self.variable_dtype))
        require_regular(initial, self.kernel_initializer, solve_conv2d, (1, 1, channels))
        values = self.parameterization.initial_weights(initial)
        self._parameters = {
            name: self.add_weight(
                name=name,
                shape=value.shape,
                initializer=lambda shape, dtype, value=value: value,
                trainable=name not in self.parameterization.not_trained,
            )
            for name, value in values.items()
        }
        for name in values.keys() - {"kernel"}:
            setattr(self, name, self._parameters[name])

    @property
    def kernel(self) -> tf.Tensor:
        return self.parameterization.kernel(self._wide_parameters())

    def call(
        self, x: tf.Tensor, context: tf.Tensor | None = None, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        kernel = self.kernel
        no_bias = tf.zeros(kernel.shape[3], kernel.dtype)
        z = ops.affine_conv2d(tf.cast(x, self.call_dtype(training)), kernel, no_bias)
        return z, self.repeat(self.constant_log_det(), x)

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        if self.parameterization.is_orthogonal:
            return ops.conv2d(z, ops.flip(self.kernel))
        return ops.conv2d_solve(z, self.kernel)

    def constant_log_det(self) -> tf.Tensor:
        height, width, _ = self.event_shape
        return height * width * self.parameterization.log_det(self._wide_parameters())

    def diagnostics(self, x: tf.Tensor, z: tf.Tensor) -> Mapping[str, Any]:
        return {"kernel_norm": tf.norm(self.kernel), "log_det": self.constant_log_det()}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "parameterization": keras.saving.serialize_keras_object(self.parameterization),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**deserialized(config))

    def _wide_parameters(self) -> dict[str, tf.Tensor]:
        return {name: self.widen(weight) for name, weight in self._parameters.items()}


@keras.saving.register_keras_serializable("snf_tf")
class HouseholderConv1x1(InvertibleConv1x1):
    """Orthogonal 1 x 1 convolution: `InvertibleConv1x1(Householder(reflections))`.

    Args:
        reflections: As in `Householder`.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        vectors: `(n, C)`, the v_i; none may be 0.
        kernel: `(1, 1, C, C)`, computed from the vectors.

    Raises:
        ValueError: If reflections is not a positive integer, or the input is no image.

    Example:
        >>> layer = snf_tf.layers.HouseholderConv1x1()
        >>> z, log_det = layer(tf.ones((2, 4, 4, 3)))
        >>> log_det.numpy().tolist()
        [0.0, 0.0]
    """

    def __init__(self, reflections: int | None = None, **kwargs: Any) -> None:
        super().__init__(Householder(reflections), **kwargs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["parameterization"], config["kernel_initializer"]
        return config | {"reflections": self.parameterization.options["reflections"]}
