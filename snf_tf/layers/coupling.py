"""Couplings, which transform one part of an event with parameters computed from the rest."""

from collections.abc import Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from snf_tf._checks import check_integer, check_network
from snf_tf._compat import layers_within
from snf_tf.layers.alike import SharedTrace, shared_trace
from snf_tf.layers.context import checked_context, context_vector, network_context
from snf_tf.layers.flow_layer import FlowLayer, sum_event
from snf_tf.layers.masks import MASKS, Channels, Mask
from snf_tf.layers.options import deserialized, resolve
from snf_tf.layers.transforms import TRANSFORMS, Affine, LogScale, Transform
from snf_tf.networks import Conditioner, default_conditioner
from snf_tf.ops.portable import is_portable


@keras.saving.register_keras_serializable("snf_tf")
class Coupling(FlowLayer):
    """Coupling: `z = merge(x1, transform(x2, parameters(x1)))` (Dinh et al. 2017).

    The mask splits x into x1 and x2. The conditioner, a network, maps x1 to the parameters. Its
    output has the channels of x2 times `transform.count_of_parameters`, first parameter first.

    Args:
        transform: `Affine()` (Real NVP), `Additive()` (NICE), `RationalQuadratic()` (neural spline
            flows), `CircularRationalQuadratic()` or `LogisticMixture()` (Flow++), or their names
            "affine", "additive", "rational_quadratic", ....
        mask: `Channels()`, `Checkerboard()`, `Stripes()`, `Alternate()` or `RandomPermutation()`,
            or their names "channels", "checkerboard", ....
        conditioner: Any Keras model or layer, called on x1, or on `[x1, context]`, such as
            `snf_tf.networks.ResidualMLP()`. By default `snf_tf.networks.default_conditioner`.
        width: Hidden channels of the default conditioner.
        context_shape: Shape of one context. The conditioner is then built on `[x1, context]`, and
            every call takes a context. None: a given conditioner that needs a context is built by
            the first call; the default one takes none.
        context_classes: Number of classes, where the context is labels `(batch,)`, integers. The
            conditioner gets `[x1, context]` with one-hot vectors `(batch, classes)`.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: If an argument is none of these, or the mask does not fit the event. If the
            conditioner has the wrong number of outputs, or a context does not fit.

    Example:
        >>> layer = snf_tf.layers.Coupling("additive", width=16)
        >>> z, log_det = layer(tf.random.normal((2, 4, 4, 6)))
        >>> x = layer.inverse(z)
    """

    def __init__(
        self,
        transform: str | Transform = "affine",
        mask: str | Mask = "channels",
        conditioner: keras.layers.Layer | None = None,
        width: int = 512,
        context_shape: Sequence[int] | None = None,
        context_classes: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.transform = resolve(transform, TRANSFORMS, "transform")
        self.mask = resolve(mask, MASKS, "mask")
        self.given_conditioner = check_network("conditioner", conditioner, optional=True)
        self.width = check_integer("width", width, 1)
        self.context_shape, self.context_classes = checked_context(context_shape, context_classes)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        x1_shape, x2_shape = self.mask.shapes(self.event_shape)
        outputs = x2_shape[-1] * self.transform.count_of_parameters
        self._parameters_shape = (*x2_shape[:-1], outputs)
        self.conditioner = self.given_conditioner or default_conditioner(
            x1_shape, outputs, self.width, self.dtype_policy, self._conditioned_shape
        )
        if isinstance(self.conditioner, Conditioner) and self.conditioner.outputs is None:
            self.conditioner.outputs = outputs
        x1 = keras.KerasTensor((None, *x1_shape), self.log_det_dtype)
        if (vector := self._conditioned_shape) is not None:
            context = keras.KerasTensor((None, *vector), self.log_det_dtype)
            self.conditioner([x1, context])
        self._waits_for_context = not _is_built(self.conditioner) and not _build(
            self.conditioner, x1
        )

    def call(
        self, x: tf.Tensor, context: tf.Tensor | None = None, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if trace := self._shared_trace():
            return trace.forward(self, self.conditioner, x, context, training)
        return self.transform_data(x, context, training)

    def transform_data(
        self, x: tf.Tensor, context: tf.Tensor | None, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes what a call returns."""
        x1, x2 = self.mask.split(self.widen(x))
        z2, log_slope = self.transform.forward(x2, self._parameters(x1, context, training))
        z = self.mask.merge(x1, z2)
        return tf.cast(z, self.call_dtype(training)), sum_event(log_slope)

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        if trace := self._shared_trace():
            return trace.inverse(self, self.conditioner, z, context)
        return self.transform_latents(z, context)

    def transform_latents(self, z: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        """Computes x from z."""
        x1, z2 = self.mask.split(z)
        return self.mask.merge(x1, self.transform.inverse(z2, self._parameters(x1, context, False)))

    @property
    def takes_context(self) -> bool:  # type: ignore[override]
        return self.given_conditioner is not None or self.context_shape is not None

    def unbuilt_parts(self) -> list[str]:
        return [self.conditioner.name] if self._waits_for_context else []

    @property
    def log_det_is_constant(self) -> bool:  # type: ignore[override]
        return self.transform.keeps_volume

    def constant_log_det(self) -> tf.Tensor | None:
        return tf.zeros((), self.log_det_dtype) if self.log_det_is_constant else None

    def get_config(self) -> dict[str, Any]:
        given = self.given_conditioner
        return super().get_config() | {
            "transform": keras.saving.serialize_keras_object(self.transform),
            "mask": keras.saving.serialize_keras_object(self.mask),
            "conditioner": given and keras.saving.serialize_keras_object(given),
            "width": self.width,
            "context_shape": None if self.context_classes else self.context_shape,
            "context_classes": self.context_classes,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**deserialized(config))

    def _shared_trace(self) -> SharedTrace | None:
        """Returns the trace that this coupling shares with others, in a graph."""
        if not tf.inside_function() or is_portable() or self._waits_for_context:
            return None
        # Kept, as nothing else keeps the trace; found again, as the layer may have changed.
        facts = (self.transform, self.mask, self.context_shape, self.context_classes)
        self._trace = shared_trace(self, self.conditioner, *facts)
        return self._trace

    def _parameters(self, x1: tf.Tensor, context: tf.Tensor | None, training: bool) -> tf.Tensor:
        """Computes the parameters, which have the shape of x2 and one more axis, the last."""
        if context is not None and not self.takes_context:
            raise ValueError(
                f"The default conditioner of {self.name} takes no context: give the coupling its "
                f"context_shape. Received: a context of shape {context.shape}"
            )
        if self.context_shape is not None:
            context = network_context(self, context)
        inputs = x1 if context is None else [x1, self.widen(context)]
        try:
            h = self.conditioner(inputs, training=training)
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            received = "no context" if context is None else f"a context of shape {context.shape}"
            raise ValueError(
                f"The conditioner of {self.name} cannot be called on x1, of shape {x1.shape}, and "
                f"the context: give the context that it takes. Received: {received}. {error}"
            ) from error
        self._waits_for_context = False
        if tuple(h.shape[1:]) != self._parameters_shape:
            raise ValueError(
                f"The conditioner of {self.name} must map x1, of shape (batch,) + "
                f"{tuple(x1.shape[1:])}, to (batch,) + {self._parameters_shape}. "
                f"Received: an output of shape {h.shape}"
            )
        count = self.transform.count_of_parameters
        shape = (-1, *self._parameters_shape[:-1], count, self._parameters_shape[-1] // count)
        return tf.linalg.matrix_transpose(tf.reshape(self.widen(h), shape))

    @property
    def _conditioned_shape(self) -> tuple[int, ...] | None:
        """Returns the shape of one context as the conditioner gets it."""
        return context_vector(self.context_shape, self.context_classes)


@keras.saving.register_keras_serializable("snf_tf")
class AffineCoupling(Coupling):
    """Affine coupling: `z = concat(x1, (x2 + shift) * scale)` (Dinh et al. 2017).

    Short for `Coupling(Affine(scale), Channels(), conditioner)`: x1 and x2 are the halves of the
    channels. The conditioner maps x1 to shift and h; scale is a function of h.

    Args:
        conditioner: As in `Coupling`.
        width: As in `Coupling`.
        scale: As in `Affine`: "sigmoid": `scale = sigmoid(h + 2)`; "tanh": `exp(2 tanh(h / 2))`;
            "exp": `exp(h)`; or an object.
        context_shape: As in `Coupling`.
        context_classes: As there.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: As in `Coupling`, or if scale is unknown.

    Example:
        >>> layer = snf_tf.layers.AffineCoupling(width=16)
        >>> z, log_det = layer(tf.random.normal((2, 4, 4, 6)))
        >>> x = layer.inverse(z)
    """

    def __init__(
        self,
        conditioner: keras.layers.Layer | None = None,
        width: int = 512,
        scale: str | LogScale = "sigmoid",
        context_shape: Sequence[int] | None = None,
        context_classes: int | None = None,
        **kwargs: Any,
    ) -> None:
        transform, context = Affine(scale), (context_shape, context_classes)
        super().__init__(transform, Channels(), conditioner, width, *context, **kwargs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["transform"], config["mask"]
        return config | {"scale": keras.saving.serialize_keras_object(self.transform.scale)}


def _is_built(network: Any) -> bool:
    return network.built and all(layer.built for layer in layers_within(network))


def _build(network: Any, x1: keras.KerasTensor) -> bool:
    """Builds a network by a symbolic call on x1 alone; returns False if the call fails."""
    try:
        network(x1)
    except Exception:
        return False
    return True
