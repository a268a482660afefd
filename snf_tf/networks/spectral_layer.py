"""What dense and convolutional layers of a bounded operator norm have in common."""

import zlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import check_choice, check_flag, check_integer, check_named, check_number
from snf_tf.networks.lipschitz import LipschitzLayer
from snf_tf.networks.norm_order import NormOrder, checked_order, norm_gradient, order_value

# In training u and v follow the kernel by as many steps as the norm needs to settle; see RF App. E.
_TRAINING_TOLERANCE, _TRAINING_STEPS = 1e-3, 20
# Before evaluation, until the certified norm is this close to coeff, or the steps are done.
_EXCESS, _TOLERANCE, _STEPS = 1e-3, 1e-7, 2000


class SpectralLayer(LipschitzLayer):
    """A linear map with a bias, of a norm of at most `coeff`; see `SpectralDense`.

    Subclasses define `build`, which calls `_build_norm`, the products with the kernel as a matrix,
    and its bounds.
    """

    has_norms = True

    def __init__(
        self,
        coeff: float = 0.98,
        domain: float | str | NormOrder = 2.0,
        codomain: float | str | NormOrder = 2.0,
        method: str = "power",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.coeff = float(check_number("coeff", coeff, above=0, below=1))
        check_choice("method", method, ("power", "aol"))
        self.domain = checked_order(domain, "domain")
        self.codomain = checked_order(codomain, "codomain")
        if method == "aol" and not self.domain == self.codomain == 2.0:
            raise ValueError(
                'method="aol" bounds the spectral norm alone: leave domain and codomain at 2. '
                f"Received: domain={domain}, codomain={codomain}"
            )
        self.method = method
        self.use_bias = check_flag("use_bias", use_bias)
        get = keras.initializers.get
        named = check_named("kernel_initializer", kernel_initializer, get, "initializer")
        self.kernel_initializer = named

    def _build_norm(self, kernel_shape, inputs, outputs):
        """Adds kernel and bias, and u and v for norms between inputs and outputs numbers."""
        self.kernel = self.add_weight(
            name="kernel", shape=kernel_shape, initializer=self.kernel_initializer, autocast=False
        )
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=kernel_shape[-1:], initializer="zeros", autocast=False
            )
        random = np.random.default_rng(kernel_shape)
        for name, size in (("u", outputs), ("v", inputs)):
            vector = random.standard_normal(size)
            weight = self.add_weight(
                name=name,
                shape=(size,),
                initializer=lambda shape, dtype, vector=vector: tf.constant(
                    vector / np.linalg.norm(vector), dtype
                ),
                trainable=False,
                autocast=False,
                aggregation="only_first_replica",
            )
            setattr(self, name, weight)
        # The kernel that was certified, by its checksum, and what was found.
        self.certified = self._fact("certified", (), "int64")
        self.certified_bounds = self._fact("certified_bounds", (2,), "float64")
        self.update_norm(iterations=5)

    def _fact(self, name, shape, dtype):
        return self.add_weight(
            name=name,
            shape=shape,
            dtype=dtype,
            initializer=lambda shape, dtype: -tf.ones(shape, dtype),
            trainable=False,
            aggregation="only_first_replica",
        )

    # The kernel as a matrix W, `(outputs, inputs)`.

    def _product(self, kernel: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
        """Computes W v of flat vectors."""
        raise NotImplementedError

    def _transposed(self, kernel: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
        """Computes W^T u of flat vectors."""
        raise NotImplementedError

    def _closed_form(self, kernel: tf.Tensor) -> tf.Tensor | None:
        """Computes the norm of W where a differentiable closed form is cheap, else None."""
        raise NotImplementedError

    def norm_bound(self, domain: float | None = None, codomain: float | None = None) -> float:
        """Computes a certified upper bound of the norm of the kernel, before normalization.

        Args:
            domain: Order of the norm; by default the layer's own.
            codomain: Likewise.
        """
        raise NotImplementedError

    def _top_singular_vector(self, kernel: tf.Tensor) -> np.ndarray:
        """Computes the v of unit length with the longest W v, in float64."""
        raise NotImplementedError

    def _aol_kernel(self, kernel: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError

    def operator_norm(self) -> tf.Tensor:
        """Computes the norm of the kernel, a scalar, differentiable in the kernel alone.

        Where a closed form is cheap, the norm is exact. Elsewhere it is u^T W v with the stored
        vectors, a lower bound.
        """
        kernel = tf.convert_to_tensor(self.kernel)
        norm = self._closed_form(kernel)
        if norm is not None:
            return norm
        u, v = (tf.stop_gradient(tf.convert_to_tensor(vector)) for vector in (self.u, self.v))
        return tf.reduce_sum(u * self._product(kernel, v))

    def normalized_kernel(self) -> tf.Tensor:
        """Returns `kernel / max(1, operator_norm() / coeff)`: small kernels stay as they are."""
        kernel = tf.convert_to_tensor(self.kernel)
        if self.method == "aol":
            return self.coeff * self._aol_kernel(kernel)
        return kernel / tf.maximum(self.operator_norm() / self.coeff, tf.ones((), kernel.dtype))

    def update_norm(self, iterations: int | None = None) -> None:
        """Improves u and v by the power method.

        Args:
            iterations: Number of steps. None: until the norm changes by less than 1e-3, up to 20.
        """
        check_integer("iterations", iterations, 1, optional=True)
        if iterations is None:
            self._improve(_TRAINING_TOLERANCE, _TRAINING_STEPS)
        else:
            self._improve(0.0, iterations)

    def _improve(self, tolerance, steps):
        kernel = tf.stop_gradient(tf.convert_to_tensor(self.kernel))
        if self.method == "aol" or self._closed_form(kernel) is not None:
            return
        found = ops.power_method(
            lambda v: self._product(kernel, v),
            lambda u: self._transposed(kernel, u),
            tf.convert_to_tensor(self.u),
            tf.convert_to_tensor(self.v),
            order_value(self.domain),
            order_value(self.codomain),
            tolerance,
            steps,
        )
        self.u.assign(found.u)
        self.v.assign(found.v)

    def _improve_tightly(self):
        """Sets u and v to singular vectors where norms are Euclidean; else takes many steps."""
        if not self.domain == self.codomain == 2.0:
            self._improve(_TOLERANCE, _STEPS)
            return
        kernel = tf.cast(self.kernel, tf.float64)
        v = tf.constant(self._top_singular_vector(kernel), tf.float64)
        self.u.assign(tf.cast(ops.dual_vector(self._product(kernel, v), 2.0), self.u.dtype))
        self.v.assign(tf.cast(v, self.v.dtype))

    def certify(self) -> None:
        """Proves a bound of the normalized kernel, once for every kernel, outside of a graph.

        u and v are improved first, unless they are good enough. Call it before evaluation;
        `ResidualBlock` does.
        """
        if int(tf.convert_to_tensor(self.certified)) == self._checksum():
            return
        raw = self._raw_bounds()
        if self._normalized(raw)[0] > self.coeff * (1.0 + _EXCESS):
            self._improve_tightly()
        bounds = self._normalized(raw)
        self.certified_bounds.assign(bounds)
        self.certified.assign(self._checksum())

    def _checksum(self):
        checksum = 0
        orders = [o.s for o in (self.domain, self.codomain) if isinstance(o, NormOrder)]
        for weight in (self.kernel, self.u, self.v, *orders):
            checksum = zlib.crc32(np.ascontiguousarray(tf.convert_to_tensor(weight)), checksum)
        return checksum

    def _raw_bounds(self):
        """Returns bounds of the kernel itself: from domain to codomain, and Euclidean."""
        if self.method == "aol":
            return []
        orders = [float(order_value(order)) for order in (self.domain, self.codomain)]
        own = self.norm_bound(*orders)
        return [own, own if orders == [2.0, 2.0] else self.norm_bound(2.0, 2.0)]

    def _normalized(self, raw):
        """Returns bounds of the normalized kernel from those of the kernel."""
        if self.method == "aol":
            return [self.coeff * (1.0 + 1e-5)] * 2
        # Rounding of the normalized kernel can raise its norm.
        scale = 1.0 + 8.0 * np.finfo(self.kernel.dtype).eps
        scale /= max(1.0, float(self.operator_norm()) / self.coeff)
        return [scale * bound for bound in raw]

    def lipschitz_bound(self, euclidean: bool = False) -> float:
        """Returns the certified bound of the normalized kernel.

        Args:
            euclidean: Whether in Euclidean norms, instead of from `domain` to `codomain`.

        Raises:
            ValueError: If `certify` was not called.
        """
        if not self.built or int(tf.convert_to_tensor(self.certified)) < 0:
            raise ValueError(f"Call certify() first. Received: {self.name}, which is not certified")
        return float(self.certified_bounds[int(euclidean)])

    @property
    def nominal_bound(self) -> float:
        return self.coeff

    @property
    def norm_weights(self) -> list[keras.Variable]:
        return [self.u, self.v]

    def norm_loss(self) -> tf.Tensor | None:
        return norm_gradient(
            tf.convert_to_tensor(self.u),
            tf.convert_to_tensor(self.v),
            self.codomain,
            self.domain,
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "coeff": self.coeff,
            "domain": _saved(self.domain),
            "codomain": _saved(self.codomain),
            "method": self.method,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SpectralLayer":
        orders = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in ("domain", "codomain")
            if isinstance(config[name], dict)
        }
        return cls(**config | orders)


def _saved(order):
    if isinstance(order, NormOrder):
        return keras.saving.serialize_keras_object(order)
    return "inf" if order == float("inf") else order
