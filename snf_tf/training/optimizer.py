"""The optimizer of a run: Adam, with what an experiment may add to it."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from snf_tf import _compat
from snf_tf._checks import check_number
from snf_tf.optimizers import Adam


@keras.saving.register_keras_serializable("snf_tf")
class RunAdam(_compat.AveragesFollowUpdates, Adam):
    """Adam, whose averages do not replace the weights when `fit` ends, and follow updates alone.

    A run that was stopped could not go on with the weights that it had, otherwise.
    `averaged_weights` gives the averages.
    """

    def finalize_variable_values(self, var_list: Any) -> None:
        pass


def make_optimizer(
    learning_rate: float,
    warmup_steps: int = 0,
    clip_norm: float | None = None,
    ema_momentum: float | None = None,
    weight_decay: float | None = None,
    gradient_accumulation_steps: int | None = None,
    beta_2: float = 0.999,
) -> RunAdam:
    """Makes Adam with SNF's constants (beta 0.9, 0.999, epsilon 1e-8).

    Args:
        learning_rate: After warm-up.
        warmup_steps: Updates in which the learning rate rises linearly, `learning_rate * (updates
            done + 1) / warmup_steps`.
        clip_norm: Largest norm of all gradients together, those of penalties included.
        ema_momentum: Momentum of an exponential moving average of the weights, for evaluation.
        weight_decay: Decoupled weight decay (Loshchilov and Hutter 2019): before an update, the
            weights are multiplied by `1 - weight_decay * learning rate`, the scheduled one.
        gradient_accumulation_steps: Steps whose gradients are averaged for one update.
        beta_2: Decay of the mean of squared gradients, in [0, 1); RF has 0.99 for images.

    Raises:
        ValueError: If a number is out of its range.
    """
    check_number("learning_rate", learning_rate, above=0)
    check_number("clip_norm", clip_norm, above=0, optional=True)
    check_number("ema_momentum", ema_momentum, at_least=0, below=1, optional=True)
    check_number("weight_decay", weight_decay, at_least=0, optional=True)
    check_number("beta_2", beta_2, at_least=0, below=1)
    schedule = learning_rate
    if warmup_steps > 1:
        schedule = keras.optimizers.schedules.PolynomialDecay(
            initial_learning_rate=learning_rate / warmup_steps,
            decay_steps=warmup_steps - 1,
            end_learning_rate=learning_rate,
        )
    return RunAdam(
        schedule,
        beta_1=0.9,
        beta_2=beta_2,
        epsilon=1e-8,
        global_clipnorm=clip_norm,
        weight_decay=weight_decay,
        use_ema=ema_momentum is not None,
        ema_momentum=0.99 if ema_momentum is None else ema_momentum,
        gradient_accumulation_steps=gradient_accumulation_steps,
    )


@contextlib.contextmanager
def averaged_weights(flow: Any) -> Iterator[None]:
    """Gives a flow the moving averages of its weights, where its optimizer keeps them, and then its
    own again, bit for bit.
    """
    optimizer = getattr(flow.optimizer, "inner_optimizer", flow.optimizer)
    if not optimizer.use_ema:
        yield
        return
    own = [weight.numpy() for weight in flow.trainable_variables]
    averages = _compat.weight_averages(optimizer)
    for weight, average in zip(flow.trainable_variables, averages, strict=True):
        weight.assign(average.value)
    try:
        yield
    finally:
        for weight, value in zip(flow.trainable_variables, own, strict=True):
            weight.assign(value)
