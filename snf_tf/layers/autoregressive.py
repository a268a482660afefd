"""Autoregressive flows, which transform every dimension with parameters from those before it."""

from collections.abc import Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import check_array_seed, check_choice, check_network, check_shape
from snf_tf.layers.context import checked_context, context_vector, network_context
from snf_tf.layers.flow_layer import FlowLayer, sum_event
from snf_tf.layers.options import deserialized, resolve
from snf_tf.layers.transforms import TRANSFORMS, Transform
from snf_tf.networks import MADE, dependences, in_cycles, masked

_DIRECTIONS = ("forward", "inverse")


@keras.saving.register_keras_serializable("snf_tf")
class Autoregressive(FlowLayer):
    """Autoregressive flow: `z = transform(x, parameters(x))`, parameters of earlier dimensions.

    The call takes one pass of the network, as in masked autoregressive flows (MAF, Papamakarios et
    al. 2017), and the inverse takes several: sweeps over all dimensions at once, which end when no
    number changes, after D sweeps at most (Song et al. 2021). `direction="inverse"` is the inverse
    of this layer, as in inverse autoregressive flows (IAF, Kingma et al. 2016): sampling takes one
    pass, a likelihood several. Log-determinants are exact in both, and so are gradients.

    Args:
        transform: `Affine()` or another transform, or its name, as in `Coupling`.
        network: A Keras layer, called on x, or on `[x, context]`. It maps `(batch,) + event_shape`
            to `(batch,) + event_shape + (transform.count_of_parameters,)`. By default
            `snf_tf.networks.MADE`, for vectors. A build tries whether the network is
            autoregressive, in any order of the dimensions.
        direction: "forward": one pass from data to latents; "inverse": from latents to data.
        order: Of the default network: "natural", "reversed" or "random".
        seed: Of a random order; layers of a flow need seeds of their own.
        widths: Of the default network.
        context_shape: Shape of one context; None: the layer takes no context.
        context_classes: Number of classes, where the context is labels `(batch,)`, integers. The
            network gets one-hot vectors `(batch, classes)`.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        network: The network; set in build.

    Raises:
        ValueError: If an argument is none of these, or the network is not autoregressive. In
            `inverse`, or in calls of direction "inverse" with `training=False`, if the sweeps do
            not converge, as where numbers overflow.

    Example:
        >>> layer = snf_tf.layers.Autoregressive(order="reversed", context_shape=(2,))
        >>> x, context = tf.random.normal((4, 3)), tf.random.normal((4, 2))
        >>> z, log_det = layer(x, context=context)
        >>> bool(tf.reduce_max(tf.abs(layer.inverse(z, context=context) - x)) < 1e-5)
        True
    """

    def __init__(
        self,
        transform: str | Transform = "affine",
        network: keras.layers.Layer | None = None,
        direction: str = "forward",
        order: str = "natural",
        seed: int = 0,
        widths: Sequence[int] = (128, 128),
        context_shape: Sequence[int] | None = None,
        context_classes: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.transform = resolve(transform, TRANSFORMS, "transform")
        self.given_network = check_network("network", network, optional=True)
        self.direction = check_choice("direction", direction, _DIRECTIONS)
        self.order = check_choice("order", order, masked.ORDERS)
        self.seed, self.widths = check_array_seed(seed), check_shape("widths", widths)
        self.context_shape, self.context_classes = checked_context(context_shape, context_classes)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        count = self.transform.count_of_parameters
        if self.given_network is None and len(self.event_shape) != 1:
            raise ValueError(
                "The default network takes vectors: put Flatten before, or give a network. "
                f"Received: events of shape {self.event_shape}"
            )
        self.network = self.given_network or MADE(
            count, self.widths, self.order, self.seed, dtype=self.dtype_policy
        )
        if isinstance(self.network, MADE) and self.network.outputs is None:
            self.network.outputs = count
        x = keras.KerasTensor((None, *self.event_shape), self.log_det_dtype)
        vector = context_vector(self.context_shape, self.context_classes)
        if vector is None:
            output = self.network(x)
        else:
            context = keras.KerasTensor((None, *vector), self.log_det_dtype)
            output = self.network([x, context])
        if tuple(output.shape[1:]) != (*self.event_shape, count):
            raise ValueError(
                f"The network of {self.name} must map x to one more axis, the last, of {count} "
                f"parameters: to (batch,) + {(*self.event_shape, count)}. "
                f"Received: an output of shape {output.shape}"
            )
        with tf.init_scope():
            if not isinstance(self.network, MADE) and tf.executing_eagerly():
                self._require_autoregressive()

    @property
    def takes_context(self) -> bool:  # type: ignore[override]
        return self.context_shape is not None

    def call(
        self, x: tf.Tensor, context: tf.Tensor | None = None, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        x = self.widen(x)
        if self.direction == "forward":
            z, log_det = self._one_pass(x, context, training)
        else:
            z = self._sweeps(x, context, check=not training)
            log_det = -self._one_pass(z, context, False)[1]
        return tf.cast(z, self.call_dtype(training)), log_det

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        if self.direction == "forward":
            return self._sweeps(z, context, check=True)
        return self._one_pass(z, context, False)[0]

    @property
    def log_det_is_constant(self) -> bool:  # type: ignore[override]
        return self.transform.keeps_volume

    def constant_log_det(self) -> tf.Tensor | None:
        return tf.zeros((), self.log_det_dtype) if self.log_det_is_constant else None

    def get_config(self) -> dict[str, Any]:
        given = self.given_network
        return super().get_config() | {
            "transform": keras.saving.serialize_keras_object(self.transform),
            "network": given and keras.saving.serialize_keras_object(given),
            "direction": self.direction,
            "order": self.order,
            "seed": self.seed,
            "widths": self.widths,
            "context_shape": None if self.context_classes else self.context_shape,
            "context_classes": self.context_classes,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**deserialized(config))

    def _one_pass(
        self, x: tf.Tensor, context: tf.Tensor | None, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        value, log_slope = self.transform.forward(x, self._parameters(x, context, training))
        return value, sum_event(log_slope)

    def _sweeps(self, z: tf.Tensor, context: tf.Tensor | None, check: bool) -> tf.Tensor:
        found = ops.triangular_fixed_point(
            lambda x: self.transform.inverse(z, self._parameters(x, context, False)), z
        )
        if not check:
            return found.value
        return ops.require(
            found.converged,
            found.value,
            f"The inverse of {self.name} must converge: its numbers overflow, or its network is "
            "not autoregressive.",
        )

    def _parameters(self, x: tf.Tensor, context: tf.Tensor | None, training: bool) -> tf.Tensor:
        if self.context_shape is None:
            return self.widen(self.network(x, training=training))
        inputs = [x, network_context(self, context)]
        return self.widen(self.network(inputs, training=training))

    def _require_autoregressive(self) -> None:
        depends = dependences(
            self.network,
            self.event_shape,
            context_vector(self.context_shape, self.context_classes),
        )
        cyclic = in_cycles(depends)
        if cyclic.size:
            raise ValueError(
                f"The network of {self.name} must be autoregressive: in some order, parameters of "
                "a dimension depend on dimensions before it alone. Received: a network in which "
                f"dimension {cyclic[0]}, counted from 0, depends on itself, through others or not"
            )
