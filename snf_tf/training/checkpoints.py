"""Checkpoints of a run, of which a damaged one is skipped."""

import json
import re
import shutil
import warnings
from pathlib import Path

import keras
import tensorflow as tf

_KEPT = 3


class Checkpoints:
    """Everything that a run needs to go on, in one file after the other.

    A checkpoint holds the weights, the optimizer's variables, the weights of the best epoch, and a
    state that JSON can hold. TensorFlow writes it under a temporary name and renames it when it is
    whole, with a checksum for every variable.

    Args:
        directory: Where they are kept.
        flow: The compiled flow; its optimizer is built.
    """

    def __init__(self, directory: Path, flow: keras.Model) -> None:
        flow.optimizer.build(flow.trainable_variables)
        self._directory = directory
        self._weights = flow.weights
        self._best = [tf.Variable(weight.numpy(), trainable=False) for weight in flow.weights]
        self._state = tf.Variable("", dtype=tf.string, trainable=False)
        self._checkpoint = tf.train.Checkpoint(
            weights=[weight.value for weight in flow.weights],
            optimizer=[variable.value for variable in flow.optimizer.variables],
            best=self._best,
            state=self._state,
        )

    def keep_best(self) -> None:
        """Takes the present weights for the best ones; they are on disk with the next `save`."""
        for best, weight in zip(self._best, self._weights, strict=True):
            best.assign(weight.value)

    def load_best(self) -> None:
        """Gives the flow its best weights."""
        for best, weight in zip(self._best, self._weights, strict=True):
            weight.assign(best)

    def save(self, state: dict) -> None:
        """Writes a checkpoint, and deletes all but the last few.

        Raises:
            OSError: If it cannot be written; those before stay as they were.
        """
        self._state.assign(json.dumps(state))
        paths = self._paths()
        number = 1 + (_number(paths[-1]) if paths else 0)
        # What a killed process, or a full disk, left unfinished.
        for unfinished in self._directory.glob("checkpoint-*_temp"):
            shutil.rmtree(unfinished)
        try:
            self._checkpoint.write(str(self._directory / f"checkpoint-{number:06d}"))
        except tf.errors.OpError as error:
            raise OSError(
                f"A checkpoint cannot be written; those before stay as they were. TensorFlow "
                f"says: {error.message}"
            ) from error
        for path in self._paths()[:-_KEPT]:
            # The index goes first: without it the rest is no checkpoint.
            path.unlink()
            for part in self._directory.glob(f"{path.stem}.data-*"):
                part.unlink()

    def restore(self) -> dict | None:
        """Restores the newest checkpoint that can be read.

        Returns:
            Its state; None if there is no checkpoint.

        Raises:
            ValueError: If there are checkpoints and none can be read, or if they were deleted.
        """
        paths = self._paths()
        for path in reversed(paths):
            try:
                self._checkpoint.read(str(path.with_suffix(""))).assert_consumed()
            except (tf.errors.OpError, ValueError, AssertionError, LookupError, TypeError) as error:
                reason = str(error).splitlines()[0]
                warnings.warn(
                    f"{path.stem} cannot be read, the one before is tried ({reason})", stacklevel=2
                )
                continue
            return json.loads(self._state.numpy())
        if paths:
            raise ValueError(
                f"No checkpoint in {self._directory} can be read: "
                f"{', '.join(path.stem for path in paths)}. To begin anew, delete "
                "the run's directory."
            )
        self._require_a_new_run()
        return None

    def _require_a_new_run(self) -> None:
        """Refuses the directory of a run that had checkpoints.

        A run that was killed before its first checkpoint was whole may have one row of history, and
        the data of that checkpoint.
        """
        run = self._directory.parent
        rows = (run / "history.csv").read_bytes().count(b"\n") if _exists(run, "history.csv") else 0
        data = [path.name for path in self._directory.glob("checkpoint-*.data-*")]
        traces = [name for name in ("results.json", "best.weights.h5") if _exists(run, name)]
        if rows > 2:
            traces.append(f"history.csv, of {rows - 1} epochs")
        traces += [name for name in sorted(data) if not name.startswith("checkpoint-000001.")]
        if traces:
            raise ValueError(
                "A run that was begun must have its checkpoints, and they are gone. Put the files "
                f"checkpoint-*.index back, or take another run_dir. Received: {self._directory} "
                f"without checkpoints, beside {', '.join(traces)}"
            )

    def _paths(self) -> list[Path]:
        """The indices of all checkpoints, the oldest first."""
        paths = [
            path
            for path in self._directory.glob("checkpoint-*.index")
            if re.fullmatch(r"checkpoint-\d+", path.stem)
        ]
        return sorted(paths, key=_number)


def _exists(directory: Path, name: str) -> bool:
    return (directory / name).is_file()


def _number(path: Path) -> int:
    return int(path.stem.split("-")[1])
