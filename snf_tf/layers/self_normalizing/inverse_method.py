"""How a self normalizing layer keeps its inverse kernel: the base classes of all methods."""

import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from snf_tf import ops
from snf_tf.layers.options import Option


class StateWeight(NamedTuple):
    """A number, or an array, that a layer stores for its method; it is not trained."""

    shape: tuple[int, ...] = ()
    dtype: str | None = None
    initial: float = 0.0


COUNT = StateWeight(dtype="int64")
NUMBER = StateWeight(dtype="float32")


class TrainingCall(NamedTuple):
    """What a method found in a training call; the layer stores it.

    Attributes:
        z: Output of the layer.
        log_det: `(batch,)` zeros, of which only the gradient means anything.
        loss: A scalar to be added to the losses, or None.
        inverse_kernel: The new inverse kernel; None, if it is trained.
        state: New values of some of the method's numbers, by name.
    """

    z: tf.Tensor
    log_det: tf.Tensor
    loss: tf.Tensor | None = None
    inverse_kernel: tf.Tensor | None = None
    state: Mapping[str, tf.Tensor] = {}


class InverseMethod(Option):
    """A way to keep an inverse kernel.

    A method holds options alone. It names the numbers that it needs, and finds their new values;
    the layer stores them in `inverse_state`, and saves them.

    Attributes:
        trains_inverse: Whether the inverse kernel is trained by gradient.
    """

    trains_inverse = False

    def initial_state(self, layer: Any) -> dict[str, StateWeight]:
        """Names the numbers that the method needs.

        Raises:
            ValueError: If the method does not fit the layer.
        """
        raise NotImplementedError

    def training_call(self, layer: Any, x: tf.Tensor) -> TrainingCall:
        """Computes a training call of the layer, for x in the compute dtype. Assigns nothing."""
        raise NotImplementedError


class Update(NamedTuple):
    """A new inverse kernel, d log|det| / d kernel by it, and new values of the state."""

    inverse_kernel: tf.Tensor
    log_det_gradient: tf.Tensor
    state: Mapping[str, tf.Tensor]


class ClosedForm(InverseMethod):
    """A method that computes the inverse kernel in every training call.

    The likelihood's gradient is whole, not halved as in SNF Eq. 3, and there is no penalty. Every
    replica computes the same update, and the first one's is kept.
    """

    def update(self, layer: Any, x: tf.Tensor, z: tf.Tensor) -> Update:
        """Computes the new inverse kernel, from the layer's input x and output z."""
        raise NotImplementedError

    def training_call(self, layer: Any, x: tf.Tensor) -> TrainingCall:
        z = layer.affine(x)
        inverse_kernel, gradient, state = self.update(layer, x, z)
        log_det = ops.log_det_by_gradient(layer.widen(layer.kernel), gradient, x)
        return TrainingCall(z, log_det, inverse_kernel=inverse_kernel, state=state)


def log_if(layer: Any, condition: tf.Tensor, *message: Any) -> None:
    """Prints a message to standard error, if a condition holds when the graph runs."""
    tf.cond(
        condition,
        lambda: tf.print(f"{layer.name}:", *message, output_stream=sys.stderr),
        tf.no_op,
    )
