"""The directory of a run: one run at a time, one configuration, files that are whole or absent."""

import difflib
import fcntl
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import keras

from snf_tf.training.finished_run import with_digests

# What may differ when a run is started again.
_FREE = (
    "train.epochs",
    "train.patience",
    "train.devices",
    "train.checkpoint_seconds",
    "train.verbose",
    "load_dataset.data_dir",
    "load_dataset.path",
    "load_dataset.memory_limit",
    "load_dataset.cache_dir",
    "load_files.memory_limit",
    "load_files.cache_dir",
)


class RunDirectory:
    """Opens the directory of a run, for one process at a time.

    Args:
        path: The directory; made where there is none.
        config: The configuration of the run, as text. Kept in `config.gin`; a run that is started
            again must have the same, but for `train.epochs`, `train.patience`, `train.devices`,
            `train.checkpoint_seconds`, `train.verbose`, and where data lie: `data_dir`, `path`,
            `memory_limit` and `cache_dir` of `load_dataset` and `load_files`.
        writes: Whether this process is the one, of several workers of the run, that writes; the
            others only read.

    Raises:
        ValueError: If the directory belongs to a run of another configuration, with the difference,
            another process uses it, or it holds links or devices.
        OSError: If it cannot be written.
    """

    def __init__(self, path: Path, config: str, writes: bool = True) -> None:
        self.path = path
        self.writes = writes
        self.config = config
        self._lock: IO | None = None
        _require_plain(path)
        if (path / "config.gin").is_file():
            self.require_config(_text(path / "config.gin"))
        if not writes:
            return
        path.mkdir(parents=True, exist_ok=True)
        # The system frees the lock when the process ends, however it ends.
        self._lock = open(path / ".lock", "w")  # noqa: SIM115
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise ValueError(
                f"Another process is running in this run_dir. Received: run_dir={path}"
            ) from None

    def require_config(self, before: str) -> None:
        """Compares the configuration with that of an earlier call, from `config.gin` or a
        checkpoint.

        Raises:
            ValueError: If they differ, with the difference.
        """
        settings = _without_free(before), _without_free(self.config)
        if settings[0] == settings[1]:
            return
        difference = difflib.unified_diff(*settings, "this run_dir", "this call", lineterm="", n=0)
        lines = [line for line in difference if not line.startswith("@@")]
        raise ValueError(
            "This run_dir belongs to a run of another configuration, or of another version of "
            f"snf_tf; only {', '.join(_FREE)} may change. Take another run_dir. If config.gin is "
            "damaged, delete it: the checkpoints have the configuration, too.\n" + "\n".join(lines)
        )

    def close(self) -> None:
        """Lets another process use the directory."""
        if self._lock is not None:
            self._lock.close()

    def write(self, name: str, text: str) -> None:
        """Writes a file, in one step: a reader sees the old one or the new one."""
        temporary = self.path / f".{name}.unfinished"
        temporary.write_text(text)
        os.replace(temporary, self.path / name)

    def write_weights(self, model: keras.Model) -> None:
        """Writes `best.weights.h5`, for `model.load_weights`."""
        temporary = self.path / ".unfinished.weights.h5"
        model.save_weights(temporary)
        os.replace(temporary, self.path / "best.weights.h5")

    def write_results(self, results: Mapping) -> dict:
        """Writes and returns `results.json`, with digests of all files that are written by then."""
        results = with_digests(results, self.path)
        self.write("results.json", json.dumps(results, indent=2) + "\n")
        return results


def _require_plain(path: Path) -> None:
    """Refuses links and devices: what is written to them would be written elsewhere."""
    for entry in path.rglob("*"):
        if entry.is_symlink() or not (entry.is_dir() or entry.is_file()):
            raise ValueError(
                "A run_dir must hold files and directories, no links and no devices. "
                f"Received: {entry}"
            )
    for name in ("config.gin", "history.csv", ".lock"):
        if (path / name).is_dir():
            raise ValueError(f"{name} must be a file. Received: {path / name}, a directory")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except UnicodeDecodeError:
        raise ValueError(
            f"{path.name} must be text, and is damaged. Delete it: the checkpoints have the "
            f"configuration, too. Received: {path}"
        ) from None


def _without_free(config: str) -> list[str]:
    """The settings that must not differ: neither free ones, nor gin macros that these are set by
    (`%NAME`).
    """
    # A long value stands, indented, in the lines that follow.
    settings = [setting.partition(" = ") for setting in re.split(r"\n(?!\s)", config)]
    values = [value for name, _, value in settings if name in _FREE]
    free = _FREE + tuple(value[1:] for value in values if value.startswith("%"))
    return ["".join(setting) for setting in settings if setting[0] not in free]
