"""SNF Figure 3: the angle between the approximate gradient and the exact one, at each step."""

import curves
import numpy as np
import pandas as pd
import text_tables
from figure_work import Drawn, Work
from matplotlib.figure import Figure
from measure_angles import KINDS, measure
from reproduce_runs import suffix

_SHOWN = 1000


def angles(work: Work) -> Drawn:
    """Trains each model, measures the angles in every step, and draws their mean and deviation."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    parts, lines, stand_ins = [], [], set()
    for index, row in enumerate(work.rows):
        words = suffix(work.budget, work.bindings)
        path = work.directory / f"figure-{work.name}-{row.settings_slug}{words}.csv"
        found, stand_in = measure(row, work, path)
        stand_ins |= {stand_in} - {None}
        parts.append(found.assign(model=row.name))
        for axes, kind in zip(panels, KINDS, strict=True):
            shown = _thinned(found)
            mean, deviation = shown[f"{kind}_mean"], shown[f"{kind}_deviation"]
            axes.plot(shown["step"], mean, color=f"C{index}", label=row.name)
            low = np.maximum(mean - deviation, 1e-3)
            axes.fill_between(
                shown["step"], low, mean + deviation, color=f"C{index}", alpha=0.25, linewidth=0
            )
            under = curves.under(found.set_index("step")[f"{kind}_mean"])
            lines.append(
                {
                    "model": row.name,
                    "gradient": {"log_det": "of log det", "nll": "of the nll"}[kind],
                    "steps": len(found),
                    "first, degrees": f"{found[f'{kind}_mean'].iloc[0]:.3g}",
                    "largest": f"{found[f'{kind}_mean'].max():.3g}",
                    "last": f"{found[f'{kind}_mean'].iloc[-1]:.3g}",
                    "under 1 degree from step": "not yet" if under is None else under,
                }
            )
    for axes, title in zip(panels, ("log|det|", "nll, on the batch of the step"), strict=True):
        axes.set_yscale("log")
        # The shade may reach zero.
        axes.set_ylim(min(line.get_ydata().min() for line in axes.lines) / 3)
        axes.axhline(1.0, color="0.6", linewidth=0.8)
        axes.set(title=f"gradient of {title}", xlabel="step")
        axes.grid(alpha=0.3)
        axes.legend()
    panels[0].set_ylabel("angle to the exact gradient (degrees)")
    words = (
        "The angle of the gradient by a kernel: that of the step, penalty left out, to the exact "
        "one, with the examples and the noise of the step. Mean over layers; the shade is their "
        "standard deviation. The last column is the first step from which the mean stays under 1 "
        f"degree.\n\n{text_tables.markdown(lines)}"
    )
    return Drawn(figure, pd.concat(parts), words, sorted(stand_ins))


def _thinned(found):
    """Returns about a thousand steps at most, for the picture: means of neighbours."""
    width = -(-len(found) // _SHOWN)
    return found.groupby((found["step"] - 1) // width).mean()
