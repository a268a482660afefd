"""Fully connected bijections `z = x @ kernel + bias`, by how the gradient of log|det kernel| is
had.
"""

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf.layers.bijection import FlowLayer
from snf_tf.layers.initializers import NoisyIdentity
from snf_tf.layers.self_normalizing import inverse_method as inverse_methods
from snf_tf.layers.self_normalizing.penalty import (
    add_reconstruction_loss,
    add_reconstruction_weight,
    check_reconstruction_weight,
)
from snf_tf.layers.self_normalizing.projected import NewtonSchulz, Projected

_METHODS = {"projected": Projected, "newton_schulz": NewtonSchulz}


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

    def __init__(self, kernel_initializer=None, **kwargs):
        super().__init__(**kwargs)
        # XLA has no LU.
        self.supports_jit = False
        self.kernel_initializer = keras.initializers.get(kernel_initializer) or NoisyIdentity()

    def build(self, input_shape):
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
        # The ops cast by themselves: log-dets and gradients need the weights as they are.
        self.kernel = self.add_weight(
            name="kernel", shape=(size, size), initializer=self.kernel_initializer, autocast=False
        )
        self.bias = self.add_weight(name="bias", shape=(size,), initializer="zeros", autocast=False)

    def call(self, x, context=None, training=False):
        z = ops.affine_matmul(
            tf.cast(x, self.compute_dtype), self._widen(self.kernel), self._widen(self.bias)
        )
        return z, self._repeat(self.constant_log_det(), x)

    def inverse(self, z, context=None, exact=True):
        y = self._latents(z) - self._widen(self.bias)
        return tf.transpose(
            tf.linalg.solve(self._widen(self.kernel), tf.transpose(y), adjoint=True)
        )

    def constant_log_det(self):
        return tf.linalg.slogdet(self._widen(self.kernel))[1]

    def get_config(self):
        return super().get_config() | {
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable("snf_tf")
class RelativeGradientDense(ExactDense):
    """Fully connected layer trained by the relative gradient (Gresele et al. 2020).

    With `training=True` log_det has the value 0, and the gradient of the kernel is the exact
    gradient dK of whatever is differentiated, times `kernel @ kernel^T` from the left, in which the
    inverse that dK holds cancels: O(D^2) an example. See `snf_tf.ops.relative_gradient_matmul`.
    Otherwise all is as in `ExactDense`, whose arguments it takes.

    Example:
        >>> layer = snf_tf.layers.RelativeGradientDense()
        >>> z, log_det = layer(tf.ones((4, 8)), training=True)
    """

    def __init__(self, kernel_initializer=None, **kwargs):
        super().__init__(kernel_initializer=kernel_initializer, **kwargs)
        self.supports_jit = True

    def call(self, x, context=None, training=False):
        if training:
            x = tf.cast(x, self.compute_dtype)
            return ops.relative_gradient_matmul(x, self._widen(self.kernel), self._widen(self.bias))
        return super().call(x)


@keras.saving.register_keras_serializable("snf_tf")
class SelfNormalizingDense(ExactDense):
    """Fully connected layer that learns its inverse, and trains by it (SNF section 4.1).

    With `training=True`:

    - log_det has the value 0; the gradients of kernel and inverse_kernel are those of SNF Eqs. 10
      and 11, in which the learned inverse stands for the inverse: O(D^2) an example. See
      `snf_tf.ops.self_normalizing_matmul`.
    - the layer adds a loss, `reconstruction_weight` times the mean over the batch of `|| (x @
      kernel) @ inverse_kernel - x ||^2`, of which x receives no gradient.

    Otherwise log_det and gradients are exact, as in `ExactDense`.

    Args:
        reconstruction_weight: Initial lambda of SNF Eq. 3.
        kernel_initializer: As in `ExactDense`. The inverse kernel starts as the transpose of the
            kernel.
        inverse_method: How the inverse is kept. "learned": by gradient, as in the paper.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        kernel: `(D, D)`, the transpose of W in the paper.
        inverse_kernel: `(D, D)`, the transpose of R: `x ~ (z - bias) @ inverse_kernel`.
        bias: `(D,)`.
        reconstruction_weight: Scalar, not trained.

    Raises:
        ValueError: If inverse_method is unknown, or reconstruction_weight is negative.

    Example:
        >>> layer = snf_tf.layers.SelfNormalizingDense()
        >>> z, log_det = layer(tf.ones((4, 8)), training=True)
        >>> x = layer.inverse(z, exact=False)
        >>> len(layer.losses)
        1
    """

    has_learned_inverse = True

    def __init__(
        self,
        reconstruction_weight=None,
        kernel_initializer=None,
        inverse_method="learned",
        **kwargs,
    ):
        super().__init__(kernel_initializer=kernel_initializer, **kwargs)
        check_reconstruction_weight(reconstruction_weight, inverse_method)
        self.initial_reconstruction_weight = reconstruction_weight
        self.inverse_method = inverse_methods.deserialize(inverse_method)
        self._kept = inverse_methods.get(self.inverse_method, _METHODS)
        # XLA has no LU, nor can it say anything.
        self.supports_jit = self._kept is None

    def build(self, input_shape):
        super().build(input_shape)
        self.inverse_kernel = self.add_weight(
            name="inverse_kernel",
            shape=self.kernel.shape,
            initializer=lambda shape, dtype: tf.transpose(self.kernel),
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
            z = ops.affine_matmul(x, kernel, bias)
            return z, ops.log_det_by_gradient(kernel, self._kept.log_det_gradient(self, x, z), x)
        z, log_det, error = ops.self_normalizing_matmul(
            x, kernel, self._widen(self.inverse_kernel), bias
        )
        add_reconstruction_loss(self, error)
        return z, log_det

    def inverse(self, z, context=None, exact=True):
        if exact:
            return self.refined_inverse(z)[0]
        return tf.matmul(
            self._latents(z) - self._widen(self.bias), self._widen(self.inverse_kernel)
        )

    def refined_inverse(self, z):
        """The exact inverse, and the steps of refinement of the kept inverse that it took; 0 if it
        was LU.

        See `snf_tf.ops.refined_matmul_solve`.
        """
        y = self._latents(z) - self._widen(self.bias)
        return ops.refined_matmul_solve(
            y, self._widen(self.kernel), self._widen(self.inverse_kernel)
        )

    def get_config(self):
        return super().get_config() | {
            "reconstruction_weight": self.initial_reconstruction_weight,
            "inverse_method": inverse_methods.serialize(self.inverse_method),
        }
