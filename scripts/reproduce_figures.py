"""The figures of the papers that `reproduce.py` makes: pictures, their data, and a few words."""

from collections.abc import Callable
from typing import NamedTuple

import figure_angles
import figures_measured
import figures_trained
import reproduce_table
import text_tables
from figure_work import Drawn, Work


class Drawing(NamedTuple):
    """How a figure is made.

    Attributes:
        title: What it shows.
        make: Draws it.
        trains: Whether its rows are trained as those of tables are, before it is drawn.
    """

    title: str
    make: Callable[[Work], Drawn]
    trains: bool = True


FIGURES = {
    "snf.2": Drawing(
        "Samples, by the exact inverse above, the learned below", figures_trained.samples
    ),
    "snf.3": Drawing("Angle to the exact gradient, step by step", figure_angles.angles, False),
    "snf.4": Drawing("Time of a step against dimension", figures_measured.times, False),
    "snf.5": Drawing("Likelihood against epochs and seconds", figures_trained.likelihoods),
    "rf.2": Drawing("What training minimises, and the likelihood", figures_trained.bias),
    "rf.3": Drawing("Memory of gradients", figures_measured.memories, False),
    "rf.4": Drawing("Derivatives of activations", figures_measured.activations, False),
    "rf.8": Drawing("Likelihood by activation", figures_trained.likelihoods),
    "rf.15": Drawing("Likelihood by order of the norm", figures_trained.norms),
    "rf.16": Drawing("Densities by order of the norm", figures_trained.densities),
    "rf.17": Drawing("Improvement by learned orders of norms", figures_trained.improvement),
}


def listing() -> str:
    """Returns all figures, and what is trained for each, as text."""
    lines = []
    for name, drawing in FIGURES.items():
        own = reproduce_table.rows(name, file=reproduce_table.FIGURES)
        lines += [f"figure {name}: {drawing.title}", *(f"  {r.name} ({r.config})" for r in own)]
    return "\n".join(lines)


def write(work: Work) -> str:
    """Writes `figure-FIGURE.png`, `.csv` and `.md`, and returns the last as text.

    Tables of the papers have the same numbers as figures, and files without the prefix.
    """
    drawing = FIGURES[work.name]
    drawn = drawing.make(work)
    title = f"# Figure {work.name}: {drawing.title}"
    if drawn.stand_ins:
        words = f"stand-in data: {', '.join(drawn.stand_ins)}"
        title += f"; {words}"
        drawn.figure.suptitle(words, fontsize="medium")
    stem = f"figure-{work.name}"
    text = f"{title}\n\n![{drawing.title}]({stem}.png)\n\n{drawn.words}\n"
    for suffix, save in (
        ("png", drawn.save),
        ("csv", lambda path: drawn.data.to_csv(path, index=False)),
        ("md", lambda path: path.write_text(text)),
    ):
        text_tables.replace(work.directory / f"{stem}.{suffix}", save)
    return text
