"""The network of a residual block: activations and spectral layers in turn."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from snf_tf._checks import check_choice, check_flag, check_number
from snf_tf.networks.lipschitz import LipschitzLayer, lipschitz_bound, lipschitz_parts
from snf_tf.networks.lipschitz_activations import CLipSwish, LipSwish
from snf_tf.networks.norm_order import NormOrder, checked_order
from snf_tf.networks.spectral import SpectralConv2D, SpectralDense
from snf_tf.networks.spectral_layer import SpectralLayer
from snf_tf.networks.widths import checked_widths

_ACTIVATIONS: Mapping[str, Any] = {
    "lipswish": LipSwish,
    "clipswish": CLipSwish,
    "elu": keras.layers.ELU,
    "softplus": lambda **kwargs: keras.layers.Activation("softplus", **kwargs),
}


@keras.saving.register_keras_serializable("snf_tf")
class LipschitzNetwork(LipschitzLayer):
    """The g of Residual Flows: `[activation, linear] x n`, back to the channels of x (RF App. E).

    Args:
        widths: Outputs of the linear maps but for the last one.
        kernel_sizes: Of convolutions, one for each linear map; None: dense layers.
        activation: "lipswish", "clipswish", "elu" or "softplus".
        leading_activation: Whether an activation comes first; the paper's very first block has
            none.
        coeff: Largest norm of every linear map, in (0, 1).
        norm: Order of the norms, a number of at least 1, or "inf". "learned": an order for every
            space between linear maps, the same at the beginning and the end (RF App. D).
        method: As in `SpectralDense`.
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        chain: The list of layers.

    Raises:
        ValueError: If an argument is none of these.

    Example:
        >>> network = snf_tf.networks.LipschitzNetwork(widths=(16, 16), coeff=0.9)
        >>> network(tf.ones((4, 2))).shape
        TensorShape([4, 2])
        >>> images = snf_tf.networks.LipschitzNetwork((8, 8), kernel_sizes=(3, 1, 3))
        >>> images(tf.ones((1, 6, 6, 3))).shape
        TensorShape([1, 6, 6, 3])
    """

    def __init__(
        self,
        widths: Sequence[int],
        kernel_sizes: Sequence[int] | None = None,
        activation: str = "lipswish",
        leading_activation: bool = True,
        coeff: float = 0.98,
        norm: float | str = 2.0,
        method: str = "power",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.activation = check_choice("activation", activation, _ACTIVATIONS)
        self.leading_activation = check_flag("leading_activation", leading_activation)
        self.widths, self.kernel_sizes = checked_widths(widths, kernel_sizes, odd=True)
        self.coeff = check_number("coeff", coeff, above=0, below=1)
        self.norm, self.method = norm, method
        if not (isinstance(norm, str) and norm == "learned"):
            checked_order(norm, "norm", '"learned", ')
        # Checks the method before anything is built.
        SpectralDense(1, method=method)

    def build(self, input_shape: tuple[Any, ...]) -> None:
        count = len(self.widths) + 1
        spaces: list[Any] = [self.norm] * count
        if self.norm == "learned":
            spaces = [
                NormOrder(dtype=self.dtype_policy, name=f"order_{index}") for index in range(count)
            ]
            self.orders = spaces
        self.chain = []
        shape = tuple(input_shape)
        for index, width in enumerate((*self.widths, shape[-1])):
            if index > 0 or self.leading_activation:
                activation = _ACTIVATIONS[self.activation](
                    dtype=self.dtype_policy, autocast=False, name=f"activation_{index}"
                )
                shape = self._append(activation, shape)
            norms = (spaces[index], spaces[(index + 1) % count])
            options = {"dtype": self.dtype_policy, "name": f"linear_{index}"}
            if self.kernel_sizes is None:
                linear = SpectralDense(width, self.coeff, *norms, self.method, **options)
            else:
                size = self.kernel_sizes[index]
                linear = SpectralConv2D(width, size, self.coeff, *norms, self.method, **options)
            shape = self._append(linear, shape)

    def _append(self, layer, shape):
        layer.build(shape)
        self.chain.append(layer)
        return layer.compute_output_shape(shape)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return input_shape

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        for layer in self.chain:
            x = layer(x, training=training) if isinstance(layer, SpectralLayer) else layer(x)
        return x

    def parts(self) -> Iterator[LipschitzLayer]:
        for layer in self.chain:
            yield from lipschitz_parts(layer)

    def lipschitz_bound(self, euclidean: bool = False) -> float:
        """Returns the product of the layers' certified bounds."""
        return lipschitz_bound(self)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "widths": self.widths,
            "kernel_sizes": self.kernel_sizes,
            "activation": self.activation,
            "leading_activation": self.leading_activation,
            "coeff": self.coeff,
            "norm": self.norm,
            "method": self.method,
        }
