"""Element-wise bijections without weights. All work on inputs of any shape `(batch, ...)`."""

from typing import Any

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import check_number
from snf_tf.layers.flow_layer import FlowLayer, sum_event


class _Activation(FlowLayer):
    """Element-wise bijection `_function(x) -> (value, log_slope)`, computed in `log_det_dtype`."""

    takes_context = False

    def call(
        self, x: tf.Tensor, context: tf.Tensor | None = None, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        value, log_slope = self._function(self.widen(x))
        return tf.cast(value, self.call_dtype(training)), sum_event(log_slope)


@keras.saving.register_keras_serializable("snf_tf")
class LeakyReLU(_Activation):
    """`max(x, 0) + alpha min(x, 0)`.

    Args:
        alpha: Slope for negative x, positive.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: If alpha is not positive, so that the map has no inverse, or too large or too
            small for the dtype.

    Example:
        >>> z, log_det = snf_tf.layers.LeakyReLU(alpha=0.5)(tf.constant([[-2.0, 1.0]]))
        >>> z.numpy().tolist()
        [[-1.0, 1.0]]
    """

    def __init__(self, alpha: float = 0.3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = check_number("alpha", alpha, above=0, dtype=self.log_det_dtype)

    def _function(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return ops.leaky_relu(x, self.alpha)

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        return ops.leaky_relu_inverse(z, self.alpha)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"alpha": self.alpha}


@keras.saving.register_keras_serializable("snf_tf")
class SmoothLeakyReLU(_Activation):
    """`alpha x + (1 - alpha) log(1 + exp(x))` (Gresele et al. 2020; SNF A.3).

    The inverse is found by safeguarded Newton steps.

    Args:
        alpha: Slope at minus infinity, positive; the slope at infinity is 1.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: If alpha is not positive, or too large or too small for the dtype.

    Example:
        >>> layer = snf_tf.layers.SmoothLeakyReLU(alpha=0.3)
        >>> z, log_det = layer(tf.constant([[-1e4, 0.5]]))
        >>> layer.inverse(z).numpy().round(3).tolist()
        [[-10000.0, 0.5]]
    """

    def __init__(self, alpha: float = 0.3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = check_number("alpha", alpha, above=0, dtype=self.log_det_dtype)

    def _function(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return ops.smooth_leaky_relu(x, self.alpha)

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        return ops.smooth_leaky_relu_inverse(z, self.alpha)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"alpha": self.alpha}


@keras.saving.register_keras_serializable("snf_tf")
class SmoothTanh(_Activation):
    """`tanh(alpha x) + beta x` (Gresele et al. 2020).

    The inverse is found by safeguarded Newton steps.

    Args:
        alpha: Factor of x inside tanh, positive.
        beta: Slope at infinity, positive.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: If alpha or beta is not positive, or too large or too small for the dtype.

    Example:
        >>> layer = snf_tf.layers.SmoothTanh()
        >>> z, log_det = layer(tf.constant([[-3.0, 0.5]]))
        >>> layer.inverse(z).numpy().round(3).tolist()
        [[-3.0, 0.5]]
    """

    def __init__(self, alpha: float = 1.0, beta: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = check_number("alpha", alpha, above=0, dtype=self.log_det_dtype)
        self.beta = check_number("beta", beta, above=0, dtype=self.log_det_dtype)

    def _function(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return ops.smooth_tanh(x, self.alpha, self.beta)

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        return ops.smooth_tanh_inverse(z, self.alpha, self.beta)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"alpha": self.alpha, "beta": self.beta}
