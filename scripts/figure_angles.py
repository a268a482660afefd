"""SNF Figure 3: the angle between the approximate gradient and the exact one, at each step."""

import time
import zlib
from pathlib import Path

import curves
import numpy as np
import pandas as pd
import text_tables
from figure_work import Drawn, Work
from matplotlib.figure import Figure
from reproduce_table import Row

_ROOT = Path(__file__).parents[1]
_SMOKE_STEPS = 20
# Columns of a step: the mean over layers, and the deviation.
_KINDS = ("log_det", "nll")
_SHOWN = 1000
_OPTIMIZER = ("clip_norm", "ema_momentum", "weight_decay", "beta_2")


def angles(work: Work) -> Drawn:
    """Trains each model, measures the angles in every step, and draws their mean and deviation."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    parts, lines, stand_ins = [], [], set()
    for index, row in enumerate(work.rows):
        words = "-smoke" if work.is_smoke else ""
        # Other settings are another measurement.
        words += f"-{zlib.crc32(repr(work.bindings).encode()):08x}" if work.bindings else ""
        path = work.directory / f"figure-{work.name}-{row.settings_slug}{words}.csv"
        found, stand_in = _measure(row, work, path)
        stand_ins |= {stand_in} - {None}
        parts.append(found.assign(model=row.name))
        for axes, kind in zip(panels, _KINDS, strict=True):
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


def _measure(row: Row, work: Work, path: Path) -> tuple[pd.DataFrame, str | None]:
    """Trains a model; returns its angles by step, and the data set, if it stands in for another.

    What was measured is kept in a file, and not measured again.
    """
    import gin

    from snf_tf.data import load_dataset, training_batches
    from snf_tf.training.build import build_flow
    from snf_tf.training.optimizer import make_optimizer

    gin.clear_config()
    gin.add_config_file_search_path(str(_ROOT / "configs"))
    smoke = ["include 'smoke.gin'"] if work.is_smoke else []
    gin.parse_config_files_and_bindings(
        [str(_ROOT / f"configs/{row.config}.gin")], [*smoke, *row.bindings, *work.bindings]
    )
    settings = gin.get_bindings("train")
    dataset, seed = load_dataset(), settings["seed"]
    batch = settings["batch_size"]
    epoch = len(dataset.train) // batch
    epochs = {"epochs": int(work.budget.amount)}.get(work.budget.kind, settings["epochs"])
    count = _SMOKE_STEPS if work.is_smoke else epochs * epoch
    end = float("inf")
    if work.budget.kind == "minutes":
        end = time.monotonic() + 60 * work.budget.amount / len(work.rows)
    stand_in = f"{dataset.name} ({dataset.source})" if dataset.source == "embedded" else None
    if path.is_file() and len(found := pd.read_csv(path)) >= (1 if end < float("inf") else count):
        return found, stand_in
    flow = build_flow(settings["model"], dataset.event_shape, seed)
    warmup = int(settings.get("warmup_epochs", 0) * epoch)
    given = {name: settings[name] for name in _OPTIMIZER if name in settings}
    flow.compile(make_optimizer(settings["learning_rate"], warmup, **given))
    flow.optimizer.build(flow.trainable_variables)
    data = training_batches(dataset.train, batch, seed, steps_per_epoch=epoch)
    step, lines = _make_step(flow), []
    for index, x in enumerate(data.take(count)):
        values = step(x, index)
        lines.append(
            {"step": index + 1}
            | {f"{kind}_mean": np.mean(values[kind]) for kind in _KINDS}
            | {f"{kind}_deviation": np.std(values[kind]) for kind in _KINDS}
        )
        if time.monotonic() > end:
            break
    gin.clear_config()
    found = pd.DataFrame(lines)
    text_tables.replace(path, lambda path: found.to_csv(path, index=False))
    return found, stand_in


def _make_step(flow):
    """Returns a function that trains on a batch, and returns the angles, one for every layer.

    The exact gradient of the nll is that of the step without the estimate of log|det|, plus the
    exact one of log|det|.
    """
    import keras
    import tensorflow as tf

    from snf_tf import ops
    from snf_tf.layers.bijection import follow

    layers = [leaf for leaf in flow.leaves() if leaf.has_approximate_inverse]
    kernels = [layer.kernel.value for layer in layers]
    variables = [weight.value for weight in flow.trainable_variables]

    @tf.function
    def gradients(x, seed):
        with (
            tf.GradientTape(persistent=True) as tape,
            keras.StatelessScope(collect_losses=True) as scope,
        ):
            z, log_det = flow(x, training=True, seed=seed)
            nll = -ops.batch_mean(flow.base_log_prob(z) + log_det)
            loss = tf.add_n([nll, *scope.losses])
        trained, used = tape.gradient(loss, variables), tape.gradient(nll, kernels)
        with tf.GradientTape() as tape:
            # Log-determinants of linear layers are left out: they follow below.
            log_dets = [tf.zeros((), flow.log_det_dtype)]

            def visit(step):
                if not step.layer.log_det_is_constant:
                    log_dets.append(step.log_det)

            z = follow(flow.steps(x, seed=seed), visit)
            nll = -ops.batch_mean(flow.base_log_prob(z) + sum(log_dets))
        return trained, used, tape.gradient(nll, kernels)

    @tf.function
    def estimated(layer_index, x):
        with tf.GradientTape() as tape, keras.StatelessScope():
            log_det = ops.batch_mean(layers[layer_index](x, training=True)[1])
        return tape.gradient(log_det, kernels[layer_index])

    def exact(layer):
        # Eagerly: a graph of exact gradients of convolutions compiles slowly.
        with tf.GradientTape() as tape:
            log_det = layer.constant_log_det()
        return tape.gradient(log_det, layer.kernel.value)

    def step(x, index):
        trained, used, data = gradients(x, ops.row_seed(flow.seed, index))
        found = {kind: [] for kind in _KINDS}
        for place, layer in enumerate(layers):
            of_log_det = exact(layer)
            one = tf.ones((1, *layer.event_shape), layer.compute_dtype)
            found["log_det"].append(float(ops.angle(estimated(place, one), of_log_det)))
            found["nll"].append(float(ops.angle(used[place], data[place] - of_log_det)))
        flow.optimizer.apply(trained, flow.trainable_variables)
        return found

    return step


def _thinned(found):
    """Returns about a thousand steps at most, for the picture: means of neighbours."""
    width = -(-len(found) // _SHOWN)
    return found.groupby((found["step"] - 1) // width).mean()
