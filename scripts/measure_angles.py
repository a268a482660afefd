"""Trains a model and measures, in each step, the angle of its gradient to the exact one."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import text_tables
from figure_work import Work
from reproduce_table import Row

_ROOT = Path(__file__).parents[1]
# The gradients of a step: of log|det|, and of the nll.
KINDS = ("log_det", "nll")
_SMOKE_STEPS = 20
_OPTIMIZER = ("clip_norm", "ema_momentum", "weight_decay", "beta_2")
_SAVED_EVERY = 60.0


def measure(row: Row, work: Work, path: Path) -> tuple[pd.DataFrame, str | None]:
    """Trains a model, and measures the angles of its layers in every step.

    What was measured is kept, with the state of the training: a call that was killed goes on, and
    one that is done is not repeated.

    Args:
        row: What is trained.
        work: The figure; of its budget, models share minutes.
        path: Where the table is kept, its state beside it.

    Returns:
        `(found, stand_in)`: a table of step, seconds since the first one, and for each of `KINDS`
        the mean and the deviation over layers; and the data set, if it stands in for another.
    """
    import gin
    import keras

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
    count, end = _SMOKE_STEPS if work.is_smoke else epochs * epoch, float("inf")
    if work.budget.kind == "minutes":
        end = 60 * work.budget.amount / len(work.rows)
    stand_in = f"{dataset.name} ({dataset.source})" if dataset.source == "embedded" else None
    found = _kept(path)
    if len(found) >= count or found["seconds"].max() >= end:
        return found, stand_in
    keras.utils.set_random_seed(seed)
    flow = build_flow(settings["model"], dataset.event_shape, seed)
    warmup = int(settings.get("warmup_epochs", 0) * epoch)
    given = {name: settings[name] for name in _OPTIMIZER if name in settings}
    flow.compile(make_optimizer(settings["learning_rate"], warmup, **given))
    flow.optimizer.build(flow.trainable_variables)
    gin.clear_config()
    lines = _restore(flow, found, path)
    step, begun = _make_step(flow), time.monotonic() - (lines[-1]["seconds"] if lines else 0.0)
    data = training_batches(dataset.train, batch, seed, first_step=len(lines))
    saved = time.monotonic()
    for index, x in enumerate(data.take(count - len(lines)), len(lines)):
        values = step(x, index)
        lines.append(
            {"step": index + 1, "seconds": time.monotonic() - begun}
            | {f"{kind}_mean": np.mean(values[kind]) for kind in KINDS}
            | {f"{kind}_deviation": np.std(values[kind]) for kind in KINDS}
        )
        if lines[-1]["seconds"] >= end:
            break
        if time.monotonic() - saved > _SAVED_EVERY:
            _save(flow, lines, path)
            saved = time.monotonic()
    _save(flow, lines, path)
    return pd.DataFrame(lines), stand_in


def _kept(path):
    """Returns the table that was kept; an empty one if there is none."""
    if not path.is_file():
        return pd.DataFrame({"seconds": []})
    try:
        return pd.read_csv(path)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: remove it to measure anew. ({error})") from None


def _state(path):
    return path.with_suffix(".npz")


def _save(flow, lines, path):
    """Keeps the table, then the state of its last step: a longer table loses its end again."""
    text_tables.replace(path, lambda path: pd.DataFrame(lines).to_csv(path, index=False))
    values = [variable.numpy() for variable in (*flow.variables, *flow.optimizer.variables)]

    def write(path):
        with open(path, "wb") as file:
            np.savez(file, *values, steps=len(lines))

    text_tables.replace(_state(path), write)


def _restore(flow, found, path):
    """Returns the lines of the steps that were kept, and restores the state after them."""
    if not _state(path).is_file():
        return []
    variables = (*flow.variables, *flow.optimizer.variables)
    try:
        with np.load(_state(path)) as kept:
            for index, variable in enumerate(variables):
                variable.assign(kept[f"arr_{index}"])
            return found[: int(kept["steps"])].to_dict("records")
    # NumPy and zipfile raise errors of many kinds.
    except Exception as error:
        raise ValueError(
            f"{_state(path)} is damaged: remove it to measure anew. ({error})"
        ) from None


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
        found = {kind: [] for kind in KINDS}
        for place, layer in enumerate(layers):
            of_log_det = exact(layer)
            one = tf.ones((1, *layer.event_shape), layer.compute_dtype)
            found["log_det"].append(float(ops.angle(estimated(place, one), of_log_det)))
            found["nll"].append(float(ops.angle(used[place], data[place] - of_log_det)))
        flow.optimizer.apply(trained, flow.trainable_variables)
        return found

    return step
