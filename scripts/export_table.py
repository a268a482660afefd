"""Prints what scripts/benchmark_export.py has measured as the table of docs/export.md.

python scripts/export_table.py docs/records/export.csv
"""

import csv
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median

_HEAD = (
    "| flow | method | SavedModel, ms | LiteRT, ms | ONNX, ms | LiteRT, float32 | LiteRT, float16 "
    "| ONNX |\n|---|---|---|---|---|---|---|---|"
)


def table(rows: Iterable[Mapping[str, str]]) -> str:
    """Returns a Markdown table, a line for each method of each flow."""
    found: dict[tuple[str, str], dict[str, Mapping[str, str]]] = {}
    for row in rows:
        kind = f"{row['format']} {row['weights']}"
        found.setdefault((row["flow"], row["method"]), {})[kind] = row
    lines = [_HEAD]
    for (flow, method), kinds in found.items():
        lite, half, onnx = (
            kinds[kind] for kind in ("litert float32", "litert float16", "onnx float32")
        )
        saved = [row for row in kinds.values() if row["ms_1"]]
        cells = [
            flow,
            method,
            _times(saved, "saved_model_"),
            *(_times([row] if row["ms_1"] else []) for row in (lite, onnx)),
            *(row["largest_difference"] or f"no {row['lacks']}" for row in (lite, half, onnx)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def sizes(rows: Iterable[Mapping[str, str]]) -> str:
    """Returns a Markdown table of the sizes of files, in kB."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row["method"] == "encode":
            cells = found.setdefault(row["flow"], [row["flow"], row["saved_model_kb"]])
            cells.append(row["file_kb"])
    head = "| flow | SavedModel | LiteRT, float32 | LiteRT, float16 | ONNX |"
    lines = [head, "|---|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(cells)} |" for cells in found.values())])


def _times(rows, prefix=""):
    """Returns the medians for one row and for 32: a SavedModel is timed beside every file."""
    if not rows:
        return "-"
    columns = (f"{prefix}ms_1", f"{prefix}ms_32")
    return ", ".join(f"{median(float(row[column]) for row in rows):.2f}" for column in columns)


if __name__ == "__main__":
    with Path(sys.argv[1]).open(newline="") as file:
        measured = list(csv.DictReader(file))
    print(table(measured), sizes(measured), sep="\n\n")
