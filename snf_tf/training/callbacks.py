"""What a run does at the end of every epoch: the exact training nll, the best weights, the checkpoint and the history."""

import csv
import json
import math
import os
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

_KEPT_CHECKPOINTS = 3


class TrainNll(keras.callbacks.Callback):
    """Adds to the logs `train_nll`, exact (nats), on a fixed subset of the training examples, and `learning_rate`.

    Args:
        examples: The subset.
    """

    def __init__(self, examples: np.ndarray):
        super().__init__()
        self._examples = examples

    def on_epoch_end(self, epoch, logs=None):
        logs["train_nll"] = self.model.evaluate(self._examples)["nll"]
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)


class RunState(keras.callbacks.Callback):
    """Keeps a run on disk, so that it can be continued: checkpoints, the best weights and the history.

    The checkpoint holds weights, optimizer, and the history of logs, of which there is one entry an epoch. `history.csv` is written
    from it.

    Args:
        run_dir: Its directory; `checkpoints/`, `checkpoints/best.weights.h5` and `history.csv` are written there.
        flow: The compiled flow.
    """

    def __init__(self, run_dir: Path, flow):
        super().__init__()
        flow.optimizer.build(flow.trainable_variables)
        self.history: list[dict] = []
        self.best_weights = run_dir / "checkpoints" / "best.weights.h5"
        self._history_file = run_dir / "history.csv"
        self._stored_history = tf.Variable("[]", dtype=tf.string)
        checkpoint = tf.train.Checkpoint(flow=flow, optimizer=flow.optimizer, history=self._stored_history)
        self._manager = tf.train.CheckpointManager(checkpoint, str(run_dir / "checkpoints"), max_to_keep=_KEPT_CHECKPOINTS)
        if self._manager.restore_or_initialize():
            self.history = json.loads(self._stored_history.numpy())

    @property
    def epochs_done(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    @property
    def best_nll(self) -> float:
        """The lowest validation nll so far, in nats; infinite before the first epoch."""
        return min((row["val_nll"] for row in self.history), default=float("inf"))

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        if not math.isfinite(logs["val_nll"]):
            raise FloatingPointError(
                f"The validation nll is {logs['val_nll']} after epoch {epoch + 1}: training has diverged, and stops. Its last "
                "checkpoint stays as it was. A lower learning rate or a larger reconstruction_weight may help."
            )
        if logs["val_nll"] < self.best_nll:
            self.best_weights.parent.mkdir(exist_ok=True)
            temporary = self.best_weights.with_name("unfinished.weights.h5")
            self.model.save_weights(temporary)
            os.replace(temporary, self.best_weights)
        row = {"epoch": epoch + 1} | {name: float(value) for name, value in logs.items()}
        self.history.append(row | {"seconds": time.perf_counter() - self._start})
        self._stored_history.assign(json.dumps(self.history))
        self._manager.save(checkpoint_number=epoch + 1)
        with open(self._history_file, "w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=self.history[0])
            writer.writeheader()
            writer.writerows(self.history)
