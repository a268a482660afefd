"""From integer images to unbounded reals, in float32 at least: `Dequantize`, `Scale`, `Logit`."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import check_integer, check_number, refuse
from snf_tf.layers.flow_layer import FlowLayer, sum_event

# How many integers from 0 on a dtype holds.
_INTEGERS = {"float32": 2**24, "float64": 2**53}


@keras.saving.register_keras_serializable("snf_tf")
class Dequantize(FlowLayer):
    """Adds uniform noise to integers, which then have a density (Uria et al. 2013).

    `z = x + u` with u ~ U[0, 1). The density p of z bounds the probability P of x:
    `log P(x) >= E_u log p(x + u)`. log_det is 0. The noise of a row is a function of `seed` alone,
    in training as in evaluation. The inverse returns z, a float image, clipped into [0, bins); the
    `tf.floor` of this image is x.

    Args:
        bins: Number of integer values: x lies in 0..bins - 1. At most 2^24, in float64 2^53: more
            integers the dtype does not hold.
        **kwargs: As in `keras.layers.Layer`.

    Call arguments:
        x: `(batch,) + event_shape`, of an integer dtype, or floats with integer values.
        seed: An integer, or a row seed of `snf_tf.ops.row_seed`. None takes a new seed in every
            training call, otherwise 0.

    Raises:
        ValueError: If bins is not such an integer. In a call, if x holds NaN, or values that are
            not integers in 0..bins - 1 (in a graph a tf.errors.InvalidArgumentError). uint8 needs
            no check with 256 bins.

    Example:
        >>> z, log_det = snf_tf.layers.Dequantize()(tf.constant([[0, 255]], tf.uint8), seed=1)
        >>> tf.floor(z).numpy().tolist()
        [[0.0, 255.0]]
    """

    takes_seed = True
    is_bijection = False
    dequantizes = True
    takes_context = False
    log_det_is_constant = True

    def __init__(self, bins: int = 256, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bins = check_integer("bins", bins, 1, at_most=_INTEGERS[self.log_det_dtype])

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        self.add_noise_counter()

    def call(
        self,
        x: tf.Tensor,
        context: tf.Tensor | None = None,
        training: bool = False,
        seed: int | tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        # Training data are checked at their source: a check here would stall a GPU in every step.
        x = self.widen(x if training else self.check_data(x))
        seed = self.noise_seed(x, training, seed)
        z = x + ops.uniform_rows(seed, tf.shape(x), self.log_det_dtype)
        # Where rounding takes x + u up to x + 1, u counts as 0, so that floor(z) is x.
        return tf.where(z < x + 1, z, x), self.repeat(0.0, x)

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        largest = np.nextafter(*np.array([self.bins, 0], self.log_det_dtype))
        return tf.clip_by_value(z, 0, largest)

    def constant_log_det(self) -> tf.Tensor | None:
        return tf.zeros((), self.log_det_dtype)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"bins": self.bins}

    def noise_seed(
        self, x: tf.Tensor, training: bool, seed: int | tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns the row seed of the noise of a call."""
        if training and seed is None:
            seed = self.next_seed(first_row=ops.replica_rows(x)[1])
        # In evaluation draws of estimators, which the step counts, have the same noise.
        return ops.row_seed(seed) * tf.constant([1, 1 if training else 0, 1], tf.int64)

    def check_data(self, x: tf.Tensor) -> tf.Tensor:
        if x.dtype == tf.uint8 and self.bins >= 256:
            return x
        wide_x = self.widen(x)
        valid = tf.reduce_all((wide_x >= 0) & (wide_x < self.bins) & (tf.floor(wide_x) == wide_x))
        return ops.require(
            valid,
            x,
            f"{type(self).__name__} takes x of integer values in 0..{self.bins - 1}, without NaN, "
            "neither scaled nor dequantized before.",
        )


@keras.saving.register_keras_serializable("snf_tf")
class Scale(FlowLayer):
    """Multiplies by a constant, `z = scale x`.

    Args:
        scale: Finite, not 0. The default maps [0, 256) to [0, 1).
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: If scale is 0 or not finite, or too large or too small for the dtype.

    Example:
        >>> z, log_det = snf_tf.layers.Scale(0.5)(tf.constant([[2.0, 4.0]]))
        >>> z.numpy(), log_det.numpy()
        (array([[1., 2.]], dtype=float32), array([-1.3862944], dtype=float32))
    """

    takes_context = False
    log_det_is_constant = True

    def __init__(self, scale: float = 1 / 256, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = check_number("scale", scale, dtype=self.log_det_dtype)
        if scale == 0:
            refuse("scale", scale, "a finite number, and not 0")

    def call(
        self, x: tf.Tensor, context: tf.Tensor | None = None, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return self.scale * self.widen(x), self.repeat(self.constant_log_det(), x)

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        return z / self.scale

    def constant_log_det(self) -> tf.Tensor:
        return tf.constant(
            math.prod(self.event_shape) * math.log(abs(self.scale)), self.log_det_dtype
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"scale": self.scale}


@keras.saving.register_keras_serializable("snf_tf")
class Logit(FlowLayer):
    """Squeezes [0, 1] into [alpha, 1 - alpha] and takes the logit.

    `y = alpha + (1 - 2 alpha) x`, `z = log(y / (1 - y))`.

    Args:
        alpha: In [0, 1/2); x = 0 and x = 1 need a positive alpha.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: If alpha is not in [0, 1/2). A call with x outside [0, 1] gives NaN; a Flow that
            begins with this layer refuses these data.

    Example:
        >>> layer = snf_tf.layers.Logit()
        >>> z, log_det = layer(tf.constant([[0.0, 0.5]]))
        >>> layer.inverse(z).numpy().round(4)
        array([[-0. ,  0.5]], dtype=float32)
    """

    takes_context = False

    def __init__(self, alpha: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = check_number("alpha", alpha, at_least=0, below=0.5)

    def call(
        self, x: tf.Tensor, context: tf.Tensor | None = None, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        x = self.widen(x)
        # 1 - y comes from 1 - x, which is exact; a y rounded near 1 has lost these digits.
        log_y, log_1_y = (
            tf.math.log(self.alpha + (1 - 2 * self.alpha) * part) for part in (x, 1 - x)
        )
        return log_y - log_1_y, sum_event(math.log(1 - 2 * self.alpha) - log_y - log_1_y)

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        return (tf.sigmoid(z) - self.alpha) / (1 - 2 * self.alpha)

    def check_data(self, x: tf.Tensor) -> tf.Tensor:
        return ops.require(
            tf.reduce_all((x >= 0) & (x <= 1)), x, "Logit takes x in [0, 1], without NaN."
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"alpha": self.alpha}
