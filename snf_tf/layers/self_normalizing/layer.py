"""The base class of dense and convolutional self normalizing layers."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf.layers.flow_layer import FlowLayer
from snf_tf.layers.options import deserialized, resolve
from snf_tf.layers.self_normalizing.inverse_method import InverseMethod, add_state
from snf_tf.layers.self_normalizing.learned import LearnedInverse
from snf_tf.layers.self_normalizing.penalty import FixedPenalty, Penalty, check_weight

# Random vectors for the estimate of a learned inverse's error.
_PROBES = 16


class SelfNormalizing(FlowLayer):
    """Adds an inverse kernel for training to an exact linear layer, the next base class.

    The exact layer brings `affine`. A subclass defines the methods below that raise a
    NotImplementedError.

    Args:
        *args: Arguments of the exact layer.
        reconstruction_weight: Short for `penalty=FixedPenalty(weight)`.
        penalty: Short for `inverse_method=LearnedInverse(penalty)`.
        inverse_method: An inverse method of `snf_tf.layers`, or the name of one.
        **kwargs: Arguments of the exact layer.

    Attributes:
        inverse_method: The method.
        inverse_state: The numbers that the method keeps: name -> weight.
    """

    has_approximate_inverse = True
    inverse_methods: ClassVar[Mapping[str, type]]

    def __init__(
        self,
        *args: Any,
        reconstruction_weight: float | None = None,
        penalty: str | Penalty | None = None,
        inverse_method: str | InverseMethod = "learned",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        given = {"reconstruction_weight": reconstruction_weight, "penalty": penalty}
        given = {name: value for name, value in given.items() if value is not None}
        if len(given) > 1 or (given and inverse_method != "learned"):
            raise ValueError(
                'Only inverse_method="learned" has a penalty: give one of reconstruction_weight, '
                "penalty, or inverse_method. "
                f"Received: {given}, inverse_method={inverse_method!r}"
            )
        if reconstruction_weight is not None:
            check_weight("reconstruction_weight", reconstruction_weight)
            penalty = FixedPenalty(reconstruction_weight)
        if penalty is not None:
            inverse_method = LearnedInverse(penalty)
        self.inverse_method = resolve(inverse_method, self.inverse_methods, "inverse_method")
        # XLA has no LU kernel and cannot print.
        self.supports_jit = self.inverse_method.trains_inverse

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        is_trained = self.inverse_method.trains_inverse
        initial = self.initial_inverse_kernel()
        self.inverse_kernel = self.add_weight(
            name="inverse_kernel",
            shape=initial.shape,
            initializer=lambda shape, dtype: initial,
            trainable=is_trained,
            aggregation="none" if is_trained else "only_first_replica",
        )
        self.inverse_state = add_state(self, self.inverse_method.initial_state(self))

    def call(
        self, x: tf.Tensor, context: tf.Tensor | None = None, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if not training:
            return super().call(x)
        found = self.inverse_method.training_call(self, tf.cast(x, self.compute_dtype))
        if found.loss is not None:
            self.add_loss(found.loss)
        if found.inverse_kernel is not None:
            self.inverse_kernel.assign(found.inverse_kernel)
        for name, value in found.state.items():
            self.inverse_state[name].assign(tf.cast(value, self.inverse_state[name].dtype))
        return found.z, found.log_det

    def call_inverse(
        self, z: tf.Tensor, context: tf.Tensor | None = None, exact: bool = True
    ) -> tf.Tensor:
        if exact:
            return self.refined_inverse(z)[0]
        return self.times_inverse_kernel(z - self.widen(self.bias))

    def initial_inverse_kernel(self) -> tf.Tensor:
        """Computes the initial inverse kernel."""
        raise NotImplementedError

    def self_normalizing(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Computes `(z, log_det, error)`, with the gradients of a learned inverse kernel."""
        raise NotImplementedError

    def times_inverse_kernel(self, y: tf.Tensor) -> tf.Tensor:
        """Applies the inverse kernel to `y = z - bias`."""
        raise NotImplementedError

    def refined_inverse(self, z: tf.Tensor) -> ops.Solution:
        """Computes the exact inverse of z, by refinement or by elimination."""
        raise NotImplementedError

    @property
    def reconstruction_weight(self) -> keras.Variable:
        """Returns lambda of SNF Eq. 3, a scalar, not trained; only for a learned inverse."""
        try:
            return self.inverse_state["reconstruction_weight"]
        except KeyError:
            raise AttributeError(f"{self.name} has no reconstruction_weight") from None

    @property
    def training_only_weights(self) -> tuple[keras.Variable, ...]:
        return (self.inverse_kernel,) if self.inverse_method.trains_inverse else ()

    def inverse_error(self) -> tf.Tensor | None:
        if not self.inverse_method.trains_inverse:
            return None
        v = tf.random.stateless_normal(
            (_PROBES, *self.event_shape), (0, 0), dtype=self.log_det_dtype
        )
        back = self.times_inverse_kernel(self.affine(v) - self.widen(self.bias))
        return tf.norm(v - back) / tf.norm(v)

    @property
    def estimated_weights(self) -> tuple[keras.Variable, ...]:
        return (self.kernel,)

    def diagnostics(self, x: tf.Tensor, z: tf.Tensor) -> dict[str, Any]:
        error = self.inverse(z, exact=False) - self.widen(x)
        # Runs eagerly, as a graph of exact gradients compiles slowly; the scope drops assignments.
        with tf.GradientTape(persistent=True) as tape, keras.StatelessScope():
            exact = self.constant_log_det()
            used = ops.batch_mean(self(x, training=True)[1])
        used, exact = (tape.gradient(log_det, self.kernel.value) for log_det in (used, exact))
        state = {
            name: tf.convert_to_tensor(weight)
            for name, weight in self.inverse_state.items()
            if len(weight.shape) == 0 and name not in self.inverse_method.untold
        }
        if self.inverse_method.trains_inverse:
            state["inverse_error"] = self.inverse_error()
        return {
            **super().diagnostics(x, z),
            "reconstruction_error": tf.reduce_sum(tf.square(error)) / len(x),
            "log_det_gradient_angle": ops.angle(used, exact),
            "refinement_steps": self.refined_inverse(self.widen(z))[1],
            **state,
        }

    def inverse_angles(self, x: tf.Tensor, z: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Compares inverse kernels by the angle to the exact gradient of log|det|, in degrees."""
        with tf.GradientTape() as tape:
            log_det = self.constant_log_det()
        exact = tape.gradient(log_det, self.kernel.value)
        gradients = self.log_det_gradients(self.widen(x), self.widen(z))
        return {name: ops.angle(gradient, exact) for name, gradient in gradients.items()}

    def log_det_gradients(self, x: tf.Tensor, z: tf.Tensor) -> dict[str, tf.Tensor]:
        """Computes d log|det| / d kernel by each of several inverse kernels, by name."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        method = keras.saving.serialize_keras_object(self.inverse_method)
        return super().get_config() | {"inverse_method": method}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**deserialized(config))
