"""Element-wise spline activation with its own parameters for every element."""

from typing import Any

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf.layers.flow_layer import FlowLayer, sum_event
from snf_tf.layers.transforms import RationalQuadratic


@keras.saving.register_keras_serializable("snf_tf")
class SplineActivation(FlowLayer):
    """Monotone rational-quadratic spline on [-bound, bound] (Durkan et al. 2019).

    Outside the interval the layer is the identity. Every element of the event has its own spline.
    The slope at the bound is 1. See `snf_tf.ops.spline` for the parameterization.

    Args:
        bins: Number of bins.
        bound: Half the width of the interval, positive.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        unnormalized_widths: `event_shape + (bins,)`.
        unnormalized_heights: `event_shape + (bins,)`.
        unnormalized_derivatives: `event_shape + (bins - 1,)`.

    Raises:
        ValueError: If there are fewer than 2 bins, or so many that their minimum widths fill the
            interval, or bound is not positive.

    Example:
        >>> layer = snf_tf.layers.SplineActivation(bins=5, bound=10)
        >>> z, log_det = layer(tf.constant([[-20.0, 0.5]]))
        >>> layer.inverse(z).numpy().round(3).tolist()
        [[-20.0, 0.5]]
    """

    takes_context = False

    def __init__(self, bins: int = 5, bound: float = 10.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        transform = RationalQuadratic(bins, bound)  # Checks both.
        self.bins, self.bound = transform.bins, transform.bound

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        self.unnormalized_widths, self.unnormalized_heights, self.unnormalized_derivatives = (
            self.add_weight(
                name=name,
                shape=(*self.event_shape, count),
                initializer=keras.initializers.RandomNormal(stddev=0.01),
            )
            for name, count in (
                ("unnormalized_widths", self.bins),
                ("unnormalized_heights", self.bins),
                ("unnormalized_derivatives", self.bins - 1),
            )
        )

    def call(
        self, x: tf.Tensor, context: tf.Tensor | None = None, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        value, log_slope = ops.rational_quadratic_spline(
            self.widen(x), *self._parameters(), self.bound
        )
        return tf.cast(value, self.call_dtype(training)), sum_event(log_slope)

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        return ops.rational_quadratic_spline_inverse(z, *self._parameters(), self.bound)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"bins": self.bins, "bound": self.bound}

    def _parameters(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the weights in `log_det_dtype`."""
        return (
            self.widen(self.unnormalized_widths),
            self.widen(self.unnormalized_heights),
            self.widen(self.unnormalized_derivatives),
        )
