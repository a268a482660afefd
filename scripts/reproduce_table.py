"""The rows of the papers' tables, and the tables that `reproduce.py` writes of their runs."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import command_line
import curves
import pandas as pd
import text_tables

EXPECTED = Path(__file__).parents[1] / "configs/expected.csv"
FIGURES = EXPECTED.with_name("figures.csv")
_UNITS = {"nll": "nats", "bits_per_dim": "bits/dim", "accuracy": "% accuracy"}
_OURS = ("ours", "ours on stand-in data", "stand-in data", "kind", "seeds", "epochs", "ms a step")
_DIGITS = {"nll": 2, "bits_per_dim": 4, "accuracy": 2}


class Row(NamedTuple):
    """A row of a table, or what a figure shows, and how it is trained.

    Attributes:
        name: As printed in the paper.
        config: Name of the config; empty where others have published the row.
        bindings: Settings beside the config's.
        smoke_bindings: Settings beside those of the smallest budget.
        epochs: As published, or None where the paper does not say.
        published: metric -> what is printed, with its deviation: a number, a range, or "diverged".
    """

    name: str
    config: str
    bindings: list[str]
    smoke_bindings: list[str]
    epochs: int | None
    published: dict[str, str]

    @property
    def settings_slug(self) -> str:
        """The settings, as a name of a directory: `CONFIG`, or `CONFIG-WORDS`."""
        words = re.sub(r"[^a-z0-9.]+", "-", "; ".join(self.bindings).lower()).strip("-")
        return f"{self.config}-{words}" if words else self.config


def rows(name: str, pattern: str = ".", file: Path = EXPECTED) -> list[Row]:
    """Returns the rows of a table whose names match; none may match.

    Args:
        name: Of the table, or of the figure.
        pattern: A regular expression.
        file: `EXPECTED` for tables, `FIGURES` for figures.

    Raises:
        ValueError: If the pattern is no regular expression.
    """
    try:
        is_match = re.compile(pattern).search
    except re.error as error:
        raise ValueError(
            f"--rows must be a regular expression: {error}. Received: --rows={pattern}"
        ) from None
    lines = _read(file)
    lines = lines[lines["table"] == name]
    return [
        _row(str(row), own) for row, own in lines.groupby("row", sort=False) if is_match(str(row))
    ]


def _row(name, lines):
    first = lines.iloc[0]
    return Row(
        name,
        first["config"],
        _parts(first["bindings"]),
        _parts(first.get("smoke", "")),
        int(first["epochs"]) if first["epochs"] else None,
        {
            line["metric"]: " +- ".join(filter(None, (line["value"], line["deviation"])))
            for _, line in lines.iterrows()
            if "metric" in line
        },
    )


def _parts(bindings):
    return [part.strip() for part in bindings.split(";") if part]


def row_of(config: str, bindings: Sequence[str] = ()) -> Row:
    """Returns the row of a config with these settings beside it; without numbers if none is."""
    for name in tables():
        for row in rows(name):
            is_same = row.config == config and sorted(row.bindings) == sorted(bindings)
            if is_same and set(row.published) <= set(_UNITS):
                return row
    return Row(config, config, list(bindings), [], None, {})


def tables(file: Path = EXPECTED) -> tuple[str, ...]:
    """Returns the names of all tables, or of all figures that train."""
    return tuple(dict.fromkeys(_read(file)["table"]))


def listing() -> str:
    """Returns all tables, and the rows of each, as text."""
    lines = []
    for name in tables():
        lines += [f"table {name}", *(f"  {r.name} ({r.config or 'of others'})" for r in rows(name))]
    return "\n".join(lines)


def write(
    directory: Path,
    table: str,
    rows: Sequence[Row],
    runs: Sequence[tuple[Row, int, Path]],
    failed: Mapping[Path, str],
    words: str,
    is_smoke: bool,
) -> str:
    """Writes `TABLE.md`, `.csv` and `.png`, and returns the first as text.

    Args:
        directory: Where to write them.
        table: Its name.
        rows: Those of the table; some have no config, and no run.
        runs: Row, seed and directory of every run.
        failed: Why a run has failed, by its directory.
        words: How long was trained, and with which other settings.
        is_smoke: Whether models are small: their numbers stand in, too.
    """
    from snf_tf.training.finished_run import read_results

    results: dict[str, list] = {row.name: [] for row in rows}
    reasons = {row.name: "others' model, not made here" for row in rows if not row.config}
    for row, _, path in runs:
        try:
            if path not in failed:
                results[row.name].append(read_results(path, "history.csv"))
        except (OSError, ValueError) as error:
            failed = {**failed, path: str(error)}
        if path in failed:
            reasons[row.name] = failed[path]
    lines = [
        line(row, metric, results[row.name], reasons.get(row.name, ""), is_smoke)
        for row in rows
        for metric in row.published
    ]
    stands_in = any(line["stand-in data"] for line in lines)
    title = f"# {table}" + ", in part on data that stand in for the published" * stands_in
    title += ", with small models" * is_smoke
    text = f"{title}\n\nBudget: {words}.\n\n{text_tables.markdown(lines)}\n"
    text_tables.replace(directory / f"{table}.md", lambda path: path.write_text(text))
    frame = pd.DataFrame(lines)
    text_tables.replace(directory / f"{table}.csv", lambda path: frame.to_csv(path, index=False))
    histories = {
        f"{row.name}, seed {seed}": pd.read_csv(path / "history.csv")
        for row, seed, path in runs
        if path not in failed
    }
    if histories:
        metrics = [metric for row in rows for metric in row.published]
        figure = curves.draw(histories, "nll" if "nll" in metrics else "bits_per_dim")
        if stands_in:
            figure.suptitle("in part on stand-in data", fontsize="medium")
        text_tables.replace(directory / f"{table}.png", lambda path: curves.save(figure, path))
    return text


def _read(file):
    return pd.read_csv(file, dtype=str, keep_default_na=False)


def line(
    row: Row, metric: str, results: Sequence[dict], reason: str = "", is_smoke: bool = False
) -> dict[str, object]:
    """Returns a line of a table: column -> cell, of one row and metric, over seeds.

    Args:
        row: The row.
        metric: "nll", "bits_per_dim" or "accuracy".
        results: The content of `results.json` of every run of the row.
        reason: Why there is no run, or one has failed.
        is_smoke: Whether the models are smaller than the published ones.
    """
    digits = _DIGITS[metric]
    name = f"test_{metric}"
    known = {
        "row": row.name,
        "unit": _UNITS[metric],
        "published": row.published.get(metric, ""),
    }
    data = sorted({f"{result['dataset']} ({result['source']})" for result in results})
    if len(data) > 1:
        reason = reason or f"seeds have other data: {', '.join(data)}"
    if len(data) != 1:
        return known | dict.fromkeys(_OURS, "") | {"not run": reason}
    kind = "" if metric == "accuracy" else command_line.likelihood_kind(results[0], name)
    scale = 100 if metric == "accuracy" else 1
    ours = scale * pd.Series([result[f"{name}{kind}"] for result in results])
    number = text_tables.number(ours.mean(), ours.std() if len(ours) > 1 else None, digits)
    # Images that come with a package are few, or others.
    stands_in = is_smoke or results[0]["source"] == "embedded"
    epochs = sorted({result["epochs"] for result in results})
    published_epochs = f" of {row.epochs or 'unknown'}" if row.published else ""
    milliseconds = 1e3 * pd.Series([result["seconds_per_step"] for result in results]).median()
    exact = "" if metric == "accuracy" else "exact"
    return known | {
        "ours": "" if stands_in else number,
        "ours on stand-in data": number if stands_in else "",
        "stand-in data": data[0] if stands_in else "",
        "kind": f"{kind[1:]}, 1 draw" if kind else exact,
        "seeds": len(results),
        "epochs": ", ".join(map(str, epochs)) + published_epochs,
        # Most of a few steps is tracing.
        "ms a step": "" if is_smoke else f"{milliseconds:.0f}",
        "not run": reason,
    }
