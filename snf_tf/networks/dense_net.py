"""The network of i-DenseNets: concatenations with a bounded Lipschitz constant."""

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from snf_tf._checks import check_number, check_sizes
from snf_tf.networks.lipschitz import LipschitzLayer
from snf_tf.networks.lipschitz_activations import CLipSwish
from snf_tf.networks.spectral import SpectralConv2D, SpectralDense


@keras.saving.register_keras_serializable("snf_tf")
class LipschitzDenseNet(LipschitzLayer):
    """A densely connected network of a Lipschitz constant of at most `coeff` (Perugachi-Diaz et al.
    2021).

    A step is `h <- [eta_1 h, eta_2 CLipSwish(W h)]`, eta positive and of length 1, W of a norm of
    at most 1; so is the step. A last linear map of a norm of at most `coeff` returns to the
    channels of x. Images take 3x3 convolutions, and 1x1 at the end; vectors dense layers.

    Args:
        depth: Number of steps.
        growth: Outputs of W in every step, half as many as channels that it adds.
        coeff: In (0, 1).
        **kwargs: As in `keras.layers.Layer`.

    Attributes:
        eta: `(depth, 2)`, before softplus and scaling to length 1.

    Raises:
        ValueError: If depth or growth is not a positive integer, or coeff not in (0, 1).

    Example:
        >>> network = snf_tf.networks.LipschitzDenseNet(depth=2, growth=4, coeff=0.9)
        >>> network(tf.ones((1, 8, 8, 3))).shape
        TensorShape([1, 8, 8, 3])
    """

    has_norms = True

    def __init__(
        self, depth: int = 3, growth: int = 16, coeff: float = 0.98, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.depth, self.growth = check_sizes(depth=depth, growth=growth)
        self.coeff = check_number("coeff", coeff, above=0, below=1)

    def build(self, input_shape: tuple[Any, ...]) -> None:
        options = {"coeff": self.coeff, "dtype": self.dtype_policy}
        is_image = len(input_shape) == 4
        channels, steps = input_shape[-1], []
        for index in range(self.depth):
            layer = (
                SpectralConv2D(self.growth, 3, name=f"linear_{index}", **options)
                if is_image
                else SpectralDense(self.growth, name=f"linear_{index}", **options)
            )
            layer.build((*input_shape[:-1], channels))
            activation = CLipSwish(dtype=self.dtype_policy, name=f"activation_{index}")
            activation.build((*input_shape[:-1], self.growth))
            steps.append((layer, activation))
            channels += 2 * self.growth
        self.linear = [layer for layer, _ in steps]
        self.activations = [activation for _, activation in steps]
        self.last = (
            SpectralConv2D(input_shape[-1], 1, name="last", **options)
            if is_image
            else SpectralDense(input_shape[-1], name="last", **options)
        )
        self.last.build((*input_shape[:-1], channels))
        self.eta = self.add_weight(
            name="eta", shape=(self.depth, 2), initializer="zeros", autocast=False
        )

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return input_shape

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        eta = tf.math.softplus(tf.convert_to_tensor(self.eta))
        eta = tf.cast(eta / tf.norm(eta, axis=1, keepdims=True), x.dtype)
        h = x
        for index, (layer, activation) in enumerate(
            zip(self.linear, self.activations, strict=True)
        ):
            new = activation(layer(h, training=training))
            h = tf.concat([eta[index, 0] * h, eta[index, 1] * new], axis=-1)
        return self.last(h, training=training)

    @property
    def nominal_bound(self) -> float:
        return self.coeff

    def parts(self) -> Iterator[LipschitzLayer]:
        yield from (*self.linear, self.last)

    def lipschitz_bound(self, euclidean: bool = False) -> float:
        """Returns the bound, that of the steps times that of the last map; see the base class."""
        eta = tf.math.softplus(tf.convert_to_tensor(self.eta)).numpy()
        bound = self.last.lipschitz_bound()
        for (own, new), layer in zip(eta.astype(float), self.linear, strict=True):
            slope = new * layer.lipschitz_bound()
            bound *= ((own**2 + slope**2) / (own**2 + new**2)) ** 0.5
        return bound

    def get_config(self) -> dict[str, Any]:
        config = {"depth": self.depth, "growth": self.growth, "coeff": self.coeff}
        return super().get_config() | config
