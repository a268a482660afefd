"""Trains many runs at one budget, each in a directory of its own, and says how far they are."""

import contextlib
import ctypes
import fcntl
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from reproduce_table import Row

_ROOT = Path(__file__).parents[1]
_SAID_EVERY = 60.0
_LONGEST_WAIT = 60.0
# Of Linux' prctl: the signal that a process gets when its parent has died.
_PR_SET_PDEATHSIG = 1


class Budget(NamedTuple):
    """How long is trained.

    Attributes:
        kind: "smoke", "paper", "epochs" or "minutes".
        amount: Epochs of a run, or minutes of all runs together; 0 for the others.
    """

    kind: str
    amount: float

    @classmethod
    def read(cls, text: str) -> "Budget":
        """Reads the flag.

        Raises:
            ValueError: If it is none of the four kinds.
        """
        if match := re.fullmatch(r"(smoke|paper)|(epochs)=(\d+)|(minutes)=(\d+(?:\.\d+)?)", text):
            plain, epochs, count, minutes, amount = match.groups()
            return cls(plain or epochs or minutes, float(count or amount or 0))
        raise ValueError(
            f"--budget must be smoke, paper, epochs=N or minutes=M. Received: --budget={text}"
        )


class Run(NamedTuple):
    """A run of a row: its seed, and its directory."""

    row: Row
    seed: int
    path: Path


def runs_of(rows: Sequence[Row], seeds: int, directory: Path) -> list[Run]:
    """Returns the runs of rows. Rows with the same settings share their runs."""
    return [
        Run(row, seed, directory / "runs" / f"{row.settings_slug}-seed{seed}")
        for row in rows
        for seed in range(seeds)
    ]


def train(
    runs: Sequence[Run], budget: Budget, parallel: int = 1, bindings: Sequence[str] = ()
) -> dict[Path, str]:
    """Trains runs; what is done is not repeated, and what was killed goes on.

    Args:
        runs: Rows, seeds and directories.
        budget: Minutes are shared by all runs alike.
        parallel: Runs at a time, which divide the GPUs among them.
        bindings: Settings of all runs.

    Returns:
        Why a run has failed, by its directory.
    """
    failed: dict[Path, str] = {}
    share = 60 * budget.amount * parallel / max(len(runs), 1) if budget.kind == "minutes" else None
    progress = _Progress(runs, budget)
    free: queue.Queue[dict[str, str]] = queue.Queue()
    for devices in _divided_devices(parallel):
        free.put(devices)

    def one(run):
        settings = [*_settings(run, budget), *bindings]
        if not _is_done(run, budget):
            devices = free.get()
            try:
                _train(run, settings, share, devices)
            except RuntimeError as error:
                failed[run.path] = str(error)
            finally:
                free.put(devices)
        progress.ended(run)

    with progress, ThreadPoolExecutor(parallel) as pool:
        list(pool.map(one, runs))
    return failed


def _divided_devices(parallel: int) -> list[dict[str, str]]:
    """Returns the GPUs of each run at a time, as variables of its environment."""
    if parallel == 1:
        return [{}]
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        import tensorflow as tf

        found = list(map(str, range(len(tf.config.list_physical_devices("GPU")))))
    else:
        found = [name for name in given.split(",") if name]
    if not found:
        return [{}] * parallel
    # More runs than GPUs share them, and none may take all memory.
    shared = {"TF_FORCE_GPU_ALLOW_GROWTH": "true"} if parallel > len(found) else {}
    own = [found[i::parallel] or [found[i % len(found)]] for i in range(parallel)]
    return [{"CUDA_VISIBLE_DEVICES": ",".join(names)} | shared for names in own]


class _Progress(contextlib.AbstractContextManager):
    """Says, in a minute once, how many epochs are done, and how much time is left."""

    def __init__(self, runs, budget):
        self._runs, self._budget = runs, budget
        self._begun, self._ended, self._stop = time.monotonic(), set(), threading.Event()
        self._planned = {run.path: _planned_epochs(run.row, budget) for run in runs}
        self._before = self._done()

    def __enter__(self):
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._stop.set()

    def ended(self, run):
        self._ended.add(run.path)
        print(f"{self._words()}; {run.row.name}, seed {run.seed}, has ended.", flush=True)

    def _watch(self):
        while not self._stop.wait(_SAID_EVERY):
            print(f"{self._words()}.", flush=True)

    def _done(self):
        """Returns the epochs of all runs that are done: a run that has ended counts in full."""
        return sum(
            planned if path in self._ended else min(_epochs(path), planned)
            for path, planned in self._planned.items()
        )

    def _words(self):
        done, planned = self._done(), sum(self._planned.values())
        spent = time.monotonic() - self._begun
        words = f"{len(self._ended)} of {len(self._runs)} runs"
        left = None
        if self._budget.kind == "minutes":
            left = max(60 * self._budget.amount - spent, 0) * (len(self._ended) < len(self._runs))
        else:
            words += f", {done} of {planned} epochs"
            if done > self._before:
                left = spent * (planned - done) / (done - self._before)
        words += f"; {spent / 60:.1f} min"
        return words if left is None else f"{words}, about {left / 60:.1f} min left"


def _planned_epochs(row, budget):
    if budget.kind == "paper":
        return row.epochs or _epochs_of_config(row.config) or 1
    return int(budget.amount) if budget.kind == "epochs" else 1


def _epochs_of_config(name):
    """Returns the epochs that a config, or what it includes, names last."""
    text = (_ROOT / f"configs/{name}.gin").read_text()
    found = re.findall(r"(?m)^train\.epochs = (\d+)", text)
    included = re.findall(r'(?m)^include "(\w+)\.gin"', text)
    if found:
        return int(found[-1])
    return next(filter(None, map(_epochs_of_config, included)), None)


def _epochs(run_dir):
    """Returns how many epochs the history of a run has."""
    history = run_dir / "history.csv"
    return max(history.read_bytes().count(b"\n") - 1, 0) if history.is_file() else 0


def _settings(run, budget):
    settings = [f"train.seed = {run.seed}", "train.verbose = 0"]
    if budget.kind == "smoke":
        settings.append("include 'smoke.gin'")
    settings += run.row.bindings
    if budget.kind == "smoke":
        settings += run.row.smoke_bindings
    if budget.kind == "epochs":
        settings.append(f"train.epochs = {int(budget.amount)}")
    return settings


def _is_done(run, budget):
    from snf_tf.training.finished_run import read_results

    if not (run.path / "results.json").is_file():
        return False
    return read_results(run.path)["epochs"] >= _planned_epochs(run.row, budget)


def _train(run, settings, seconds, devices):
    """Trains a run; where seconds are given, as many epochs as come to their end in that time."""
    if _call(run, settings, seconds, devices):
        last = f"train.epochs = {max(_epochs(run.path), 1)}"
        _call(run, [*settings, last], None, devices)


def _call(run, settings, seconds, devices):
    """Calls train.py, and stops it after some seconds; returns whether it was stopped."""
    log = run.path.with_name(f"{run.path.name}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    _wait_until_free(run.path / ".lock")
    command = [
        sys.executable,
        _ROOT / "scripts/train.py",
        f"--gin_file={_ROOT / f'configs/{run.row.config}.gin'}",
        f"--run_dir={run.path}",
        *(f"--gin_bindings={setting}" for setting in settings),
    ]
    with open(log, "w") as output:
        process = subprocess.Popen(
            command,
            env=os.environ | devices,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_end_with_parent,
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.wait()
        except BaseException:
            # Ctrl-C reaches the run, too: it saves its state.
            process.wait()
            raise
    if process.returncode == 130 and seconds is not None:
        return True
    if process.returncode:
        said = [line for line in log.read_text().splitlines() if line.startswith("train.py: ")]
        raise RuntimeError(said[-1] if said else f"exit code {process.returncode}, see {log}")
    return False


def _end_with_parent():
    """Asks for SIGTERM when the parent is killed: nobody would wait for the run any more."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_until_free(lock):
    """Waits for a run whose parent was killed: it saves its state first."""
    end = time.monotonic() + _LONGEST_WAIT
    while lock.is_file() and time.monotonic() < end:
        with open(lock) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.5)
            else:
                return
