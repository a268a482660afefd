"""What a figure is made of, and what comes out."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import command_line
import curves
import pandas as pd
from matplotlib.figure import Figure
from reproduce_runs import Budget, Run
from reproduce_table import Row


class Work(NamedTuple):
    """A figure to be made.

    Attributes:
        name: Such as snf.3.
        rows: What it shows.
        runs: The finished runs of the rows, where they are trained.
        budget: How long is trained or measured.
        bindings: Settings of all rows.
        directory: Of the figure.
    """

    name: str
    rows: Sequence[Row]
    runs: Sequence[Run]
    budget: Budget
    bindings: Sequence[str]
    directory: Path

    @property
    def is_smoke(self) -> bool:
        return self.budget.kind == "smoke"


class Drawn(NamedTuple):
    """A figure that is made.

    Attributes:
        figure: The picture.
        data: What it shows, as a table.
        words: What there is to say of it, in Markdown.
        stand_ins: Data sets that stand in for published ones.
    """

    figure: Figure
    data: pd.DataFrame
    words: str
    stand_ins: Sequence[str] = ()

    def save(self, path: Path) -> None:
        """Writes the picture."""
        curves.save(self.figure, path)


def results_of(run: Run) -> dict:
    """Returns the content of `results.json` of a run."""
    from snf_tf.training.finished_run import read_results

    return read_results(run.path, "history.csv")


def history_of(run: Run) -> pd.DataFrame:
    """Returns the content of `history.csv` of a run."""
    return pd.read_csv(run.path / "history.csv")


def stand_ins(runs: Sequence[Run]) -> list[str]:
    """Returns the data sets of runs that stand in for published ones."""
    results = [results_of(run) for run in runs]
    return sorted({f"{r['dataset']} ({r['source']})" for r in results if is_stand_in(r)})


def is_stand_in(results: dict) -> bool:
    """Returns whether the data of a run stand in for published ones: images of a package do."""
    return results["source"] == "embedded" and not results["dataset"].startswith("toy2d/")


def likelihood(history: pd.DataFrame, name: str) -> pd.Series:
    """Returns a column of a history, such as val_nll, by epoch, under whatever kind it has."""
    return history.set_index("epoch")[f"{name}{command_line.likelihood_kind(history, name)}"]


def label(run: Run, seeds: int) -> str:
    """Returns the name of a run in a legend."""
    return run.row.name if seeds == 1 else f"{run.row.name}, seed {run.seed}"


def seeds(runs: Sequence[Run]) -> int:
    """Returns how many seeds runs have."""
    return len({run.seed for run in runs})
