"""Adam, with one fused operation for each weight."""

from typing import Any

import keras
import tensorflow as tf

from snf_tf import _compat
from snf_tf._checks import check_flag, check_number


@keras.saving.register_keras_serializable("snf_tf")
class Adam(keras.optimizers.Adam):
    """Keras' Adam (Kingma and Ba 2015), to rounding, in one pass over a weight and its moments
    instead of a dozen.

    Keras writes the update as a chain of operations, of which each reads and writes whole matrices;
    on a CPU that takes twice the time. Everything else is Keras': arguments, schedules, clipping,
    averages, checkpoints, strategies. With `amsgrad`, and for sparse gradients, the update is
    Keras', too.

    Weights of float16 and bfloat16, and their moments, are updated in float32 and rounded once.
    Keras would round the betas, too: in bfloat16 0.999 becomes 1, and no weight ever moves.

    Args:
        learning_rate: A number, or a schedule of Keras.
        beta_1: Decay of the means of gradients, in [0, 1).
        beta_2: Decay of the means of their squares, in [0, 1).
        epsilon: Positive.
        amsgrad: As in `keras.optimizers.Adam`.
        **kwargs: As there.

    Raises:
        ValueError: If a number is outside of its range.

    Example:
        >>> weight = keras.Variable([1.0, 2.0])
        >>> optimizer = snf_tf.optimizers.Adam(0.1)
        >>> steps_done = optimizer.apply_gradients([(tf.constant([1.0, -1.0]), weight)])
        >>> weight.numpy().round(3).tolist()
        [0.8999999761581421, 2.0999999046325684]
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **kwargs: Any,
    ) -> None:
        if not callable(learning_rate):
            allowed = ", or a schedule of Keras"
            check_number("learning_rate", learning_rate, at_least=0, otherwise=allowed)
        for name, value in (("beta_1", beta_1), ("beta_2", beta_2)):
            check_number(name, value, at_least=0, below=1)
        check_number("epsilon", epsilon, above=0)
        check_number("weight_decay", kwargs.get("weight_decay"), at_least=0, optional=True)
        for name in ("clipnorm", "global_clipnorm", "clipvalue"):
            check_number(name, kwargs.get(name), above=0, optional=True)
        amsgrad = check_flag("amsgrad", amsgrad)
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, **kwargs)
        self._numbers: dict[Any, dict[str, tf.Tensor]] = {}

    def apply(self, grads: Any, trainable_variables: Any = None) -> Any:
        """Updates weights; as in Keras."""
        # Numbers of a step before would be wrong.
        self._numbers = {}
        try:
            return super().apply(grads, trainable_variables)
        finally:
            self._numbers = {}

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates a weight; called by Keras."""
        if self.amsgrad or isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)
            return
        mean, square = _compat.adam_moments(self, variable)
        if variable.dtype in ("float16", "bfloat16"):
            self._update_half(gradient, variable, mean, square, learning_rate)
            return
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=mean.handle,
            v=square.handle,
            grad=tf.cast(gradient, variable.dtype),
            **self._numbers_of_step(variable.dtype, learning_rate),
        )

    def _numbers_of_step(self, dtype, learning_rate):
        """Returns what all weights of a step share: of hundreds, it would be most of the graph."""
        key = dtype, None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
        if key not in self._numbers:
            step = tf.cast(self.iterations + 1, dtype)
            self._numbers[key] = {
                # `tf.cast` takes a number to float32 first. Keras does so with these two, and not
                # with the next.
                "beta1_power": tf.pow(tf.cast(self.beta_1, dtype), step),
                "beta2_power": tf.pow(tf.cast(self.beta_2, dtype), step),
                "lr": tf.cast(learning_rate, dtype),
                "beta1": tf.constant(self.beta_1, dtype),
                "beta2": tf.constant(self.beta_2, dtype),
                "epsilon": tf.constant(self.epsilon, dtype),
            }
        return self._numbers[key]

    def _update_half(self, gradient, variable, mean, square, learning_rate):
        gradient, m, v, weight, rate, step = (
            tf.cast(value, tf.float32)
            for value in (gradient, mean, square, variable, learning_rate, self.iterations + 1)
        )
        m += (1 - self.beta_1) * (gradient - m)
        v += (1 - self.beta_2) * (tf.square(gradient) - v)
        rate *= tf.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
        weight -= rate * m / (tf.sqrt(v) + self.epsilon)
        for rounded, value in ((mean, m), (square, v), (variable, weight)):
            self.assign(rounded, value)
