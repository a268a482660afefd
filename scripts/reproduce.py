"""Trains the rows of a paper's table, and writes the table: published numbers beside ours.

    python scripts/reproduce.py --list
    python scripts/reproduce.py --table=snf.1 --budget=smoke
    python scripts/reproduce.py --table=snf.1 --budget=minutes=60 --seeds=3 --rows=FC

Rows and published numbers are those of `configs/expected.csv`. A run that was killed goes on, and
one that is done is not repeated. The table tells of runs that failed. It is `RUNS/TABLE.md`,
`.csv` and, with curves, `.png`.
"""

import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import command_line
import reproduce_table
from absl import flags

_ROOT = Path(__file__).parents[1]
_TABLE = flags.DEFINE_string("table", None, "Name of the table, such as snf.1.")
_LIST = flags.DEFINE_bool("list", False, "Print the tables and their rows.")
_ROWS = flags.DEFINE_string("rows", ".", "A regular expression: the rows to train.")
_SEEDS = flags.DEFINE_integer("seeds", 1, "Runs of every row, of seeds 0, 1, ...", lower_bound=1)
_BUDGET = flags.DEFINE_string(
    "budget", "paper", "smoke, paper, epochs=N a run, or minutes=M for all runs together."
)
_PARALLEL = flags.DEFINE_integer("parallel", 1, "Runs at a time.", lower_bound=1)
_RUNS = flags.DEFINE_string("runs", "runs/tables", "Directory of the runs and the tables.")
_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "A setting of all runs, such as load_dataset.data_dir."
)


def main(_) -> None:
    if _LIST.value:
        print(reproduce_table.listing())
        return
    if _TABLE.value is None:
        raise ValueError("--table must be given, or --list. Received: neither")
    rows = reproduce_table.rows(_TABLE.value, _ROWS.value)
    kind, amount = _budget(_BUDGET.value)
    directory = Path(_RUNS.value)
    runs = [
        (row, seed, directory / _TABLE.value / f"{row.slug}-seed{seed}")
        for row in rows
        for seed in range(_SEEDS.value)
    ]
    failed: dict[Path, str] = {}
    begun, seconds = time.monotonic(), 60 * amount * _PARALLEL.value if kind == "minutes" else None

    def train(index):
        row, seed, run_dir = runs[index]
        if not _is_done(run_dir, row, kind, amount):
            share = None if seconds is None else seconds / len(runs)
            try:
                _train(run_dir, _config(row), _settings(row, seed, kind, amount), share)
            except RuntimeError as error:
                failed[run_dir] = str(error)
        spent = (time.monotonic() - begun) / 60
        print(f"{index + 1} of {len(runs)}: {row.name}, seed {seed}; {spent:.1f} min.", flush=True)

    with ThreadPoolExecutor(_PARALLEL.value) as pool:
        list(pool.map(train, range(len(runs))))
    print(reproduce_table.write(directory, _TABLE.value, runs, failed))
    if failed:
        sys.exit(f"reproduce.py: {len(failed)} of {len(runs)} runs failed; the table says why.")


def _config(row):
    return _ROOT / f"configs/{row.config}.gin"


def _budget(text):
    """Reads the budget: its kind and its amount."""
    if match := re.fullmatch(r"(smoke|paper)|(epochs)=(\d+)|(minutes)=(\d+(?:\.\d+)?)", text):
        plain, epochs, count, minutes, amount = match.groups()
        return plain or epochs or minutes, float(count or amount or 0)
    raise ValueError(
        f"--budget must be smoke, paper, epochs=N or minutes=M. Received: --budget={text}"
    )


def _settings(row, seed, kind, amount):
    settings = [f"train.seed = {seed}", "train.verbose = 0"]
    if kind == "smoke":
        settings.append("include 'smoke.gin'")
    if kind == "epochs":
        settings.append(f"train.epochs = {int(amount)}")
    return [*settings, *row.bindings, *_BINDINGS.value]


def _is_done(run_dir, row, kind, amount):
    from snf_tf.training.finished_run import read_results

    if not (run_dir / "results.json").is_file():
        return False
    done = read_results(run_dir)["epochs"]
    return done >= {"epochs": int(amount), "paper": row.epochs or 0}.get(kind, 1)


def _train(run_dir, config, settings, seconds):
    """Trains a run; where seconds are given, as many epochs as come to their end in that time."""
    stopped = _call(run_dir, config, settings, seconds)
    if stopped:
        history = run_dir / "history.csv"
        epochs = history.read_bytes().count(b"\n") - 1 if history.is_file() else 0
        _call(run_dir, config, [*settings, f"train.epochs = {max(epochs, 1)}"], None)


def _call(run_dir, config, settings, seconds):
    """Calls train.py, and stops it after some seconds; returns whether it was stopped."""
    log = run_dir.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        _ROOT / "scripts/train.py",
        f"--gin_file={config}",
        f"--run_dir={run_dir}",
        *(f"--gin_bindings={setting}" for setting in settings),
    ]
    with open(log, "w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
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


if __name__ == "__main__":
    command_line.run(main)
