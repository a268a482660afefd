"""Watches `fit` at the end of every epoch: finite losses, and inverses that can be trusted."""

import math
import warnings

import keras

# With a larger relative error on random vectors, the gradient by a learned inverse is not trusted.
_LARGEST = 0.5
# Metrics that are better if they are lower; Keras knows its own alone.
LESS_IS_BETTER = (
    *("nll", "bits_per_dim", "surrogate", "nll_estimate", "bits_per_dim_estimate"),
    *("nll_bound", "bits_per_dim_bound", "classifier_nll"),
)


class FitMonitor(keras.callbacks.Callback):
    """Adds `val_loss`, and the largest `inverse_error`, to the logs; warns, or stops training.

    `fit` calls it before a user's callbacks: these then find both. Keras' defaults monitor
    `val_loss`.

    Raises:
        FloatingPointError: At the end of an epoch whose loss is not finite. XLA leaves out the
            check of every step. At the end of the second epoch in a row in which an inverse is
            worse than its layer's `largest_inverse_error`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._useless: set[str] = set()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = {} if logs is None else logs
        if not math.isfinite(logs.get("surrogate", 0.0)):
            raise FloatingPointError(
                f"The loss of epoch {epoch + 1} is not finite, and its weights are lost. Train "
                "with a lower learning rate or clipped gradients. Without jit_compile the first "
                f"bad step is refused. Received: surrogate={logs['surrogate']}"
            )
        if (loss := self.model.validation_loss(logs)) is not None:
            logs["val_loss"] = loss
        errors = {leaf.name: leaf.inverse_error() for leaf in self.model.leaves()}
        found = {name: float(error) for name, error in errors.items() if error is not None}
        if not found:
            return
        useless = {
            leaf.name
            for leaf in self.model.leaves()
            if not found.get(leaf.name, 0.0) <= leaf.largest_inverse_error
        }
        if still := sorted(useless & self._useless):
            raise FloatingPointError(
                f"The learned inverse of {still[0]} is off by {found[still[0]]:.3g} times the "
                "length of random vectors, after two epochs in a row: no series corrects its "
                "gradient of log|det|, and the exact nll runs away. Raise jacobian_penalty, or the "
                "weight of the "
                "penalty, or lower the learning rate."
            )
        self._useless = useless
        name, logs["inverse_error"] = max(found.items(), key=lambda item: item[1])
        if not logs["inverse_error"] < _LARGEST:
            warnings.warn(
                f"The learned inverse of {name} is off by {logs['inverse_error']:.3g} times the "
                "length of random vectors: its gradient of log|det| cannot be trusted, and the "
                "surrogate may fall while the exact nll does not. Data in which some directions "
                "hardly vary do not teach them. Take LearnedInverse(jacobian_penalty=10.0), "
                '"projected" or "newton_schulz" as inverse_method, or an exact layer; for '
                'convolutions "least_squares"; of a pair raise jacobian_penalty.',
                stacklevel=2,
            )
