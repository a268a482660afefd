"""The end of a run that has stopped to improve."""

from typing import Any

import keras
import numpy as np

from snf_tf.training.callbacks import RunState


class EarlyStopping(keras.callbacks.Callback):
    """Stops training when so many epochs have brought no better criterion of validation.

    It looks at the history alone, so that a run that goes on stops where it would have stopped.

    Args:
        state: The state of the run, which comes before in the list of callbacks.
        patience: Number of epochs; None: never stops.
    """

    def __init__(self, state: RunState, patience: int | None) -> None:
        super().__init__()
        self._state = state
        self._patience = patience

    @property
    def is_due(self) -> bool:
        """Whether the run is over."""
        values = [row[self._state.criterion] for row in self._state.history.rows]
        if self._patience is None or not values:
            return False
        return len(values) - 1 - int(np.argmin(values)) >= self._patience

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training = self.is_due
