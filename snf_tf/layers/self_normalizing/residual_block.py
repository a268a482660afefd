"""Residual blocks without a Lipschitz constraint: their inverses are learned."""

from typing import Any

import keras

from snf_tf import networks
from snf_tf._checks import check_network
from snf_tf.layers.self_normalizing.pair import SelfNormalizingPair


@keras.saving.register_keras_serializable("snf_tf")
class SelfNormalizingResidualBlock(SelfNormalizingPair):
    """Residual block, `z = x + h(x)`, with a learned inverse `x ~ z + k(z)` (SNF section 3).

    It is the pair of both maps. Nothing bounds h, unlike in `ResidualBlock`: watch
    `inverse_error`. Let the last linear map of both networks start at zero.

    Args:
        network: h, a Keras layer that keeps the shape of x.
        inverse_network: k, likewise. By default another network of the configuration of h.
        **options: As in `SelfNormalizingPair`.

    Raises:
        ValueError: As there.

    Example:
        >>> h = keras.Sequential([
        ...     keras.layers.Dense(16, "silu"), keras.layers.Dense(3, kernel_initializer="zeros")
        ... ])
        >>> block = snf_tf.layers.SelfNormalizingResidualBlock(h, log_det="russian_roulette")
        >>> x = tf.random.normal((4, 3))
        >>> z, log_det = block(x, training=True)
        >>> bool(tf.reduce_max(tf.abs(block.inverse(z) - x)) < 1e-5)
        True
    """

    def __init__(
        self,
        network: keras.layers.Layer,
        inverse_network: keras.layers.Layer | None = None,
        **options: Any,
    ) -> None:
        forward = networks.Shortcut(check_network("network", network))
        check_network("inverse_network", inverse_network, optional=True)
        if inverse_network is None:
            inverse_network = type(network).from_config(network.get_config())
        super().__init__(forward, networks.Shortcut(inverse_network), **options)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["forward"], config["inverse"]
        both = {"network": self.forward, "inverse_network": self.inverse_network}
        return config | {
            name: keras.saving.serialize_keras_object(shortcut.network)
            for name, shortcut in both.items()
        }
