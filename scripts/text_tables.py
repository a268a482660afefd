"""Numbers, tables and files as the pages of `reproduce.py` have them."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def number(value: float, deviation: float | None, digits: int) -> str:
    """Writes a number, with its deviation where there is one.

    Args:
        value: The number.
        deviation: Its standard deviation.
        digits: After the point.
    """
    return f"{value:.{digits}f}" + ("" if deviation is None else f" +- {deviation:.{digits}f}")


def markdown(lines: Sequence[Mapping[str, object]], drop_empty: bool = False) -> str:
    """Writes lines of the same columns as a table of Markdown.

    Args:
        lines: Column -> cell; at least one line.
        drop_empty: Whether columns without any cell are left out.
    """
    names = [name for name in lines[0] if not drop_empty or any(line[name] for line in lines)]
    cells = [names, ["---"] * len(names), *([str(line[name]) for name in names] for line in lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file in one step, by a function that takes a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.unfinished")
    write(temporary)
    os.replace(temporary, path)
