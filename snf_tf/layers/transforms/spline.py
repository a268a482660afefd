"""Rational-quadratic splines with parameters from a network: neural spline flows."""

import math

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import check_integer, check_number
from snf_tf.layers.transforms.transform import Transform


@keras.saving.register_keras_serializable("snf_tf")
class RationalQuadratic(Transform):
    """A monotone rational-quadratic spline on [-bound, bound] (Durkan et al. 2019).

    Outside it is the identity ("linear tails"), with the slope 1 at the bound. Parameters:
    unnormalized widths and heights of the bins, and bins - 1 unnormalized derivatives; see
    `snf_tf.ops.rational_quadratic_spline`. Zeros are the identity.

    Args:
        bins: Number of bins.
        bound: Half the width of the interval. Data should lie inside; standardised, they mostly do.

    Raises:
        ValueError: If bins is not in 2..999, or bound is not positive.

    Example:
        >>> spline = RationalQuadratic(bins=4, bound=3.0)
        >>> z, log_slope = spline.forward(tf.constant([[0.5, -9.0]]), tf.zeros((1, 2, 11)))
        >>> z.numpy().round(4).tolist()
        [[0.5, -9.0]]
    """

    def __init__(self, bins: int = 8, bound: float = 3.0) -> None:
        bins, bound = _checked_bins(bins), check_number("bound", bound, above=0)
        super().__init__(bins=bins, bound=bound)
        self.bins, self.bound = bins, bound
        self.count_of_parameters = 3 * bins - 1

    def forward(self, x: tf.Tensor, parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return ops.rational_quadratic_spline(x, *_parts(parameters, self.bins), self.bound)

    def inverse(self, z: tf.Tensor, parameters: tf.Tensor) -> tf.Tensor:
        return ops.rational_quadratic_spline_inverse(z, *_parts(parameters, self.bins), self.bound)


@keras.saving.register_keras_serializable("snf_tf")
class CircularRationalQuadratic(Transform):
    """A rational-quadratic spline of angles, smooth across the end of the period (Rezende et al.
    2020).

    It maps [low, high) to itself; low stays where it is. With the period P = high - low it is
    continued by f(x + P) = f(x) + P: angles need not be reduced before. Parameters: unnormalized
    widths, heights and derivatives, as many as bins each; see `snf_tf.ops.circular_spline`. Zeros
    are the identity.

    The network that computes the parameters should see angles by their sine and cosine, too: a
    function of the number alone may jump at the end of the period.

    Args:
        bins: Number of bins.
        low: Start of the period.
        high: End of the period.

    Raises:
        ValueError: If bins is not in 2..999, or low < high does not hold.

    Example:
        >>> spline = CircularRationalQuadratic(bins=4, low=0.0, high=1.0)
        >>> z, _ = spline.forward(tf.constant([[0.25, 1.25]]), tf.ones((1, 2, 12)))
        >>> bool(abs(z[0, 1] - z[0, 0] - 1.0) < 1e-6)
        True
    """

    def __init__(self, bins: int = 8, low: float = -math.pi, high: float = math.pi) -> None:
        bins, low = _checked_bins(bins), check_number("low", low)
        high = check_number("high", high)
        if low >= high:
            raise ValueError(f"low must be less than high. Received: low={low!r}, high={high!r}")
        super().__init__(bins=bins, low=low, high=high)
        self.bins = bins
        self.center, self.bound = 0.5 * (low + high), 0.5 * (high - low)
        self.count_of_parameters = 3 * bins

    def forward(self, x: tf.Tensor, parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parts = _parts(parameters, self.bins)
        value, log_slope = ops.circular_spline(x - self.center, *parts, self.bound)
        return value + self.center, log_slope

    def inverse(self, z: tf.Tensor, parameters: tf.Tensor) -> tf.Tensor:
        parts = _parts(parameters, self.bins)
        return ops.circular_spline_inverse(z - self.center, *parts, self.bound) + self.center


def _checked_bins(bins: int) -> int:
    """Returns a number of bins, if so many of the minimum width fit into an interval."""
    return check_integer("bins", bins, 2, below=1000)


def _parts(parameters: tf.Tensor, bins: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns unnormalized widths, heights and derivatives."""
    return parameters[..., :bins], parameters[..., bins : 2 * bins], parameters[..., 2 * bins :]
