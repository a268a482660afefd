"""What a run does while it trains: exact likelihoods at the end of an epoch, and a state on disk
from which it can go on.
"""

import math
import time
import warnings
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from snf_tf.data import Dataset, batches
from snf_tf.flow.diagnostics import layer_statistics
from snf_tf.flow.likelihood import criterion_name, nll_name
from snf_tf.training.beside import Beside
from snf_tf.training.checkpoints import Checkpoints
from snf_tf.training.density import log_density
from snf_tf.training.health import remedies, warn_of_a_bad_inverse
from snf_tf.training.history import History
from snf_tf.training.interruption import Interrupted, StopSignals
from snf_tf.training.optimizer import averaged_weights
from snf_tf.training.run_directory import RunDirectory
from snf_tf.training.strategy import gather_from_workers

# Examples of the training data that are evaluated, and of these at once.
_TRAIN_SUBSET, _TRAIN_BATCH = 1000, 500
_STATISTICS_BATCH = 100
# Steps after which several workers ask one another for a signal.
_STEPS_BETWEEN_TALKS = 10


class EpochEvaluation(keras.callbacks.Callback):
    """Adds to the logs exact likelihoods, `val_nll` and its like, and `train_nll` on a fixed subset
    of the training examples. Of a flow that takes labels, also `val_accuracy` and
    `val_classifier_nll`.

    These are of the averaged weights, where the optimizer keeps averages. Adds, too,
    `learning_rate`, and in some epochs statistics of every layer, of the weights that are trained.
    In these epochs TensorBoard gets a picture of a density on the plane.

    Args:
        dataset: Its validation split is used, and the beginning of its training split.
        beside: What goes with the examples.
        statistics_epochs: Statistics of layers come after the first epoch, and whenever so many are
            done.
        directory: The directory of the run.
    """

    def __init__(
        self, dataset: Dataset, beside: Beside, statistics_epochs: int, directory: RunDirectory
    ) -> None:
        super().__init__()
        self._statistics_epochs = statistics_epochs
        self._directory = directory
        self._is_plane = dataset.event_shape == (2,) and beside.name != "context"
        self._points = dataset.validation
        labels = beside.of("validation")
        self._validation = batches(dataset.validation, beside.evaluation_batch, labels)
        subset = batches(dataset.train, _TRAIN_BATCH, beside.context_of("train"))
        self._train_subset = subset.take(_TRAIN_SUBSET // _TRAIN_BATCH)
        context = beside.first_context("train", _STATISTICS_BATCH)
        examples = dataset.train[:_STATISTICS_BATCH], context
        self._examples = [tf.constant(part) for part in examples if part is not None]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        takes_statistics = epoch == 0 or (epoch + 1) % self._statistics_epochs == 0
        # Before the averaged weights are evaluated: statistics certify the norms of the flow's own
        # weights, and the best weights are kept with the norms that were certified last.
        statistics = layer_statistics(self.model, *self._examples) if takes_statistics else {}
        with averaged_weights(self.model):
            logs |= {
                f"val_{name}": value
                for name, value in self.model.evaluate(self._validation).items()
            }
            name = nll_name(self.model)
            logs[f"train_{name}"] = self.model.evaluate(self._train_subset)[name]
            is_drawn = self._is_plane and self.model.log_det_kind != "bound"
            if takes_statistics and is_drawn and self._directory.writes:
                self._draw(epoch)
        # With several workers and without a warm-up, a variable of TensorFlow.
        logs["learning_rate"] = float(tf.convert_to_tensor(self.model.optimizer.learning_rate))
        logs |= statistics

    def _draw(self, epoch):
        try:
            log_density(
                self._directory.path / "tensorboard/pictures", self.model, self._points, epoch
            )
        # A picture is no reason to stop.
        except (ValueError, tf.errors.OpError) as error:
            warnings.warn(f"There is no picture of epoch {epoch + 1}: {error}", stacklevel=2)


class Progress(keras.callbacks.ProgbarLogger):
    """Keras' progress bar, without the statistics of layers, of which there can be hundreds."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        super().on_epoch_end(
            epoch, {name: value for name, value in logs.items() if "/" not in name}
        )


class RunState(keras.callbacks.Callback):
    """Keeps a run on disk: checkpoints at the ends of epochs, every so many seconds and at a
    signal, and the history.

    Args:
        directory: The directory of the run.
        flow: The compiled flow.
        signals: When one has been received, the run is saved and stopped after the step.
        steps: Number of steps in an epoch.
        checkpoint_seconds: Longest time between checkpoints.
        diagnose: Returns in words what is not finite in the flow; asked when something is not.

    Attributes:
        epoch: Number of finished epochs.
        batch: Number of steps done in the next one.
        history: The logs of every finished epoch.
        diagnose: As given.
        criterion: Name of what is least at the best weights.

    Raises:
        ValueError: If there are checkpoints and none can be read, workers do not find the same one,
            or `history.csv` lacks rows.
        FloatingPointError: At the end of an epoch whose loss is not finite, and instead of a
            checkpoint that would hold what is not finite.
    """

    def __init__(
        self,
        directory: RunDirectory,
        flow: Any,
        signals: StopSignals,
        steps: int,
        checkpoint_seconds: float,
        diagnose: Callable[[], str],
    ) -> None:
        super().__init__()
        self._directory = directory
        self._signals = signals
        self._steps = steps
        self._checkpoint_seconds = checkpoint_seconds
        self.diagnose = diagnose
        self._val_nll = nll_name(flow, "val_")
        self.criterion = criterion_name(flow, "val_")
        self.epoch, self.batch = 0, 0
        self._metrics: list[float] = []
        self._seconds = 0.0
        self._checkpoints = Checkpoints(directory.path / "checkpoints", flow)
        state = self._checkpoints.restore()
        if state is not None:
            # Checkpoints of before have none.
            directory.require_config(state.get("config", directory.config))
            self.epoch, self.batch = state["epoch"], state["batch"]
            self._metrics, self._seconds = state["metrics"], state["seconds"]
        found = gather_from_workers(flow.distribute_strategy, (self.epoch, self.batch))
        if (found != found[0]).any():
            raise ValueError(
                "All workers need one run_dir, which they share, but they found different "
                "checkpoints there. Received: "
                f"(epoch, step) {found.tolist()}, run_dir={directory.path}"
            )
        self.history = History(
            directory.path / "history.csv",
            self.epoch,
            directory.writes,
            (state or {}).get("history"),
        )
        self._saved = time.monotonic()

    @property
    def best(self) -> float:
        """The lowest `criterion_name` of validation so far; infinite before the first epoch."""
        return min((row[self.criterion] for row in self.history.rows), default=math.inf)

    def load_best(self) -> None:
        """Gives the flow the weights of the best epoch."""
        self._checkpoints.load_best()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._start = time.monotonic() - self._seconds
        # Keras has reset the mean of the loss; in an epoch that was begun before, it goes on.
        for variable, value in zip(self._metric_variables(), self._metrics, strict=False):
            variable.assign(value)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.batch += 1
        self._last_step = time.monotonic()
        # After the last step of an epoch its end comes, and saves; a state between the two could
        # not be gone on from.
        if self.batch < self._steps:
            self._save_and_stop_at_a_signal()
            if time.monotonic() - self._saved > self._checkpoint_seconds:
                self._save()
        else:
            # Before anything is computed of weights that may be lost.
            self._check_loss()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if not math.isfinite(logs[self._val_nll]):
            raise FloatingPointError(
                f"The validation nll is {logs[self._val_nll]} after epoch {epoch + 1}: training "
                "has diverged, and stops. Its last checkpoint stays as it was. "
                f"{remedies(self.model)}"
            )
        if logs[self.criterion] < self.best:
            with averaged_weights(self.model):
                self._checkpoints.keep_best()
        step_seconds = (self._last_step - self._start) / self.batch
        row = {"epoch": epoch + 1} | {name: float(value) for name, value in logs.items()}
        times = {
            "steps": self.batch,
            "step_seconds": step_seconds,
            "seconds": time.monotonic() - self._start,
        }
        self.history.append(row | times)
        self.epoch, self.batch, self._metrics, self._seconds = epoch + 1, 0, [], 0.0
        warn_of_a_bad_inverse(self.history.rows, self.model)
        self._save()
        self._save_and_stop_at_a_signal()

    def _save_and_stop_at_a_signal(self):
        several = isinstance(
            self.model.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy
        )
        if several and self.batch % _STEPS_BETWEEN_TALKS:
            return
        received = int(
            gather_from_workers(
                self.model.distribute_strategy, (self._signals.received or 0,)
            ).max()
        )
        if not received:
            return
        if self.batch:
            self._save()
        where = f"after step {self.batch} of epoch {self.epoch + 1}"
        raise Interrupted(received, where, self._directory.path)

    def _save(self):
        self._saved = time.monotonic()
        if not self._directory.writes:
            return
        if self.batch:
            self._check_loss()
            self._metrics = self._metric_values()
            self._seconds = time.monotonic() - self._start
        for weight in [*self.model.weights, *self.model.optimizer.variables]:
            if weight.value.dtype.is_floating and not tf.reduce_all(
                tf.math.is_finite(weight.value)
            ):
                raise FloatingPointError(
                    f"{weight.path} is not finite after step {self.batch} of epoch "
                    f"{self.epoch + 1}: training stops, and the last "
                    f"checkpoint stays as it was. {self.diagnose()}"
                )
        self._checkpoints.save(
            {
                "epoch": self.epoch,
                "batch": self.batch,
                "metrics": self._metrics,
                "seconds": self._seconds,
                "config": self._directory.config,
                "history": self.history.digest(),
            }
        )

    def _check_loss(self):
        """Refuses a loss that is not finite, where XLA has left out the check of every step."""
        if not all(map(math.isfinite, self._metric_values())):
            raise FloatingPointError(
                f"The loss of epoch {self.epoch + 1} is not finite, after step {self.batch} at the "
                "latest: training stops, and the last checkpoint stays as it was. "
                f"{self.diagnose()}"
            )

    def _metric_values(self):
        return [
            float(tf.convert_to_tensor(variable.value)) for variable in self._metric_variables()
        ]

    def _metric_variables(self):
        # With several workers, to read them takes all workers, each of which saves at its own time.
        if isinstance(self.model.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return []
        return [variable for metric in self.model.metrics for variable in metric.variables]
