"""Dequantization by a learned distribution of the noise."""

import math
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import check_instance
from snf_tf.layers.bijection import Bijection, follow
from snf_tf.layers.preprocessing import Dequantize


@keras.saving.register_keras_serializable("snf_tf")
class VariationalDequantize(Dequantize):
    """Adds noise u of a learned density q(u|x) to integers (Flow++, Ho et al. 2019).

    `z = x + u` with `u = Phi(flow(e))`, e standard normal, Phi its distribution function: where the
    flow is the identity, u is uniform. The flow runs from noise to u, in the direction in which its
    layers are fast. Its context is x, scaled to (-1, 1). log_det is `-log q(u|x)`: for a density p
    of z, `log P(x) >= E_u [log p(x + u) - log q(u|x)]`. Of a flow that begins with this layer
    `log_det_kind` is "bound": it has `log_prob_bound`, not `log_prob`, and evaluates to
    `nll_bound`.

    Noise is a function of `seed` alone. The inverse is that of `Dequantize`.

    Args:
        flow: A Flow, or a layer, for events of the shape of x. Where its layers take no context, q
            is the same for every x.
        bins: Number of integer values: x lies in 0..bins - 1.
        **kwargs: As in `keras.layers.Layer`.

    Call arguments:
        x: As in `Dequantize`.
        seed: As there.

    Raises:
        ValueError: As in `Dequantize`. If flow is no Flow, has a base of its own, is random or only
            estimates log-determinants, or does not fit x.

    Example:
        >>> noise = snf_tf.layers.Autoregressive(context_shape=(2,))
        >>> flow = snf_tf.Flow(
        ...     [snf_tf.layers.VariationalDequantize(noise), snf_tf.layers.Scale(1 / 256)],
        ...     event_shape=(2,),
        ... )
        >>> flow.log_prob_bound(tf.constant([[0, 255]]), draws=8).shape
        TensorShape([1])
    """

    log_det_is_constant = False
    log_det_kind = "bound"

    def __init__(self, flow: Bijection, bins: int = 256, **kwargs: Any) -> None:
        super().__init__(bins, **kwargs)
        check_instance("flow", flow, Bijection, "a Flow or a layer of snf_tf.layers")
        if not flow.is_bijection or flow.log_det_kind != "exact":
            raise ValueError(
                "The flow of the noise must be a bijection with exact log-determinants. "
                f"Received: is_bijection={flow.is_bijection}, log_det_kind={flow.log_det_kind!r}"
            )
        if getattr(flow, "base", None) is not None:
            raise ValueError(
                "The noise is standard normal: leave out the flow's base. "
                f"Received: base={flow.base!r}"
            )
        self.flow = flow

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        if not self.flow.built:
            self.flow.build((None, *self.event_shape))
        if self.flow.event_shape != self.event_shape:
            raise ValueError(
                f"The flow of {self.name} must be for events of shape {self.event_shape}, those of "
                f"x. Received: a flow for events of shape {self.flow.event_shape}"
            )

    @property
    def version(self) -> int:
        return self._changes + self.flow.version

    def unbuilt_parts(self) -> list[str]:
        return self.flow.unbuilt_parts()

    @property
    def needs_initialization(self) -> bool:
        return self.flow.needs_initialization

    def initialize(
        self, x: tf.Tensor, context: tf.Tensor | None = None, seed: int | tf.Tensor | None = None
    ) -> None:
        x = self.widen(x)
        own = {"seed": ops.fold_in(ops.row_seed(seed), 1)} if self.flow.takes_seed else {}
        self.flow.initialize(self._noise(x, ops.row_seed(seed)), self._as_context(x), **own)

    def prepare(self) -> None:
        for leaf in self.flow.leaves():
            leaf.prepare()

    def call(
        self,
        x: tf.Tensor,
        context: tf.Tensor | None = None,
        training: bool = False,
        seed: int | tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        x = self.widen(x if training else self.check_data(x))
        seed = self.noise_seed(x, training, seed)
        noise = self._noise(x, seed)
        log_dets: list[tf.Tensor] = []
        steps = self.flow.steps(noise, self._as_context(x), training, ops.fold_in(seed, 1))
        v = follow(steps, lambda step: log_dets.append(self.widen(step.log_det)))
        v = tf.reshape(self.widen(v), tf.shape(x))
        # log q(u|x) = log N(e) - log|dv/de| - log N(v), and u = Phi(v).
        flat = (-1, math.prod(self.event_shape))
        log_e, log_v = (ops.standard_normal_log_prob(tf.reshape(part, flat)) for part in (noise, v))
        u = 0.5 * tf.math.erfc(-math.sqrt(0.5) * v)
        # Rounding must not take x + u up to x + 1: the floor of z is x.
        eps = np.finfo(self.log_det_dtype).eps
        return tf.minimum(x + u, (x + 1) * (1 - eps)), tf.add_n([*log_dets, log_v]) - log_e

    def constant_log_det(self) -> None:
        return None

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"flow": keras.saving.serialize_keras_object(self.flow)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**config | {"flow": keras.saving.deserialize_keras_object(config["flow"])})

    def _noise(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return ops.normal_rows(ops.fold_in(seed, 0), tf.shape(x), self.log_det_dtype)

    def _as_context(self, x: tf.Tensor) -> tf.Tensor | None:
        return (2 * x + 1) / self.bins - 1 if self.flow.takes_context else None
