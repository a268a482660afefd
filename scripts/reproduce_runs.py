"""Trains many runs at one budget, each in a directory of its own, and says how far they are."""

import contextlib
import re
import threading
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from reproduce_calls import Calls
from reproduce_table import Row

_ROOT = Path(__file__).parents[1]
_SAID_EVERY = 60.0


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
            ValueError: If it is none of the four kinds, or nothing.
        """
        match = re.fullmatch(r"(smoke|paper)|(epochs)=(\d+)|(minutes)=(\d+(?:\.\d+)?)", text)
        plain, epochs, count, minutes, amount = match.groups() if match else [None] * 5
        if match and (plain or float(count or amount) > 0):
            return cls(plain or epochs or minutes, float(count or amount or 0))
        raise ValueError(
            "--budget must be smoke, paper, epochs=N or minutes=M, with N and M above 0. "
            f"Received: --budget={text}"
        )

    def __str__(self) -> str:
        if self.kind == "smoke":
            return "smoke: a few steps of small models"
        return f"{self.kind}={self.amount:g}" if self.amount else "as published"


class Run(NamedTuple):
    """A run of a row: its seed, and its directory."""

    row: Row
    seed: int
    path: Path


def runs_of(
    rows: Sequence[Row], seeds: int, directory: Path, budget: Budget, bindings: Sequence[str] = ()
) -> list[Run]:
    """Returns the runs of rows. Rows with the same settings share their runs.

    Args:
        rows: What is trained.
        seeds: How many seeds.
        directory: Of all runs.
        budget: Runs of the smallest are runs of other models.
        bindings: Settings of all runs.
    """
    words = suffix(budget, bindings)
    return [
        Run(row, seed, directory / "runs" / f"{row.settings_slug}{words}-seed{seed}")
        for row in rows
        for seed in range(seeds)
    ]


def suffix(budget: Budget, bindings: Sequence[str]) -> str:
    """Returns what the names of runs end in: other models or settings are other runs."""
    words = "-smoke" if budget.kind == "smoke" else ""
    return words + (f"-{zlib.crc32(repr(list(bindings)).encode()):08x}" if bindings else "")


def train(
    runs: Sequence[Run], budget: Budget, parallel: int = 1, bindings: Sequence[str] = ()
) -> dict[Path, str]:
    """Trains runs; what is done is not repeated, and what was killed goes on.

    Args:
        runs: Rows, seeds and directories.
        budget: Minutes are shared by all runs alike; runs have whole epochs.
        parallel: Runs at a time, which divide the GPUs among them.
        bindings: Settings of all runs.

    Returns:
        Why a run has failed, by its directory.
    """
    failed: dict[Path, str] = {}
    share = 60 * budget.amount * parallel / max(len(runs), 1) if budget.kind == "minutes" else None
    progress = _Progress(runs, budget)
    calls = Calls(parallel)

    def one(run):
        settings = [*_settings(run, budget), *bindings]
        if not _is_done(run, budget, share):
            try:
                _train(run, settings, share, calls)
            except RuntimeError as error:
                failed[run.path] = str(error)
        progress.ended(run, run.path in failed)

    with progress, ThreadPoolExecutor(parallel) as pool:
        try:
            list(pool.map(one, runs))
        except BaseException:
            calls.stop()
            raise
    return failed


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

    def ended(self, run, has_failed):
        self._ended.add(run.path)
        how = "has failed" if has_failed else "has ended"
        print(f"{self._words()}; {run.row.name}, seed {run.seed}, {how}.", flush=True)

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
        # A run that is further ends where it is.
        settings.append(f"train.epochs = {max(int(budget.amount), _epochs(run.path))}")
    return settings


def _is_done(run, budget, seconds):
    from snf_tf.training.finished_run import read_results

    try:
        epochs = read_results(run.path, "history.csv")["epochs"]
    # What is damaged, or goes on, is left to train.py.
    except (OSError, ValueError):
        return False
    if seconds is None:
        return epochs >= _planned_epochs(run.row, budget)
    spent = _seconds(run.path)
    return spent.sum() + spent[-1] > seconds


def _seconds(run_dir):
    """Returns the seconds of each epoch of a run."""
    history = run_dir / "history.csv"
    return pd.read_csv(history)["seconds"].to_numpy() if _epochs(run_dir) else np.zeros(1)


def _train(run, settings, seconds, calls):
    """Trains a run; where seconds are given, as many epochs as come to their end in that time."""
    if seconds is None:
        calls.train(run.row.config, run.path, settings)
        return
    left = seconds - _seconds(run.path).sum()
    if left <= 0 or calls.train(run.row.config, run.path, settings, left):
        epochs = _epochs(run.path)
        if not epochs:
            raise RuntimeError(
                f"No epoch came to its end in {seconds:.0f} s. With more minutes the run goes on."
            )
        calls.train(run.row.config, run.path, [*settings, f"train.epochs = {epochs}"])
