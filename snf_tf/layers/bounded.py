"""From bounded data to unbounded reals."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import refuse
from snf_tf.layers.flow_layer import FlowLayer, sum_event


@keras.saving.register_keras_serializable("snf_tf")
class Bounded(FlowLayer):
    """Maps data between bounds to all reals, increasing in every dimension.

    - Two bounds: `z = log((x - low) / (high - x))`.
    - A lower one: `z = log(exp(x - low) - 1)`, the inverse of a softplus, nearly `x - low` far from
      the bound. An upper one: the same of `high - x`, with both signs changed.
    - None: `z = x`.

    A flow that begins with this layer has a density on the open support, which integrates to 1.

    Args:
        low: Lower bounds: a number for all dimensions, or an array that broadcasts to the event.
            None, as a whole or in the array, and -inf mean no bound.
        high: Upper bounds, the same with inf.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: If a low is not below its high, or bounds do not fit the event. In a call with
            `training=False`, if x does not lie between the bounds, or holds NaN (in a graph a
            tf.errors.InvalidArgumentError). Data on a bound are refused too: give wider bounds.

    Example:
        >>> layer = snf_tf.layers.Bounded(low=[0.0, None], high=[1.0, None])
        >>> z, log_det = layer(tf.constant([[0.5, 3.0]]))
        >>> z.numpy(), layer.inverse(z).numpy()
        (array([[0., 3.]], dtype=float32), array([[0.5, 3. ]], dtype=float32))
    """

    takes_context = False

    def __init__(self, low: Any = None, high: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.low, self.high = _bounds("low", low, -np.inf), _bounds("high", high, np.inf)
        try:
            valid = bool(np.all(self.low < self.high))
        except ValueError:
            valid = False
        if not valid:
            raise ValueError(
                "Every low must be a number below its high, or None. "
                f"Received: low={low}, high={high}"
            )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        try:
            low, high = (np.broadcast_to(bound, self.event_shape) for bound in self._ends())
        except ValueError as error:
            raise ValueError(
                f"The bounds of {self.name} must broadcast to events of shape {self.event_shape}. "
                f"Received: low of shape {self.low.shape}, high of shape {self.high.shape}"
            ) from error
        self._low, self._high = low, high

    @property
    def log_det_is_constant(self) -> bool:  # type: ignore[override]
        return not (np.isfinite(self.low).any() or np.isfinite(self.high).any())

    def constant_log_det(self) -> tf.Tensor | None:
        return tf.zeros((), self.log_det_dtype) if self.log_det_is_constant else None

    def call(
        self, x: tf.Tensor, context: tf.Tensor | None = None, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        # Training data are checked at their source: a check here would stall a GPU in every step.
        x = self.widen(x if training else self.check_data(x))
        z, log_slope = self._by_side(x, self._forward, 0.5)
        return z, sum_event(log_slope)

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        x, _ = self._by_side(z, self._inverse, 0.0)
        # Rounding must not take x to a bound, where it has no density.
        return tf.clip_by_value(x, _next(self._low, self._high), _next(self._high, self._low))

    def check_data(self, x: tf.Tensor) -> tf.Tensor:
        wide = self.widen(x)
        low, high = self._ends()
        valid = tf.reduce_all((wide > low) & (wide < high))
        bounds = f" {low} and {high}" if low.ndim == high.ndim == 0 else ""
        message = f"{self.name} takes x between its bounds{bounds}, not on them, without NaN."
        return ops.require(valid, x, message)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "low": _listed(self.low.tolist()),
            "high": _listed(self.high.tolist()),
        }

    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the bounds in the dtype of the computation."""
        return self.low.astype(self.log_det_dtype), self.high.astype(self.log_det_dtype)

    def _by_side(
        self, values: tf.Tensor, function: Callable[..., tuple[tf.Tensor, tf.Tensor]], safe: float
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Applies the function to the dimensions of every kind, the identity to the others."""
        result, log_slope = values, tf.zeros_like(values)
        has_low, has_high = np.isfinite(self._low), np.isfinite(self._high)
        for sides in ((True, True), (True, False), (False, True)):
            chosen = (has_low == sides[0]) & (has_high == sides[1])
            if not chosen.any():
                continue
            low, high = np.where(chosen, self._low, 0), np.where(chosen, self._high, 1)
            # What is not chosen must have finite derivatives too: 0 times infinity is NaN.
            inputs = tf.where(chosen, values, tf.constant(safe, values.dtype))
            found = function(inputs, low, high, sides)
            result, log_slope = (
                tf.where(chosen, new, old)
                for new, old in zip(found, (result, log_slope), strict=True)
            )
        return result, log_slope

    def _forward(
        self, x: tf.Tensor, low: np.ndarray, high: np.ndarray, sides: tuple[bool, bool]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if sides == (True, True):
            log_a, log_b = tf.math.log(x - low), tf.math.log(high - x)
            return log_a - log_b, np.log(high - low) - log_a - log_b
        a = x - low if sides[0] else high - x
        # log(1 - exp(-a)), also where a is large or small.
        rest = tf.math.log(-tf.math.expm1(-a))
        return (a + rest if sides[0] else -(a + rest)), -rest

    def _inverse(
        self, z: tf.Tensor, low: np.ndarray, high: np.ndarray, sides: tuple[bool, bool]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if sides == (True, True):
            # From the nearer bound: the distance to it keeps its digits.
            part = (high - low) * tf.sigmoid(-tf.abs(z))
            return tf.where(z < 0, low + part, high - part), tf.zeros_like(z)
        a = tf.math.softplus(z if sides[0] else -z)
        return (low + a if sides[0] else high - a), tf.zeros_like(z)


def _bounds(name: str, given: Any, missing: float) -> np.ndarray:
    """Returns bounds as an array of float64, with None as the missing bound.

    Raises:
        ValueError: If they are no array of numbers and None, or hold NaN.
    """
    try:
        array = np.asarray(given)
        parts = [missing if bound is None else bound for bound in array.flat]
        if array.dtype.kind not in "iufO" or any(isinstance(part, str | bool) for part in parts):
            raise TypeError
        bounds = np.array(parts, float).reshape(array.shape)
    except (TypeError, ValueError):
        bounds = np.array(np.nan)
    if np.isnan(bounds).any():
        refuse(name, given, "a number, or None, or an array of these")
    return bounds


def _next(bound: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the number next to a bound, on the side of the other, that is not subnormal."""
    found, tiny = np.nextafter(bound, other), np.finfo(bound.dtype).tiny
    return np.where(np.abs(found) < tiny, np.sign(other - bound) * tiny, found)


def _listed(bounds: Any) -> Any:
    """Returns bounds, of `array.tolist()`, as what JSON can hold."""
    if isinstance(bounds, list):
        return [_listed(part) for part in bounds]
    return bounds if np.isfinite(bounds) else None
