"""Prints what scripts/benchmark_export.py has measured as the table of docs/export.md.

python scripts/export_table.py docs/records/export.csv
"""

import csv
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

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
        saved = next((row for row in kinds.values() if row["ms_1"]), None)
        cells = [
            flow,
            method,
            _times(saved, "saved_model_") if saved else "-",
            *(_times(row) if row["ms_1"] else "-" for row in (lite, onnx)),
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


def _times(row, prefix=""):
    return f"{row[f'{prefix}ms_1']}, {row[f'{prefix}ms_32']}"


if __name__ == "__main__":
    with Path(sys.argv[1]).open(newline="") as file:
        measured = list(csv.DictReader(file))
    print(table(measured), sizes(measured), sep="\n\n")
