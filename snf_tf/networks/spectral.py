"""Dense and convolutional layers whose operator norm is at most a given coefficient."""

from typing import Any

import keras
import numpy as np
import scipy.linalg
import scipy.sparse.linalg
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import check_integer, check_odd_sizes
from snf_tf.networks.norm_order import NormOrder, order_value
from snf_tf.networks.spectral_layer import SpectralLayer


@keras.saving.register_keras_serializable("snf_tf")
class SpectralDense(SpectralLayer):
    """A dense layer, `x @ normalized_kernel() + bias`, of a norm of at most `coeff` (RF App. D).

    The kernel is divided by max(1, norm / coeff): a smaller kernel is not scaled up. In training a
    layer inside a `ResidualBlock` brings its norm up to date in every step; alone, it does so in
    calls with `training=True`.

    Args:
        units: Numbers of an output.
        coeff: Largest norm, in (0, 1).
        domain: Order of the norm of inputs: a number of at least 1, "inf", or a learned
            `snf_tf.networks.NormOrder`.
        codomain: Order of the norm of outputs, likewise.
        method: "power": the norm is estimated by the power method, with u and v kept from step to
            step, or known in closed form. "aol": the kernel is rescaled in closed form (Prach and
            Lampert 2022), for Euclidean norms.
        use_bias: Whether there is a bias.
        kernel_initializer: As in `keras.layers.Dense`.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        kernel: `(inputs, units)`.
        bias: `(units,)`.
        u: `(units,)`, not trained.
        v: `(inputs,)`, not trained.

    Raises:
        ValueError: If coeff, an order of a norm, or method is none of these.

    Example:
        >>> layer = snf_tf.networks.SpectralDense(3, coeff=0.9)
        >>> layer.build((None, 5))
        >>> layer.update_norm(iterations=100)
        >>> bool(tf.norm(layer.normalized_kernel(), ord=2, axis=(0, 1)) < 0.9001)
        True
    """

    def __init__(
        self,
        units: int,
        coeff: float = 0.98,
        domain: float | str | NormOrder = 2.0,
        codomain: float | str | NormOrder = 2.0,
        method: str = "power",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(coeff, domain, codomain, method, use_bias, kernel_initializer, **kwargs)
        self.units = check_integer("units", units, 1)

    def build(self, input_shape: tuple[Any, ...]) -> None:
        inputs = input_shape[-1]
        self._build_norm((inputs, self.units), inputs, self.units)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*input_shape[:-1], self.units)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        if training:
            self.update_norm()
        y = tf.matmul(x, tf.cast(self.normalized_kernel(), x.dtype))
        return y + tf.cast(self.bias, x.dtype) if self.use_bias else y

    def _product(self, kernel, v):
        return tf.linalg.matvec(kernel, v, transpose_a=True)

    def _transposed(self, kernel, u):
        return tf.linalg.matvec(kernel, u)

    def _closed_form(self, kernel):
        p, q = order_value(self.domain), order_value(self.codomain)
        if isinstance(p, tf.Tensor) or isinstance(q, tf.Tensor) or p == q == 2.0:
            # Power iteration is much cheaper than the singular values.
            return None
        return ops.operator_norm(kernel, p, q) if ops.has_closed_form(p, q) else None

    def norm_bound(self, domain: float | None = None, codomain: float | None = None) -> float:
        p = float(order_value(self.domain)) if domain is None else domain
        q = float(order_value(self.codomain)) if codomain is None else codomain
        return ops.operator_norm_bound(self.kernel, p, q)

    def _top_singular_vector(self, kernel):
        # The smaller of the two Gram matrices: a block on images has thousands of inputs.
        is_tall = kernel.shape[0] > kernel.shape[1]
        gram = tf.matmul(kernel, kernel, transpose_a=is_tall, transpose_b=not is_tall).numpy()
        vector = scipy.linalg.eigh(gram, subset_by_index=[len(gram) - 1] * 2)[1][:, 0]
        if is_tall:
            vector = tf.linalg.matvec(kernel, vector).numpy()
        return vector / max(np.linalg.norm(vector), np.finfo(np.float64).tiny)

    def _aol_kernel(self, kernel):
        return ops.aol_dense_kernel(kernel)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"units": self.units}


@keras.saving.register_keras_serializable("snf_tf")
class SpectralConv2D(SpectralLayer):
    """A zero-padded convolution of a norm of at most `coeff` on images of one size.

    The norm is that of the map between whole images, `(H, W, C)` to `(H, W, filters)`, not of the
    reshaped kernel (Gouk et al. 2018; RF App. E). Norms from 1 or to inf
    have a closed form.

    Args:
        filters: Channels of an output.
        kernel_size: Odd, an integer or a pair.
        coeff: As in `SpectralDense`.
        domain: As there.
        codomain: As there.
        method: As there.
        use_bias: As there.
        kernel_initializer: As there.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        kernel: `(kh, kw, C, filters)`.
        bias: `(filters,)`.
        u: `(H * W * filters,)`, not trained.
        v: `(H * W * C,)`, not trained.

    Raises:
        ValueError: As `SpectralDense`, or if the kernel's size is even, or inputs are no images of
            a known size.

    Example:
        >>> layer = snf_tf.networks.SpectralConv2D(4, 3, coeff=0.9)
        >>> layer(tf.ones((1, 8, 8, 2)), training=True).shape
        TensorShape([1, 8, 8, 4])
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int] = 3,
        coeff: float = 0.98,
        domain: float | str | NormOrder = 2.0,
        codomain: float | str | NormOrder = 2.0,
        method: str = "power",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(coeff, domain, codomain, method, use_bias, kernel_initializer, **kwargs)
        self.filters = check_integer("filters", filters, 1)
        self.kernel_size = check_odd_sizes("kernel_size", kernel_size)

    def build(self, input_shape: tuple[Any, ...]) -> None:
        if len(input_shape) != 4 or None in input_shape[1:]:
            raise ValueError(
                "SpectralConv2D takes images of a known size, (batch, height, width, channels). "
                f"Received: input_shape={tuple(input_shape)}"
            )
        height, width, channels = input_shape[1:]
        self.image_size = (height, width)
        pixels = height * width
        kernel_shape = (*self.kernel_size, channels, self.filters)
        self._build_norm(kernel_shape, pixels * channels, pixels * self.filters)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*input_shape[:-1], self.filters)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        if training:
            self.update_norm()
        y = tf.nn.conv2d(x, tf.cast(self.normalized_kernel(), x.dtype), 1, "SAME")
        return y + tf.cast(self.bias, x.dtype) if self.use_bias else y

    def _product(self, kernel, v):
        image = tf.reshape(v, (1, *self.image_size, kernel.shape[2]))
        return tf.reshape(tf.nn.conv2d(image, kernel, 1, "SAME"), [-1])

    def _transposed(self, kernel, u):
        image = tf.reshape(u, (1, *self.image_size, kernel.shape[3]))
        return tf.reshape(tf.nn.conv2d(image, ops.flip(kernel), 1, "SAME"), [-1])

    def _closed_form(self, kernel):
        p, q = order_value(self.domain), order_value(self.codomain)
        if isinstance(p, tf.Tensor) or isinstance(q, tf.Tensor):
            return None
        if p == 1.0 or q == float("inf"):
            return ops.conv2d_operator_norm(kernel, self.image_size, p, q)
        return None

    def norm_bound(self, domain: float | None = None, codomain: float | None = None) -> float:
        p = float(order_value(self.domain)) if domain is None else domain
        q = float(order_value(self.codomain)) if codomain is None else codomain
        return ops.conv2d_mixed_norm_bound(self.kernel, self.image_size, p, q)

    def _top_singular_vector(self, kernel):
        inputs, outputs = self.v.shape[0], self.u.shape[0]
        if self.kernel_size == (1, 1):
            # At one pixel, as all of them are alike.
            vector = np.linalg.svd(kernel[0, 0].numpy())[0][:, 0]
            return np.pad(vector, (0, inputs - len(vector)))
        if min(inputs, outputs) < 3:
            # Too few numbers for Lanczos.
            rows = [
                self._product(kernel, unit) for unit in tf.unstack(tf.eye(inputs, dtype="float64"))
            ]
            return np.linalg.svd(np.stack(rows))[0][:, 0]

        # On the smaller side: of W^T W, or of W W^T.
        first, second = self._product, self._transposed
        if outputs < inputs:
            first, second = second, first

        def gram(vector):
            return second(kernel, first(kernel, tf.constant(vector.ravel(), tf.float64))).numpy()

        size = min(inputs, outputs)
        operator = scipy.sparse.linalg.LinearOperator((size, size), gram, dtype=np.float64)
        start = np.asarray(tf.cast(self.u if outputs < inputs else self.v, tf.float64))
        top = scipy.sparse.linalg.eigsh(operator, 1, which="LA", v0=start, tol=1e-7)[1][:, 0]
        if outputs < inputs:
            top = ops.dual_vector(self._transposed(kernel, tf.constant(top)), 2.0).numpy()
        return top

    def _aol_kernel(self, kernel):
        return ops.aol_conv2d_kernel(kernel)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"filters": self.filters, "kernel_size": self.kernel_size}
