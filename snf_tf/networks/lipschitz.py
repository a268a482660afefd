"""The contract of a layer with a known Lipschitz constant, and of networks made of such layers."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import keras

# Element-wise functions whose slopes are at most 1 in size.
_CONTRACTIONS = (
    *("linear", "relu", "relu6", "leaky_relu", "elu", "softplus", "softsign", "tanh", "sigmoid"),
    *("hard_tanh", "log_sigmoid", "threshold", "soft_shrink", "squareplus"),
)
_KEEPS_NORM = (keras.layers.Flatten, keras.layers.Reshape, keras.layers.Permute)
_ELEMENT_WISE = (keras.layers.ReLU, keras.layers.ELU, keras.layers.LeakyReLU)


class LipschitzLayer(keras.layers.Layer):
    """A layer that is no bijection, and knows a bound of its Lipschitz constant.

    Attributes:
        has_norms: Whether the bound is one from a norm `domain` to a norm `codomain`. Without, it
            holds in every norm.
        domain: Order of the norm of inputs.
        codomain: Order of the norm of outputs.
        chain: The layers that this one applies one after the other; None: it is one map.
    """

    has_norms = False
    chain: Any = None
    domain: Any = 2.0
    codomain: Any = 2.0

    def __init__(self, **kwargs: Any) -> None:
        # Evaluation is in float32 in every precision: inputs are not cast to half precision.
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)

    def lipschitz_bound(self, euclidean: bool = False) -> float:
        """Returns a bound of |f(x) - f(y)| / |x - y|.

        Args:
            euclidean: Whether in Euclidean norms, instead of from `domain` to `codomain`.
        """
        return 1.0

    @property
    def nominal_bound(self) -> float:
        """Returns the bound at which training aims."""
        return 1.0

    @property
    def norm_weights(self) -> list[keras.Variable]:
        """Returns the weights that `update_norm` changes."""
        return []

    def parts(self) -> Iterator["LipschitzLayer"]:
        """Yields this layer, or the layers that it is made of, which have norms to be updated."""
        yield self

    def update_norm(self, iterations: int | None = None) -> None:
        """Brings estimates of norms up to date, in a training step; most layers have none."""

    def certify(self) -> None:
        """Brings norms up to date and proves bounds, outside of a graph; see `SpectralDense`."""

    def norm_loss(self) -> Any:
        """Returns a scalar of value 0, whose gradient lowers norms by their orders; or None."""
        return None


def lipschitz_bound(layer: keras.layers.Layer) -> float:
    """Returns a bound of a layer's Lipschitz constant; of a Sequential the product of its layers'.

    Where layers have other norms than the Euclidean, the bound is the smaller one of two: that of
    their norms, and the Euclidean.

    Args:
        layer: A layer of `snf_tf.networks` that states its bound, a `keras.Sequential` of such, an
            activation of Keras with slopes of at most 1, or a layer that only reshapes.

    Raises:
        ValueError: If the layer states no bound, or norms were not certified.

    Example:
        >>> layers = [snf_tf.networks.LipSwish(), snf_tf.networks.SpectralDense(2, coeff=0.9)]
        >>> network = keras.Sequential(layers)
        >>> network.build((None, 2))
        >>> for part in snf_tf.networks.lipschitz_parts(network):
        ...     part.certify()
        >>> snf_tf.networks.lipschitz_bound(network) <= 0.901
        True
    """
    parts = list(_chain(layer))
    euclidean = math.prod(_bound(part, euclidean=True) for part in parts)
    ends = [part for part in parts if isinstance(part, LipschitzLayer) and part.has_norms]
    fit = all(a.codomain == b.domain for a, b in itertools.pairwise([*ends, *ends[:1]]))
    return min(euclidean, math.prod(_bound(part) for part in parts)) if fit else euclidean


def nominal_bound(network: keras.layers.Layer) -> float:
    """Returns the bound at which the training of a network aims: the product of its layers'.

    Raises:
        ValueError: If a layer states no bound.
    """
    return math.prod(
        part.nominal_bound if isinstance(part, LipschitzLayer) else _bound(part)
        for part in _chain(network)
    )


def lipschitz_parts(network: keras.layers.Layer) -> list[LipschitzLayer]:
    """Returns the layers of a network whose norms are to be updated and certified."""
    parts = (part for part in _chain(network) if isinstance(part, LipschitzLayer))
    return [inner for part in parts for inner in part.parts()]


def _chain(layer):
    """Yields the layers that a network applies one after the other."""
    inner = layer.layers if isinstance(layer, keras.Sequential) else None
    if isinstance(layer, LipschitzLayer):
        inner = layer.chain
    if inner is None:
        yield layer
    else:
        for part in inner:
            yield from _chain(part)


def _bound(layer, euclidean=False):
    if isinstance(layer, LipschitzLayer):
        return layer.lipschitz_bound(euclidean)
    name = getattr(getattr(layer, "activation", None), "__name__", None)
    slope = getattr(layer, "negative_slope", getattr(layer, "alpha", 0.0))
    if (
        (isinstance(layer, keras.layers.Activation) and name in _CONTRACTIONS)
        or (isinstance(layer, _ELEMENT_WISE) and abs(slope) <= 1.0)
        or isinstance(layer, _KEEPS_NORM)
    ):
        return 1.0
    raise ValueError(
        f"{layer.name} states no Lipschitz bound: use layers of snf_tf.networks, or state a bound, "
        f"ResidualBlock(network, lipschitz_bound=0.9). Received: a {type(layer).__name__}"
    )
