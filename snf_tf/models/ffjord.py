"""FFJORD, a continuous flow: TFP's bijector in our training."""

from collections.abc import Sequence
from typing import Any

import gin
import keras
import tensorflow as tf

from snf_tf import layers
from snf_tf._checks import check_number, check_shape, check_sizes
from snf_tf.flow import Flow


@keras.saving.register_keras_serializable("snf_tf")
class MakeFFJORD:
    """Makes `tfp.bijectors.FFJORD` of a dense network of x and time, with tanh between.

    Args:
        size: Numbers in one x.
        widths: Hidden units of the network.
        tolerance: Of the solver of the differential equation, relative and absolute.
    """

    def __init__(self, size: int, widths: Sequence[int], tolerance: float) -> None:
        self.size, self.widths, self.tolerance = size, tuple(widths), tolerance

    def __call__(self) -> Any:
        import tensorflow_probability as tfp

        hidden = [keras.layers.Dense(width, activation="tanh") for width in self.widths]
        # At first nothing moves.
        network = keras.Sequential(
            [*hidden, keras.layers.Dense(self.size, kernel_initializer="zeros")]
        )

        def velocity(time: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
            clock = tf.fill([*tf.unstack(tf.shape(x))[:-1], 1], tf.cast(time, x.dtype))
            return network(tf.concat([x, clock], axis=-1))

        solver = tfp.math.ode.DormandPrince(rtol=self.tolerance, atol=self.tolerance)
        return tfp.bijectors.FFJORD(
            velocity,
            ode_solve_fn=solver.solve,
            trace_augmentation_fn=tfp.bijectors.ffjord.trace_jacobian_exact,
        )

    def get_config(self) -> dict[str, Any]:
        return {"size": self.size, "widths": self.widths, "tolerance": self.tolerance}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MakeFFJORD":
        return cls(**config)


@gin.configurable
def ffjord(
    event_shape: tuple[int, ...] = (2,),
    blocks: int = 1,
    widths: Sequence[int] = (64, 64, 64),
    tolerance: float = 1e-5,
    seed: int = 0,
) -> Flow:
    """Builds FFJORD on vectors (Grathwohl et al. 2019), with exact traces.

    Each block is the differential equation dx/dt = network(x, t), t from 0 to 1, which TFP solves
    by Dormand and Prince's method, and whose gradients are those of the adjoint equation. A trace
    takes D products with the Jacobian: D must be small. Likelihoods are as exact as the solver.

    Args:
        event_shape: `(D,)`.
        blocks: Number of equations.
        widths: Hidden units of their networks.
        tolerance: Of the solver, relative and absolute.
        seed: Of the flow.

    Returns:
        A Flow.

    Raises:
        ValueError: If event_shape is not `(D,)`, or a number is not positive.

    Example:
        >>> flow = snf_tf.models.ffjord((2,), widths=(8,))
        >>> flow.log_prob(tf.zeros((3, 2))).shape
        TensorShape([3])
    """
    check_sizes(blocks=blocks)
    widths = check_shape("widths", widths)
    tolerance = check_number("tolerance", tolerance, above=0)
    event_shape = check_shape("event_shape", event_shape, ranks=(1,))
    make = MakeFFJORD(event_shape[0], widths, tolerance)
    return Flow([layers.FromBijector(make) for _ in range(blocks)], event_shape, seed=seed)
