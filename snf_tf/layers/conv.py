"""Convolutional bijections `z = conv2d(x, kernel) + bias`, by how the gradient of their
log-determinant is had.
"""

import keras
import numpy as np
import tensorflow as tf

from snf_tf import ops
from snf_tf.layers.bijection import FlowLayer
from snf_tf.layers.initializers import NoisyIdentity
from snf_tf.layers.self_normalizing import inverse_method as inverse_methods
from snf_tf.layers.self_normalizing.least_squares import LeastSquares
from snf_tf.layers.self_normalizing.penalty import (
    add_reconstruction_loss,
    add_reconstruction_weight,
    check_reconstruction_weight,
)

_METHODS = {"least_squares": LeastSquares}


@keras.saving.register_keras_serializable("snf_tf")
class ExactConv2D(FlowLayer):
    """Convolution with the exact log-determinant, in training too.

    `z = conv2d(x, kernel) + bias` on `(batch, H, W, C)`, stride 1, zero padding; log_det, in every
    step, and inverse by block cyclic reduction, without the dense (HWC, HWC) matrix
    (`snf_tf.ops.banded`).

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

    def __init__(self, kernel_size, kernel_initializer=None, **kwargs):
        super().__init__(**kwargs)
        # XLA has no LU.
        self.supports_jit = False
        self.kernel_size = _odd_size(kernel_size, "kernel_size")
        self.kernel_initializer = keras.initializers.get(kernel_initializer) or NoisyIdentity()

    def build(self, input_shape):
        """Creates the weights for inputs of shape `(batch, H, W, C)`.

        Raises:
            ValueError: If the input is not of rank 4.
        """
        super().build(input_shape)
        self._require_images()
        channels = self.event_shape[2]
        # The ops cast by themselves: log-dets and gradients need the weights as they are.
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.kernel_size, channels, channels),
            initializer=self.kernel_initializer,
            autocast=False,
        )
        self.bias = self.add_weight(
            name="bias", shape=(channels,), initializer="zeros", autocast=False
        )

    def call(self, x, context=None, training=False):
        z = ops.affine_conv2d(
            tf.cast(x, self.compute_dtype), self._widen(self.kernel), self._widen(self.bias)
        )
        return z, self._repeat(self.constant_log_det(), x)

    def inverse(self, z, context=None, exact=True):
        return ops.conv2d_solve(self._latents(z) - self._widen(self.bias), self._widen(self.kernel))

    def constant_log_det(self):
        return ops.conv2d_log_det(self._widen(self.kernel), self.event_shape)

    def get_config(self):
        return super().get_config() | {
            "kernel_size": self.kernel_size,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable("snf_tf")
class SelfNormalizingConv2D(ExactConv2D):
    """Convolution that learns its inverse as another convolution, and trains by it (SNF section
    4.2).

    With `training=True`:

    - log_det has the value 0; the gradients of kernel and inverse_kernel are those of SNF Eqs. 15
      and 16, halved as the mixture of Eq. 3 says, and of Eqs. 28-30 where the kernels differ in
      size. See `snf_tf.ops.self_normalizing_conv2d`.
    - the layer adds a loss, `reconstruction_weight` times the mean over the batch of
      `|| conv2d(conv2d(x, kernel), inverse_kernel) - x ||^2`, of which x receives no gradient.

    Otherwise log_det and gradients are exact, as in `ExactConv2D`.

    Args:
        kernel_size: An odd integer, or two.
        inverse_kernel_size: The same for the inverse kernel; by default that of the kernel.
        reconstruction_weight: Initial lambda of SNF Eq. 3.
        kernel_initializer: As in `ExactConv2D`. The inverse kernel starts as the flip of the kernel
            (cropped or padded with zeros).
        inverse_method: How the inverse is kept. "learned": by gradient, as in the paper.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        kernel: `(kh, kw, C, C)`, HWIO.
        inverse_kernel: `(rh, rw, C, C)`: `x ~ conv2d(z - bias, inverse_kernel)`.
        bias: `(C,)`.
        reconstruction_weight: Scalar, not trained.

    Raises:
        ValueError: If a kernel size is even or not positive, inverse_method is unknown, or
            reconstruction_weight is negative.

    Example:
        >>> layer = snf_tf.layers.SelfNormalizingConv2D(kernel_size=3, inverse_kernel_size=7)
        >>> z, log_det = layer(tf.ones((2, 6, 5, 3)), training=True)
        >>> x = layer.inverse(z, exact=False)
    """

    has_learned_inverse = True

    def __init__(
        self,
        kernel_size,
        inverse_kernel_size=None,
        reconstruction_weight=None,
        kernel_initializer=None,
        inverse_method="learned",
        **kwargs,
    ):
        super().__init__(kernel_size, kernel_initializer=kernel_initializer, **kwargs)
        check_reconstruction_weight(reconstruction_weight, inverse_method)
        self.inverse_kernel_size = (
            self.kernel_size
            if inverse_kernel_size is None
            else _odd_size(inverse_kernel_size, "inverse_kernel_size")
        )
        self.initial_reconstruction_weight = reconstruction_weight
        self.inverse_method = inverse_methods.deserialize(inverse_method)
        self._kept = inverse_methods.get(self.inverse_method, _METHODS)
        # XLA has no LU, nor can it say anything.
        self.supports_jit = self._kept is None

    def build(self, input_shape):
        super().build(input_shape)
        self.inverse_kernel = self.add_weight(
            name="inverse_kernel",
            shape=(*self.inverse_kernel_size, *self.kernel.shape[2:]),
            initializer=lambda shape, dtype: ops.flip(
                ops.resize_kernel(tf.convert_to_tensor(self.kernel), self.inverse_kernel_size)
            ),
            trainable=self._kept is None,
            autocast=False,
            aggregation="only_first_replica" if self._kept else "none",
        )
        if self._kept:
            self._kept.build(self)
        else:
            self.reconstruction_weight = add_reconstruction_weight(
                self, self.initial_reconstruction_weight
            )

    def call(self, x, context=None, training=False):
        if not training:
            return super().call(x)
        x, kernel, bias = (
            tf.cast(x, self.compute_dtype),
            self._widen(self.kernel),
            self._widen(self.bias),
        )
        if self._kept:
            z = ops.affine_conv2d(x, kernel, bias)
            return z, ops.log_det_by_gradient(kernel, self._kept.log_det_gradient(self, x, z), x)
        z, log_det, error = ops.self_normalizing_conv2d(
            x, kernel, self._widen(self.inverse_kernel), bias
        )
        add_reconstruction_loss(self, error)
        return z, log_det

    def inverse(self, z, context=None, exact=True):
        if exact:
            return self.refined_inverse(z)[0]
        return ops.conv2d(
            self._latents(z) - self._widen(self.bias), self._widen(self.inverse_kernel)
        )

    def refined_inverse(self, z):
        """The exact inverse, and the steps of refinement of the kept inverse that it took; 0 if it
        was elimination.

        See `snf_tf.ops.refined_conv2d_solve`.
        """
        y = self._latents(z) - self._widen(self.bias)
        return ops.refined_conv2d_solve(
            y, self._widen(self.kernel), self._widen(self.inverse_kernel)
        )

    def get_config(self):
        return super().get_config() | {
            "inverse_kernel_size": self.inverse_kernel_size,
            "reconstruction_weight": self.initial_reconstruction_weight,
            "inverse_method": inverse_methods.serialize(self.inverse_method),
        }


def _odd_size(size, name):
    sizes = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(sizes) != 2 or not all(
        isinstance(n, int | np.integer) and n > 0 and n % 2 == 1 for n in sizes
    ):
        raise ValueError(
            f"{name} must be an odd positive integer, or two of them: only then is the transpose "
            f"of a convolution with zero "
            f"padding to the same size one too. Received: {name}={size!r}"
        )
    return int(sizes[0]), int(sizes[1])
