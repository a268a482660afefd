"""A residual network on vectors that computes the parameters of couplings."""

from typing import Any

import keras
import tensorflow as tf

from snf_tf._checks import check_named, check_sizes
from snf_tf.networks.context import Conditioner
from snf_tf.networks.residual_network import ResidualNetwork


@keras.saving.register_keras_serializable("snf_tf")
class ResidualMLP(Conditioner):
    """`linear(activation(blocks(linear(x))))`, blocks `h + linear(activation(linear(h)))`; 0 at
    first.

    Called on x1, or on [x1, context], a context of any shape.

    Args:
        outputs: Channels of the output; None: as many as the coupling needs.
        width: Hidden units.
        blocks: Number of blocks.
        activation: As in `keras.layers.Activation`.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: If outputs, width or blocks is not a positive integer.

    Example:
        >>> network = snf_tf.networks.ResidualMLP(width=32)
        >>> layer = snf_tf.layers.Coupling("rational_quadratic", "alternate", network)
        >>> z, log_det = layer(tf.random.normal((4, 5)))
    """

    def __init__(
        self,
        outputs: int | None = None,
        width: int = 128,
        blocks: int = 2,
        activation: str = "silu",
        **kwargs: Any,
    ) -> None:
        super().__init__(outputs, **kwargs)
        self.width, self.blocks = check_sizes(width=width, blocks=blocks)
        self.activation = activation
        check_named("activation", activation, keras.activations.get, "activation")

    def build_network(self, input_shape: tuple[int | None, ...]) -> None:
        options = {"dtype": self.dtype_policy}
        self.network = keras.Sequential(
            [
                keras.layers.Dense(self.width, **options),
                ResidualNetwork((self.width,), self.blocks, activation=self.activation, **options),
                keras.layers.Activation(self.activation, **options),
                keras.layers.Dense(self.outputs, kernel_initializer="zeros", **options),
            ]
        )
        self.network.build(input_shape)

    def call_network(self, h: tf.Tensor) -> tf.Tensor:
        return self.network(h)

    def get_config(self) -> dict[str, Any]:
        config = {"width": self.width, "blocks": self.blocks, "activation": self.activation}
        return super().get_config() | config
