"""1 x 1 convolutions `z = x @ kernel` at every pixel: full, in PLU form, or orthogonal by
Householder reflections.
"""

import keras
import numpy as np
import scipy.linalg
import tensorflow as tf

from snf_tf import ops
from snf_tf.layers.bijection import FlowLayer


class _Conv1x1(FlowLayer):
    """A convolution with a kernel `(1, 1, C, C)`, an attribute of the subclass."""

    def build(self, input_shape):
        super().build(input_shape)
        self._require_images()

    def call(self, x, context=None, training=False):
        kernel = self._widen(self.kernel)
        z = ops.affine_conv2d(
            tf.cast(x, self.compute_dtype), kernel, tf.zeros(kernel.shape[3], kernel.dtype)
        )
        return z, self._repeat(self.constant_log_det(), x)

    def inverse(self, z, context=None, exact=True):
        return ops.conv2d_solve(self._latents(z), self._widen(self.kernel))


@keras.saving.register_keras_serializable("snf_tf")
class InvertibleConv1x1(_Conv1x1):
    """Invertible 1 x 1 convolution (Kingma and Dhariwal 2018, section 3.2), without bias; exact in
    training, too.

    Args:
        parameterization: "plain": the kernel is the weight, log_det = H W log|det kernel|. "plu":
            `kernel = P L (U + diag(s))` with a fixed permutation P, L unit lower and U strictly
            upper triangular, and s = sign * exp(log_scale) of fixed signs; log_det = H W
            sum(log_scale), without a factorization.
        kernel_initializer: Initial kernel; by default a random orthogonal matrix.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        kernel: `(1, 1, C, C)`; with "plu" computed from the weights `lower` and `upper`, `(C, C)`,
            and `log_scale`, `(C,)`.

    Raises:
        ValueError: If parameterization is unknown, or the input is no image.

    Example:
        >>> layer = snf_tf.layers.InvertibleConv1x1(parameterization="plu")
        >>> z, log_det = layer(tf.ones((2, 4, 4, 3)))
        >>> bool(tf.reduce_all(tf.abs(log_det) < 1e-4))
        True
    """

    def __init__(self, parameterization="plain", kernel_initializer=None, **kwargs):
        super().__init__(**kwargs)
        if parameterization not in ("plain", "plu"):
            raise ValueError(
                f'parameterization must be "plain" or "plu". Received: '
                f"parameterization={parameterization!r}"
            )
        self.parameterization = parameterization
        # XLA has no LU.
        self.supports_jit = parameterization == "plu"
        self.kernel_initializer = (
            keras.initializers.get(kernel_initializer) or keras.initializers.Orthogonal()
        )

    def build(self, input_shape):
        super().build(input_shape)
        channels = self.event_shape[-1]
        shape = (1, 1, channels, channels)
        if self.parameterization == "plain":
            self._kernel = self.add_weight(
                name="kernel", shape=shape, initializer=self.kernel_initializer, autocast=False
            )
            return
        initial = np.array(self.kernel_initializer(shape, dtype=self.variable_dtype))[0, 0]
        permutation, lower, upper = scipy.linalg.lu(initial)
        diagonal = np.diag(upper)
        if not diagonal.all():
            raise ValueError(
                f"The initial kernel of {self.name} is singular. Received: "
                f"kernel_initializer={self.kernel_initializer}"
            )

        def add(name, value, trainable=True):
            return self.add_weight(
                name=name,
                shape=value.shape,
                initializer=lambda shape, dtype: value,
                trainable=trainable,
                autocast=False,
            )

        self.permutation = add("permutation", permutation, trainable=False)
        self.sign = add("sign", np.sign(diagonal), trainable=False)
        self.lower, self.upper = add("lower", np.tril(lower, -1)), add("upper", np.triu(upper, 1))
        self.log_scale = add("log_scale", np.log(np.abs(diagonal)))

    @property
    def kernel(self):
        if self.parameterization == "plain":
            return self._kernel
        scale = self._widen(self.sign) * tf.exp(self._widen(self.log_scale))
        lower = tf.linalg.set_diag(
            tf.linalg.band_part(self._widen(self.lower), -1, 0), tf.ones_like(scale)
        )
        upper = tf.linalg.set_diag(tf.linalg.band_part(self._widen(self.upper), 0, -1), scale)
        return (self._widen(self.permutation) @ lower @ upper)[None, None]

    def constant_log_det(self):
        height, width, _ = self.event_shape
        if self.parameterization == "plu":
            return height * width * tf.reduce_sum(self._widen(self.log_scale))
        return ops.conv2d_log_det(self._widen(self.kernel), self.event_shape)

    def get_config(self):
        return super().get_config() | {
            "parameterization": self.parameterization,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable("snf_tf")
class HouseholderConv1x1(_Conv1x1):
    """Orthogonal 1 x 1 convolution, a product of Householder reflections (Tomczak and Welling
    2016), without bias; log_det is 0.

    `z = x H_1 H_2 ... H_n` with `H_i = I - 2 v_i^T v_i / (v_i v_i^T)`. The product is computed at
    once, as `I - V^T T V` with `T^-1 = triu(V V^T, 1) + diag(V V^T) / 2` (Joffrain et al. 2006).

    Args:
        reflections: Their number n; by default as many as there are channels, with which every
            orthogonal matrix of determinant (-1)^n can be reached.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        vectors: `(n, C)`, the v_i; none may be 0.
        kernel: `(1, 1, C, C)`, computed from them.

    Raises:
        ValueError: If reflections is not a positive integer, or the input is no image.

    Example:
        >>> layer = snf_tf.layers.HouseholderConv1x1()
        >>> z, log_det = layer(tf.ones((2, 4, 4, 3)))
        >>> log_det.numpy().tolist()
        [0.0, 0.0]
    """

    def __init__(self, reflections=None, **kwargs):
        super().__init__(**kwargs)
        if reflections is not None and not (isinstance(reflections, int) and reflections >= 1):
            raise ValueError(
                f"reflections must be an integer of at least 1. Received: "
                f"reflections={reflections!r}"
            )
        self.reflections = reflections

    def build(self, input_shape):
        super().build(input_shape)
        channels = self.event_shape[-1]
        shape = (self.reflections or channels, channels)
        self.vectors = self.add_weight(
            name="vectors", shape=shape, initializer="random_normal", autocast=False
        )

    @property
    def kernel(self):
        vectors = self._widen(self.vectors)
        gram = vectors @ tf.transpose(vectors)
        system = tf.linalg.set_diag(
            tf.linalg.band_part(gram, 0, -1), 0.5 * tf.linalg.diag_part(gram)
        )
        product = tf.transpose(vectors) @ tf.linalg.triangular_solve(system, vectors, lower=False)
        return (tf.eye(vectors.shape[1], dtype=vectors.dtype) - product)[None, None]

    def inverse(self, z, context=None, exact=True):
        return ops.conv2d(self._latents(z), ops.flip(self.kernel))

    def constant_log_det(self):
        return tf.zeros((), self.log_det_dtype)

    def get_config(self):
        return super().get_config() | {"reflections": self.reflections}
