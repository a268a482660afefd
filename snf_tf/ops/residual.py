"""The inverse of x + g(x), with the gradient of the implicit function."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from snf_tf.ops.custom_gradient import custom_gradient
from snf_tf.ops.fixed_point import FixedPoint, fixed_point


def residual_inverse(
    function: Callable[..., tf.Tensor],
    z: tf.Tensor,
    values: Sequence[tf.Tensor],
    lipschitz: float | tf.Tensor,
    tolerance: float | None = None,
    max_steps: int = 1000,
) -> FixedPoint:
    """Solves `x + g(x) = z` by `snf_tf.ops.fixed_point`.

    The gradient needs no memory of the steps: `a` of `a + J^T a = dx` is another fixed point, and
    gives `dz = a`, `d values = -(dg / d values)^T a`.

    Args:
        function: Maps `(x, *values)` to g(x), of the shape of x.
        z: `(batch,) + event_shape`.
        values: What the function is made of: tensors that receive gradients.
        lipschitz: A Lipschitz constant of g in x, below 1.
        tolerance: As in `fixed_point`.
        max_steps: As there.

    Returns:
        A `FixedPoint`; its value has gradients of every order.

    Example:
        >>> found = snf_tf.ops.residual_inverse(lambda x, a: a * x, tf.ones((1, 2)), [0.5], 0.5)
        >>> found.value.numpy().round(4)
        array([[0.6667, 0.6667]], dtype=float32)
    """

    @custom_gradient
    def apply(z, *values):
        found = fixed_point(lambda x: z - function(x, *values), z, lipschitz, tolerance, max_steps)

        def grad(dx, *_):
            def product(a, x, *values):
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    y = function(x, *values)
                return tape.gradient(y, x, a, unconnected_gradients="zero")

            x = apply(z, *values)[0]
            linear = residual_inverse(product, dx, [x, *values], lipschitz, tolerance, max_steps)
            a = linear.value
            with tf.GradientTape() as tape:
                tape.watch(list(values))
                y = function(x, *values)
            return a, *tape.gradient(y, list(values), -a, unconnected_gradients="zero")

        return tuple(found), grad

    z = tf.convert_to_tensor(z)
    return FixedPoint(*apply(z, *(tf.convert_to_tensor(value) for value in values)))
