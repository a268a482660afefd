"""What went wrong in a training step that is not finite, and what goes wrong in a run."""

import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# A gradient that is not finite gives, by Adam, weights that are not, and with them the loss of the
# next step.
_CAUSE = (
    "Its weights are not: their gradient in the step before was not finite, or they were set so."
)


def diagnose(
    flow: Any, x: tf.Tensor, seed: tf.Tensor | None = None, context: tf.Tensor | None = None
) -> str:
    """Finds the first layer whose weights or outputs are not finite.

    Args:
        flow: A Flow, with the weights that it had before the step.
        x: The batch of the step.
        seed: The row seed of the step.
        context: Of the batch.

    Returns:
        A sentence: the layer, and statistics of its input, output and weights.
    """
    # Nothing is kept of what the layers would do in training.
    with keras.StatelessScope():
        steps = list(flow.steps(x, context, training=True, seed=seed))
    for index, (bijection, h, z, log_det) in enumerate(steps):
        parts = {weight.name: weight.numpy() for weight in bijection.weights}
        parts |= {"input": h.numpy(), "output": z.numpy(), "log_det": log_det.numpy()}
        if not all(np.isfinite(values).all() for name, values in parts.items() if name != "input"):
            statistics = "; ".join(f"{name} {_describe(values)}" for name, values in parts.items())
            cause = (
                ""
                if all(np.isfinite(weight).all() for weight in bijection.get_weights())
                else " " + _CAUSE
            )
            return (
                f"The first layer that is not finite is number {index}, "
                f"{type(bijection).__name__}: {statistics}.{cause}"
            )
    latents = _describe(z.numpy())
    return (
        "The outputs of all layers are finite, but the loss that they make, or its gradient, is "
        f"not: latents {latents}."
    )


def _describe(values: np.ndarray) -> str:
    finite = values[np.isfinite(values)]
    count = (
        f"{values.size - finite.size} of {values.size} not finite"
        if finite.size < values.size
        else "finite"
    )
    return f"{count}, |.| up to {np.abs(finite).max():.4g}" if finite.size else count


def remedies(flow: Any) -> str:
    """Names the settings that may help against a loss that grows."""
    if any(weight.name == "reconstruction_weight" for weight in flow.weights):
        return "A lower learning rate or a larger reconstruction_weight may help."
    return "A lower learning rate may help."


def warn_of_a_bad_inverse(history: Any, flow: Any, epochs: int = 3) -> None:
    """A falling surrogate with a growing reconstruction error is how learned inverses fool their
    users.
    """
    rows = history[-epochs - 1 :]
    if len(rows) <= epochs or "val_reconstruction_error" not in rows[0]:
        return
    errors, surrogates = (
        [row[name] for row in rows] for name in ("val_reconstruction_error", "surrogate")
    )
    if errors == sorted(set(errors)) and surrogates == sorted(set(surrogates), reverse=True):
        warnings.warn(
            f"The reconstruction error has grown for {epochs} epochs, to {errors[-1]:.4g}, while "
            "the surrogate fell: the kept inverses are being left behind, and gradients with them. "
            f"{remedies(flow)}",
            stacklevel=2,
        )
