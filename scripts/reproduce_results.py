"""The page of results, made of the records that `reproduce_records.py` keeps."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import curves
import pandas as pd
import reproduce_table
import text_tables
from reproduce_records import PAGE, Group, records

_BEGIN, _END = "<!-- results: begin -->", "<!-- results: end -->"
# The exact gradient that the runs of a family are compared with.
_EXACT = {"mnist_fc": "mnist_fc_exact", "mnist_conv": "mnist_conv_exact"}
_EXACT["mnist_glow"] = "mnist_glow_conv1x1"
# From here on closed forms of the inverse are compared.
_FROM = 10
_INTRODUCTION = """# Results

<!-- Written by `python scripts/reproduce.py --results`; edit the records, not this page. -->

Runs of the papers' models, published numbers beside ours. The runs are shorter than the published
ones: the column of epochs says how much. Each likelihood is that of the test set, at the epoch of
the best validation, as in the papers. Each is one command:

```bash
python scripts/train.py --gin_file=configs/mnist_fc.gin --gin_bindings=train.epochs=100 \\
    --gin_bindings='load_dataset.source="files"' \\
    --gin_bindings='load_dataset.data_dir="data/mnist"' \\
    --run_dir=runs/mnist_fc-seed0
python scripts/reproduce.py --record=runs/mnist_fc-seed0   # keeps its history and its results
python scripts/reproduce.py --results                      # writes this page
```

`docs/records` holds the history and the results of every run, without weights. The machine had two
CPU cores. Other work ran beside these runs, and not the same beside each: their own times are in
the records, and say nothing. Milliseconds of a step are those of `docs/records/step_ms.csv`, which
`scripts/benchmark.py` measured without other work. Curves against seconds are steps times these.
A run with fewer epochs than its neighbours ended with the time that there was: compare at equal
epochs.
"""


def write(docs: Path) -> str:
    """Writes `results.md` and its curves, and quotes its table in a README; returns the page.

    Args:
        docs: Directory of the page, with records and remarks in `records`. The README lies beside
            it, if there is one, and has two marks around what is quoted.

    Raises:
        ValueError: If a record is damaged, or the README has no marks.
    """
    groups, milliseconds = records(docs / "records"), _step_milliseconds(docs / "records")
    families = [*_EXACT, *sorted({_family(group) for group in groups} - set(_EXACT))]
    groups.sort(key=lambda group: (families.index(_family(group)), group.name))
    table = text_tables.markdown([_line(group, milliseconds) for group in groups], drop_empty=True)
    parts = [_INTRODUCTION, f"{table}\n"]
    for family in dict.fromkeys(map(_family, groups)):
        own = [group for group in groups if _family(group) == family]
        picture = f"results_{family}.png"
        histories = {group.name: group.histories[0] for group in own}
        seconds = {
            group.name: float(milliseconds[group.config]) / 1000
            for group in own
            if group.config in milliseconds and not group.settings
        }
        figure = curves.draw(histories, angles=True, step_seconds=seconds)
        text_tables.replace(docs / picture, functools.partial(curves.save, figure))
        parts.append(f"## {family}\n\n![curves of {family}]({picture})\n")
        if lines := _differences(own, _EXACT.get(family)):
            parts.append(
                "Validation nll less that of the exact gradient, after the same epochs. The "
                f"largest difference is that from epoch {_FROM} on.\n\n"
                f"{text_tables.markdown(lines)}\n"
            )
        if lines := _angles(own):
            parts.append(
                "Angle between the gradient of log|det| that the step used and the exact one. It "
                "is in degrees, the mean over layers, in the epochs that measured it. The fifth "
                "column is the first epoch from which it stays under 1. The last is the angle of "
                "the whole loss, penalty included, to the exact gradient of the nll.\n\n"
                f"{text_tables.markdown(lines)}\n"
            )
        remarks = docs / f"records/{family}.md"
        if remarks.is_file():
            parts.append(remarks.read_text())
    for path in sorted((docs / "records").glob("*.md")):
        if PAGE.fullmatch(path.name):
            parts.append(f"#{path.read_text().replace('](figure-', '](records/figure-')}")
    page = "\n".join(parts)
    text_tables.replace(docs / "results.md", lambda path: path.write_text(page))
    readme = docs.parent / "README.md"
    if readme.is_file():
        text = _quoted(readme.read_text(), table, str(readme))
        text_tables.replace(readme, lambda path: path.write_text(text))
    return page


def _quoted(text, table, name):
    """Returns a page whose text between the marks is the table."""
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not end:
        raise ValueError(f"The README must have the lines {_BEGIN} and {_END}. Received: {name}")
    return f"{before}{begin}\n{table}\n{end}{after}"


def _family(group):
    return next((family for family in _EXACT if group.config.startswith(family)), group.config)


def _step_milliseconds(directory: Path) -> dict[str, str]:
    """Returns config -> milliseconds of a step on a quiet machine, as `benchmark.py` found them."""
    file = directory / "step_ms.csv"
    return (
        pd.read_csv(file, dtype=str).set_index("config")["ms"].to_dict() if file.is_file() else {}
    )


def _line(group: Group, milliseconds: Mapping[str, str]) -> dict[str, object]:
    row = reproduce_table.row_of(group.config, group.settings)
    metric = next(iter(row.published), "nll")
    line = reproduce_table.line(row, metric, group.results)
    del line["row"], line["not run"]
    # Other work ran beside the runs.
    line["ms a step"] = "" if group.settings else milliseconds.get(group.config, "")
    return {
        "config": f"`{group.config}`",
        "settings": ", ".join(f"`{setting}`" for setting in group.settings),
    } | line


def _differences(groups: Sequence[Group], exact: str | None) -> list[dict[str, Any]]:
    """Compares validation with that of the exact gradient, over the epochs that both have."""
    # By their settings: a model of another size has an exact run of its own.
    references = {tuple(group.settings): group for group in groups if group.config == exact}
    lines = []
    for group in groups:
        history = group.histories[0].set_index("epoch")
        reference = references.get(tuple(group.settings), references.get(()))
        if reference is None or reference is group or "val_nll" not in history:
            continue
        expected = reference.histories[0].set_index("epoch")["val_nll"]
        difference = (history["val_nll"] - expected).dropna()
        late = difference[difference.index >= _FROM]
        last = difference.index[-1]
        largest = late.abs().idxmax() if len(late) else None
        lines.append(
            {
                "run": f"`{group.name}`",
                "epochs": last,
                "at the last common epoch, nats": f"{difference[last]:+.2f}",
                "the same, %": f"{100 * difference[last] / expected[last]:+.2f}",
                "largest, nats": "" if largest is None else f"{late[largest]:+.2f}",
                "at epoch": "" if largest is None else largest,
            }
        )
    return lines


def _angles(groups: Sequence[Group]) -> list[dict[str, Any]]:
    lines = []
    for group in groups:
        angles = curves.mean_angles(group.histories[0])
        # That of an exact method is rounding alone.
        if len(angles) < 2:
            continue
        of_loss = curves.mean_angles(group.histories[0], "the loss")
        under = curves.under(angles)
        lines.append(
            {
                "run": f"`{group.name}`",
                "first": f"{angles.iloc[0]:.3g}, epoch {angles.index[0]}",
                "largest": f"{angles.max():.3g}, epoch {angles.idxmax()}",
                "last": f"{angles.iloc[-1]:.3g}, epoch {angles.index[-1]}",
                "under 1 from": "not yet" if under is None else under,
                "of the loss, last": f"{of_loss.iloc[-1]:.3g}, epoch {of_loss.index[-1]}",
            }
        )
    return lines
