"""Base classes of the methods by which a self normalizing layer keeps its inverse kernel.

`layer` is a `SelfNormalizing` layer everywhere; its class is not imported, to avoid a circle.
"""

import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf.layers.options import Option


class StateWeight(NamedTuple):
    """A number or an array, not trained, that a layer stores for its method."""

    shape: tuple[int, ...] = ()
    dtype: str | None = None
    initial: float = 0.0


COUNT = StateWeight(dtype="int64", initial=0)
NUMBER = StateWeight(dtype="float32")


class TrainingCall(NamedTuple):
    """The results of a training call by a method, which the layer stores.

    Attributes:
        z: Output of the layer.
        log_det: `(batch,)` zeros; only their gradient counts.
        loss: A scalar to add to the losses, or None.
        inverse_kernel: The new inverse kernel; None if gradients train the inverse kernel.
        state: New values of some of the method's numbers, by name.
    """

    z: tf.Tensor
    log_det: tf.Tensor
    loss: tf.Tensor | None = None
    inverse_kernel: tf.Tensor | None = None
    state: Mapping[str, tf.Tensor] = {}


class InverseMethod(Option):
    """A way to keep an inverse kernel.

    A method holds only options. The method names the numbers that it needs, and computes their new
    values. The layer stores these numbers in `inverse_state`, and saves them.

    Attributes:
        trains_inverse: Whether the inverse kernel is trained by gradient.
        untold: Names of numbers that diagnostics leave out.
    """

    trains_inverse = False
    untold: tuple[str, ...] = ()

    def initial_state(self, layer: Any) -> dict[str, StateWeight]:
        """Names the numbers that the method needs.

        Raises:
            ValueError: If the method does not fit the layer.
        """
        raise NotImplementedError

    def training_call(self, layer: Any, x: tf.Tensor) -> TrainingCall:
        """Computes a training call of the layer for x in the compute dtype; assigns nothing."""
        raise NotImplementedError


class Update(NamedTuple):
    """A new inverse kernel, its d log|det| / d kernel, and new values of the state."""

    inverse_kernel: tf.Tensor
    log_det_gradient: tf.Tensor
    state: Mapping[str, tf.Tensor]


class ClosedForm(InverseMethod):
    """A method that computes the inverse kernel in every training call.

    The likelihood's gradient is whole, not halved as in SNF Eq. 3, and there is no penalty. Every
    replica computes the same update; the layer keeps the first replica's.
    """

    def update(self, layer: Any, x: tf.Tensor, z: tf.Tensor) -> Update:
        """Computes the new inverse kernel, from the layer's input x and output z."""
        raise NotImplementedError

    def training_call(self, layer: Any, x: tf.Tensor) -> TrainingCall:
        z = layer.affine(x)
        inverse_kernel, gradient, state = self.update(layer, x, z)
        log_det = ops.log_det_by_gradient(layer.widen(layer.kernel), gradient, x)
        return TrainingCall(z, log_det, inverse_kernel=inverse_kernel, state=state)


def add_state(layer: Any, state: Mapping[str, StateWeight]) -> dict[str, keras.Variable]:
    """Adds the numbers that a method or a penalty keeps to the weights of a layer."""
    return {
        name: layer.add_weight(
            name=name,
            shape=weight.shape,
            dtype=weight.dtype,
            # Keras' Constant rounds numbers to float32.
            initializer=lambda shape, dtype, initial=weight.initial: tf.fill(
                shape, tf.constant(initial, dtype)
            ),
            trainable=False,
            aggregation="only_first_replica",
        )
        for name, weight in state.items()
    }


def log_if(layer: Any, condition: tf.Tensor, *message: Any) -> None:
    """Prints a message to standard error, if a condition holds when the graph runs."""
    tf.cond(
        condition,
        lambda: tf.print(f"{layer.name}:", *message, output_stream=sys.stderr),
        tf.no_op,
    )
