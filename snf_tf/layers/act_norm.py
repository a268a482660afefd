"""Activation normalization of Glow."""

import math
from typing import Any

import keras
import tensorflow as tf

from snf_tf._checks import check_number
from snf_tf.layers.flow_layer import FlowLayer


@keras.saving.register_keras_serializable("snf_tf")
class ActNorm(FlowLayer):
    """`z = (x + bias) * exp(log_scale)` in every channel (Kingma and Dhariwal 2018, section 3.1).

    `initialize(x)`, in a flow `flow.initialize(batch)`, sets bias and scale before the first use.
    The z of this batch have mean 0 and variance 1 in every channel. Channels are the last axis.

    Args:
        variance_floor: Variances of the batch count as this much at least; the published Residual
            Flows have 0.2.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        bias: `(C,)`.
        log_scale: `(C,)`.
        initialized: 1 after `initialize`, before it 0; not trained, stored with the weights.

    Raises:
        ValueError: If the layer is called or inverted before `initialize`. A graph raises when it
            is traced.

    Example:
        >>> layer = snf_tf.layers.ActNorm()
        >>> x = tf.random.normal((100, 8, 8, 3), mean=5.0)
        >>> layer.build(x.shape)
        >>> layer.initialize(x)
        >>> z, log_det = layer(x)
        >>> bool(abs(tf.reduce_mean(z)) < 1e-5)
        True
    """

    takes_context = False
    log_det_is_constant = True
    _has_trained_weights = True

    def __init__(self, variance_floor: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.variance_floor = check_number("variance_floor", variance_floor, at_least=0)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        self.bias, self.log_scale = (
            self.add_weight(
                name=name,
                shape=self.event_shape[-1:],
                initializer="zeros",
                trainable=self._has_trained_weights,
            )
            for name in ("bias", "log_scale")
        )

    def initialize(  # type: ignore[override]
        self, x: tf.Tensor, context: tf.Tensor | None = None
    ) -> None:
        """Sets bias and scale from a batch x.

        Raises:
            ValueError: If the batch has fewer than two examples, or is not finite, or a channel has
                the same value everywhere.
        """
        # Float64: else the variance of a constant would be a rounding error, not 0.
        x = tf.cast(x, tf.float64)
        if x.shape[0] < 2:
            raise ValueError(
                f"x must be two examples or more, to initialize {type(self).__name__}. "
                f"Received: x of shape {x.shape}"
            )
        axes = list(range(x.shape.rank - 1))
        mean, variance = tf.nn.moments(x, axes)
        if not tf.reduce_all(tf.math.is_finite(variance)):
            raise ValueError(
                f"The batch that initializes {self.name} must be finite. Received: variances "
                f"{variance.numpy().tolist()}"
            )
        constant = tf.where(tf.reduce_max(x, axes) == tf.reduce_min(x, axes))[:, 0].numpy().tolist()
        if constant:
            raise ValueError(
                f"{type(self).__name__} cannot scale a channel to variance 1 that has the same "
                f"value everywhere. Received: a batch in which channels {constant} have one value"
            )
        self.bias.assign(-mean)
        self.log_scale.assign(-0.5 * tf.math.log(tf.maximum(variance, self.variance_floor)))

    def call(
        self, x: tf.Tensor, context: tf.Tensor | None = None, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        self._require_initialized()
        z = (self.widen(x) + self.widen(self.bias)) * tf.exp(self.widen(self.log_scale))
        return tf.cast(z, self.call_dtype(training)), self.repeat(self.constant_log_det(), x)

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        self._require_initialized()
        return z * tf.exp(-self.widen(self.log_scale)) - self.widen(self.bias)

    def constant_log_det(self) -> tf.Tensor:
        return math.prod(self.event_shape[:-1]) * tf.reduce_sum(self.widen(self.log_scale))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"variance_floor": self.variance_floor}

    def _require_initialized(self) -> None:
        # Checks at tracing, not in every run of a graph: initialized weights stay initialized.
        with tf.init_scope():
            if self.needs_initialization:
                raise ValueError(
                    f"{self.name} must be initialized first, by flow.initialize(batch) or "
                    "layer.initialize(batch). Received: a layer that is not initialized"
                )
