"""Masked networks, whose output for a dimension depends on earlier dimensions alone."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from snf_tf._checks import (
    check_array_seed,
    check_choice,
    check_flag,
    check_integer,
    check_named,
    check_shape,
    refuse,
)

ORDERS = ("natural", "reversed", "random")


@keras.saving.register_keras_serializable("snf_tf")
class MaskedDense(keras.layers.Layer):
    """`y = x @ (mask * kernel) + bias`: unit j sees input i where `mask[i, j]` is true.

    Args:
        mask: `(inputs, units)`, booleans.
        kernel_initializer: As in `keras.layers.Dense`.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: If the mask is not a matrix, or inputs do not fit.

    Example:
        >>> layer = MaskedDense([[True], [False]], kernel_initializer="ones")
        >>> layer(tf.constant([[2.0, 5.0]])).numpy()
        array([[2.]], dtype=float32)
    """

    def __init__(
        self,
        mask: Any,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.mask = _checked_mask(mask)
        get = keras.initializers.get
        named = check_named("kernel_initializer", kernel_initializer, get, "initializer")
        self.kernel_initializer = named

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        inputs, units = self.mask.shape
        if input_shape[-1] != inputs:
            raise ValueError(
                f"The mask of {self.name} is for {inputs} inputs. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        self.kernel = self.add_weight(
            name="kernel", shape=(inputs, units), initializer=self.kernel_initializer
        )
        self.bias = self.add_weight(name="bias", shape=(units,), initializer="zeros")

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[Any, ...]:
        return (*input_shape[:-1], self.mask.shape[1])

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x @ (self.kernel * tf.cast(self.mask, self.compute_dtype)) + self.bias

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "mask": self.mask.tolist(),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable("snf_tf")
class MADE(keras.layers.Layer):
    """Masked autoregressive network (Germain et al. 2015): `(batch, D)` -> `(batch, D, outputs)`.

    The outputs of a dimension depend on the dimensions before it in the order, and on no other. All
    are 0 at first. Called on `[x, context]`, the network sees the whole context in every output;
    the context goes into the first hidden layer, and units of degree 0 see nothing else.

    The units of a hidden layer have degrees in rising order, each as often as the others. A unit of
    degree m sees the first m dimensions. Layers narrower than D leave degrees out, and with them
    dependences.

    Args:
        outputs: Numbers for every dimension; None: as many as `Autoregressive` needs, which sets
            it.
        widths: Units of the hidden layers.
        order: "natural", "reversed", or "random", a permutation drawn from seed.
        seed: Seed of a random order, an integer.
        residual: Whether hidden layers after the first add what they compute to their input (Nash
            and Durkan 2019). All widths are the same then.
        activation: As in `keras.layers.Activation`.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        degrees: `(D,)`, the place of every dimension in the order, from 1; set in build.

    Raises:
        ValueError: If an argument is none of these, or inputs are neither `(batch, D)` nor a pair.

    Example:
        >>> network = MADE(outputs=2, widths=(16, 16), order="reversed")
        >>> network([tf.ones((5, 3)), tf.ones((5, 4))]).shape, network.degrees.tolist()
        (TensorShape([5, 3, 2]), [3, 2, 1])
    """

    def __init__(
        self,
        outputs: int | None = None,
        widths: Sequence[int] = (128, 128),
        order: str = "natural",
        seed: int = 0,
        residual: bool = False,
        activation: str = "relu",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.outputs = check_integer("outputs", outputs, 1, optional=True)
        self.widths = check_shape("widths", widths)
        self.order = check_choice("order", order, ORDERS)
        self.seed = check_array_seed(seed)
        self.residual = check_flag("residual", residual)
        self.activation = activation
        check_named("activation", activation, keras.activations.get, "activation")
        if residual and len(set(self.widths)) > 1:
            raise ValueError(f"Residual layers must have one width. Received: widths={self.widths}")

    def build(self, input_shape: Any) -> None:
        x_shape, context_shape = _shapes(input_shape)
        if self.outputs is None:
            raise ValueError(f"{self.name} has no layer that sets outputs. Received: outputs=None")
        if len(x_shape) != 2 or (context_shape and None in context_shape[1:]):
            raise ValueError(
                "MADE takes x of shape (batch, D), or [x, context]: put Flatten before it. "
                f"Received: input_shape={input_shape}"
            )
        self.takes_context = context_shape is not None
        dims = x_shape[-1]
        self.degrees = {
            "natural": lambda: np.arange(1, dims + 1),
            "reversed": lambda: np.arange(dims, 0, -1),
            "random": lambda: 1 + np.random.default_rng(self.seed).permutation(dims),
        }[self.order]()
        # What sees no dimension is of use only for a context.
        lowest = 0 if self.takes_context or dims == 1 else 1
        self.hidden, degrees = [], self.degrees
        for width in self.widths:
            own = lowest + np.arange(width) * (dims - lowest) // width
            self.hidden.append(self._dense(degrees[:, None] <= own, "he_uniform"))
            degrees = own
        self.last = self._dense(
            np.repeat(degrees[:, None] < self.degrees, self.outputs, axis=1), "zeros"
        )
        self.from_context = None
        if context_shape is not None:
            size = int(np.prod(context_shape[1:]))
            self.from_context = keras.layers.Dense(
                self.widths[0], use_bias=False, dtype=self.dtype_policy, name="from_context"
            )
            self.from_context.build((None, size))
        for layer in (*self.hidden, self.last):
            layer.build((None, layer.mask.shape[0]))

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        return (*_shapes(input_shape)[0], self.outputs)

    def call(self, inputs: Any) -> tf.Tensor:
        x, context = inputs if isinstance(inputs, list | tuple) else (inputs, None)
        if (context is not None) != self.takes_context:
            made, given = ("[x, context]", "x alone")[:: 1 if self.takes_context else -1]
            raise ValueError(f"{self.name} was built for {made}. Received: {given}")
        activation = keras.activations.get(self.activation)
        h = self.hidden[0](x)
        if self.from_context is not None:
            size = self.from_context.kernel.shape[0]
            h += self.from_context(keras.ops.reshape(context, (-1, size)))
        for layer in self.hidden[1:]:
            change = layer(activation(h))
            h = h + change if self.residual else change
        dims = self.degrees.shape[0]
        return keras.ops.reshape(self.last(activation(h)), (-1, dims, self.outputs))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "outputs": self.outputs,
            "widths": self.widths,
            "order": self.order,
            "seed": self.seed,
            "residual": self.residual,
            "activation": self.activation,
        }

    def _dense(self, mask: np.ndarray, initializer: str) -> MaskedDense:
        return MaskedDense(mask, initializer, dtype=self.dtype_policy)


def _shapes(input_shape: Any) -> tuple[tuple, tuple | None]:
    """Returns the shapes of x and of the context, if there is one."""
    if input_shape and isinstance(input_shape[0], list | tuple):
        x_shape, context_shape = input_shape
        return tuple(x_shape), tuple(context_shape)
    return tuple(input_shape), None


def _checked_mask(mask: Any) -> np.ndarray:
    array = np.asarray(mask)
    if array.ndim != 2 or array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        refuse("mask", mask, "an array of True and False of shape (inputs, units)")
    return array.astype(bool)
