"""Makes the tables and figures of the papers: published numbers beside ours.

    python scripts/reproduce.py --list
    python scripts/reproduce.py --table=snf.1 --budget=smoke
    python scripts/reproduce.py --table=snf.1 --budget=minutes=60 --seeds=3 --rows=FC
    python scripts/reproduce.py --figure=snf.3 --budget=epochs=5
    python scripts/reproduce.py --table=all --figure=all --budget=smoke
    python scripts/reproduce.py --record=runs/mnist_fc-seed0
    python scripts/reproduce.py --results

Rows and published numbers are those of `configs/expected.csv`, what figures train those of
`configs/figures.csv`. A run that was killed goes on, and one that is done is not repeated. A table
tells of runs that failed. It is `RUNS/TABLE.md`, `.csv` and, with curves, `.png`; a figure is
`RUNS/figure-FIGURE.png`, its numbers `.csv`, and what there is to say of it `.md`.

--record keeps the history and the results of a run in `docs/records`, or a table or figure that was
measured, and --results makes `docs/results.md` of all that is kept there.
"""

import contextlib
import fcntl
import sys
from pathlib import Path

import command_line
import reproduce_figures
import reproduce_frechet
import reproduce_records
import reproduce_results
import reproduce_runs
import reproduce_table
import reproduce_times
from absl import flags
from figure_work import Work

_TABLE = flags.DEFINE_string("table", None, "Name of the table, such as snf.1, or all.")
_FIGURE = flags.DEFINE_string("figure", None, "Name of the figure, such as snf.3, or all.")
_LIST = flags.DEFINE_bool("list", False, "Print tables, figures and their rows.")
_RECORD = flags.DEFINE_multi_string(
    "record", [], "Directory of a finished run to keep, or TABLE.md or figure-NAME.md."
)
_RESULTS = flags.DEFINE_bool("results", False, "Write docs/results.md of what is kept.")
_DOCS = flags.DEFINE_string(
    "docs", str(Path(__file__).parents[1] / "docs"), "Directory of that page and of records."
)
_ROWS = flags.DEFINE_string("rows", ".", "A regular expression: the rows to train.")
_SEEDS = flags.DEFINE_integer("seeds", 1, "Runs of every row, of seeds 0, 1, ...", lower_bound=1)
_BUDGET = flags.DEFINE_string(
    "budget", "paper", "smoke, paper, epochs=N a run, or minutes=M for all runs together."
)
_PARALLEL = flags.DEFINE_integer(
    "parallel", 1, "Runs at a time, which divide the GPUs.", lower_bound=1
)
_RUNS = flags.DEFINE_string("runs", "runs/tables", "Directory of the runs, tables and figures.")
_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "A setting of all runs, such as load_dataset.data_dir."
)


def main(_) -> None:
    if _LIST.value:
        print(f"{reproduce_table.listing()}\n{reproduce_figures.listing()}")
        return
    if not (_TABLE.value or _FIGURE.value or _RECORD.value or _RESULTS.value):
        raise ValueError("--table must be given, or --figure, or --list. Received: neither")
    budget = reproduce_runs.Budget.read(_BUDGET.value)
    tables = _names(_TABLE.value, reproduce_table.tables(), "table")
    figures = _names(_FIGURE.value, tuple(reproduce_figures.FIGURES), "figure")
    # Before anything is done.
    rows = {("table", name): reproduce_table.rows(name, _ROWS.value) for name in tables}
    for name in figures:
        found = reproduce_table.rows(name, _ROWS.value, reproduce_table.FIGURES)
        if found or _ROWS.value == ".":
            rows["figure", name] = found
    if not any(rows.values()) and _ROWS.value != ".":
        raise ValueError(
            "--rows must match a row of what is made; --list prints them. "
            f"Received: --rows={_ROWS.value}"
        )
    command_line.import_libraries()
    docs = Path(_DOCS.value)
    for run_dir in _RECORD.value:
        print(f"Record: {reproduce_records.record(Path(run_dir), docs)}")
    if _RESULTS.value:
        reproduce_results.write(docs)
        print(f"Page: {docs / 'results.md'}")
    failures = []
    with _alone(Path(_RUNS.value)) if rows else contextlib.nullcontext():
        for (kind, name), own in rows.items():
            if kind == "figure":
                failures += _make_figure(name, own, budget)
            elif own:
                failures += _make_table(name, own, budget)
    if failures:
        sys.exit(f"reproduce.py: {len(failures)} runs failed:\n" + "\n".join(failures))


@contextlib.contextmanager
def _alone(directory):
    """Keeps other calls out of a directory of runs."""
    if directory.exists() and not directory.is_dir():
        raise ValueError(f"--runs must be a directory. Received: --runs={directory}")
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                "Another reproduce.py is at work there: wait for its end, or name another "
                f"directory. Received: --runs={directory}"
            ) from None
        yield


def _names(given, known, flag):
    if not given or given == "all":
        return known if given else ()
    if given not in known:
        raise ValueError(
            f"--{flag} must be one of {', '.join(known)}, all. Received: --{flag}={given}"
        )
    return (given,)


def _train(name, rows, budget):
    trained = [row for row in rows if row.config]
    bindings = _BINDINGS.value
    runs = reproduce_runs.runs_of(trained, _SEEDS.value, Path(_RUNS.value), budget, bindings)
    print(f"{name}: {len(runs)} runs.", flush=True)
    return runs, reproduce_runs.train(runs, budget, _PARALLEL.value, bindings)


def _make_table(name, rows, budget):
    directory = Path(_RUNS.value)
    if name == "snf.3":
        print(reproduce_times.write(directory, name, rows, budget, _BINDINGS.value))
        return []
    if name == "rf.2":
        failed: dict[Path, str] = {}

        def train(own):
            runs, reasons = _train(name, own, budget)
            failed.update(reasons)
            return runs, reasons

        print(reproduce_frechet.write(directory, name, rows, train))
    else:
        runs, failed = _train(name, rows, budget)
        words = "; ".join([str(budget), *_BINDINGS.value])
        is_smoke = budget.kind == "smoke"
        print(reproduce_table.write(directory, name, rows, runs, failed, words, is_smoke))
    return [f"{path.name}: {reason}" for path, reason in failed.items()]


def _make_figure(name, rows, budget):
    trains = reproduce_figures.FIGURES[name].trains
    if not trains and _SEEDS.value > 1:
        print(f"{name} is measured with the seed of its configs alone: --seeds does not change it.")
    runs, failed = _train(name, rows, budget) if trains else ([], {})
    done = [run for run in runs if run.path not in failed]
    if runs and not done:
        print(f"{name} is not drawn: no run has come to its end.")
    else:
        work = Work(name, rows, done, budget, _BINDINGS.value, Path(_RUNS.value))
        print(reproduce_figures.write(work))
    return [f"{path.name}: {reason}" for path, reason in failed.items()]


if __name__ == "__main__":
    command_line.run(main)
