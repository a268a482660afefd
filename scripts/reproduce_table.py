"""The rows of the papers' tables, and the tables that `reproduce.py` writes of their runs."""

import os
import re
from pathlib import Path
from typing import NamedTuple

import command_line
import pandas as pd
from matplotlib.figure import Figure

_EXPECTED = Path(__file__).parents[1] / "configs/expected.csv"
_UNITS = {"nll": "nats", "bits_per_dim": "bits/dim", "accuracy": "accuracy"}
_OURS = ("ours", "ours on stand-in data", "stand-in data", "kind", "seeds", "epochs", "ms a step")
_DIGITS = {"nll": 2, "bits_per_dim": 4, "accuracy": 4}


class Row(NamedTuple):
    """A row of a table, and how it is trained.

    Attributes:
        name: As printed in the paper.
        config: Name of the config.
        bindings: Settings beside the config's.
        epochs: As published, or None where the paper does not say.
        published: metric -> (value, deviation or None).
    """

    name: str
    config: str
    bindings: list[str]
    epochs: int | None
    published: dict[str, tuple[float, float | None]]

    @property
    def slug(self) -> str:
        """The name, as a name of a directory."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


def rows(table: str, pattern: str = ".") -> list[Row]:
    """Returns the rows of a table whose names match.

    Raises:
        ValueError: If there is no such table, or no such row.
    """
    expected = _expected()
    if table not in set(expected["table"]):
        known = ", ".join(dict.fromkeys(expected["table"]))
        raise ValueError(f"--table must be one of {known}. Received: --table={table}")
    found = []
    for name, lines in expected[expected["table"] == table].groupby("row", sort=False):
        if not re.search(pattern, str(name)):
            continue
        first = lines.iloc[0]
        bindings = [part.strip() for part in first["bindings"].split(";") if part]
        found.append(
            Row(
                str(name),
                first["config"],
                bindings,
                int(first["epochs"]) if first["epochs"] else None,
                {
                    line["metric"]: (
                        float(line["value"]),
                        float(line["deviation"]) if line["deviation"] else None,
                    )
                    for _, line in lines.iterrows()
                },
            )
        )
    if not found:
        raise ValueError(f"--rows must match a row of {table}. Received: --rows={pattern}")
    return found


def listing() -> str:
    """Returns all tables, and the rows of each, as text."""
    lines = []
    for table in dict.fromkeys(_expected()["table"]):
        lines += [table, *(f"  {row.name} ({row.config})" for row in rows(table))]
    return "\n".join(lines)


def write(
    directory: Path, table: str, runs: list[tuple[Row, int, Path]], failed: dict[Path, str]
) -> str:
    """Writes `TABLE.md`, `.csv` and `.png`, and returns the first as text.

    Args:
        directory: Where to write them.
        table: Its name.
        runs: Row, seed and directory of every run.
        failed: Why a run has failed, by its directory.
    """
    from snf_tf.training.finished_run import read_results

    results: dict[str, list] = {}
    reasons: dict[str, str] = {}
    for row, _, path in runs:
        results.setdefault(row.slug, [])
        if path in failed:
            reasons[row.slug] = failed[path]
        else:
            results[row.slug].append(read_results(path, "history.csv"))
    unique = {row.slug: row for row, _, _ in runs}
    lines = [
        _line(row, metric, results[slug], reasons.get(slug, ""))
        for slug, row in unique.items()
        for metric in row.published
    ]
    stands_in = any(line["stand-in data"] for line in lines)
    title = f"# {table}" + ", in part on data that stand in for the published" * stands_in
    text = f"{title}\n\n{_markdown(lines)}\n"
    _replace(directory / f"{table}.md", lambda path: path.write_text(text))
    frame = pd.DataFrame(lines)
    _replace(directory / f"{table}.csv", lambda path: frame.to_csv(path, index=False))
    _replace(
        directory / f"{table}.png",
        lambda path: _plot(path, [run for run in runs if run[2] not in failed]),
    )
    return text


def _expected() -> pd.DataFrame:
    return pd.read_csv(_EXPECTED, dtype=str, keep_default_na=False)


def _line(row, metric, results, reason):
    """Returns a line of the table: of one row and metric, over seeds."""
    digits = _DIGITS[metric]
    value, deviation = row.published[metric]
    name = f"test_{metric}"
    known = {
        "row": row.name,
        "unit": _UNITS[metric],
        "published": _number(value, deviation, digits),
    }
    if not results:
        return known | dict.fromkeys(_OURS, "") | {"failed": reason}
    kind = "" if metric == "accuracy" else command_line.likelihood_kind(results[0], name)
    ours = pd.Series([result[f"{name}{kind}"] for result in results])
    number = _number(ours.mean(), ours.std() if len(ours) > 1 else None, digits)
    # Images that come with a package are few, or others.
    replaced = {f"{r['dataset']} ({r['source']})" for r in results if r["source"] == "embedded"}
    epochs = sorted({result["epochs"] for result in results})
    return known | {
        "ours": "" if replaced else number,
        "ours on stand-in data": number if replaced else "",
        "stand-in data": ", ".join(sorted(replaced)),
        "kind": kind.strip("_") or "exact",
        "seeds": len(results),
        "epochs": ", ".join(map(str, epochs)) + f" of {row.epochs or 'unknown'}",
        "ms a step": f"{1e3 * pd.Series([r['seconds_per_step'] for r in results]).median():.0f}",
        "failed": reason,
    }


def _number(value, deviation, digits):
    return f"{value:.{digits}f}" + ("" if deviation is None else f" +- {deviation:.{digits}f}")


def _markdown(lines):
    names = list(lines[0])
    cells = [names, ["---"] * len(names), *([str(line[name]) for name in names] for line in lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def _plot(path, runs):
    """Draws the validation likelihood of every run against epochs and seconds."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for row, seed, directory in runs:
        history = pd.read_csv(directory / "history.csv")
        name = next(column for column in history if column.startswith("val_bits_per_dim"))
        for axis, x in zip(axes, (history["epoch"], history["seconds"].cumsum()), strict=True):
            axis.plot(x, history[name], marker=".", label=f"{row.name}, seed {seed}")
    axes[0].set(xlabel="epochs", ylabel="validation bits/dim")
    axes[1].set(xlabel="seconds")
    axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small", frameon=False)
    figure.savefig(path, dpi=120, format="png")


def _replace(path, write):
    """Writes a file in one step."""
    temporary = path.with_name(f".{path.name}.unfinished")
    write(temporary)
    os.replace(temporary, path)
