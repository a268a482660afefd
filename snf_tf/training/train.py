"""`train`: one experiment, from a configuration to its results."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import gin
import keras

from snf_tf.data import batches, load_dataset, training_batches
from snf_tf.flow import Flow
from snf_tf.training.callbacks import RunState, TrainNll
from snf_tf.training.report import write_report
from snf_tf.training.strategy import make_strategy

_TRAIN_SUBSET = 1000
_EVALUATION_BATCH = 500


@gin.configurable
def train(
    run_dir: str | Path,
    model: Callable[..., Flow] = gin.REQUIRED,
    epochs: int = gin.REQUIRED,
    learning_rate: float = gin.REQUIRED,
    batch_size: int = 100,
    warmup_epochs: int = 10,
    steps_per_epoch: int | None = None,
    seed: int = 0,
    devices: Sequence[str] | None = None,
    verbose: int | None = None,
) -> dict:
    """Trains a flow, keeps the weights of the best validation nll, and tests those.

    Nothing is written before configuration, data and model have been found to fit. Called again with the same run_dir it goes on
    after the last finished epoch.

    Args:
        run_dir: Directory of the run. In the end it holds `results.json`, `history.csv`, `operative_config.gin`, `nll.png`,
            `samples/*.png`, `checkpoints/` and TensorBoard's logs, `tensorboard/`.
        model: Builder of the flow, called with `event_shape=` of the data and `seed=`.
        epochs: Epochs in all, those of an earlier call with this run_dir included.
        learning_rate: Adam's, after warm-up.
        batch_size: Size of the global batch; with several devices a multiple of their number.
        warmup_epochs: Epochs in which the learning rate rises linearly, `lr (steps done + 1) / steps of the warm-up`.
        steps_per_epoch: Steps in an epoch; None: as many whole batches as the data have.
        seed: Of initial weights, order of the data, and dequantization noise.
        devices: See `snf_tf.training.make_strategy`.
        verbose: Keras' progress bar: 0 none, 1 a bar, 2 a line an epoch; None: a bar on a terminal, else a line.

    Returns:
        The content of `results.json`.

    Raises:
        ValueError: If an argument does not fit the data or the devices.
        FloatingPointError: If the validation nll of an epoch is not finite.
    """
    run_dir = Path(run_dir)
    _check_counts(epochs=epochs, batch_size=batch_size, steps_per_epoch=1 if steps_per_epoch is None else steps_per_epoch)
    if not callable(model):
        raise ValueError(f"model must be a function that builds a Flow, in gin such as @fully_connected. Received: model={model!r}")
    if not warmup_epochs >= 0:
        raise ValueError(f"warmup_epochs must not be negative. Received: warmup_epochs={warmup_epochs}")
    if not (isinstance(learning_rate, int | float) and learning_rate > 0):
        raise ValueError(f"learning_rate must be a positive number. Received: learning_rate={learning_rate!r}")
    keras.utils.set_random_seed(seed)
    strategy = make_strategy(devices)
    if batch_size % strategy.num_replicas_in_sync:
        raise ValueError(
            f"batch_size must be a multiple of the number of devices, {strategy.num_replicas_in_sync}. "
            f"Received: batch_size={batch_size}"
        )
    dataset = load_dataset()
    steps = len(dataset.train) // batch_size if steps_per_epoch is None else steps_per_epoch
    data = training_batches(dataset.train, batch_size, seed)
    with strategy.scope():
        flow = model(event_shape=dataset.event_shape, seed=seed)
        flow.compile(keras.optimizers.Adam(_warm_up(learning_rate, warmup_epochs * steps), beta_1=0.9, beta_2=0.999, epsilon=1e-8))
        run_dir.mkdir(parents=True, exist_ok=True)
        state = RunState(run_dir, flow)
    flow.initialize(next(iter(data)))
    (run_dir / "operative_config.gin").write_text(gin.operative_config_str())
    if state.epochs_done < epochs:
        flow.fit(
            training_batches(dataset.train, batch_size, seed, first_epoch=state.epochs_done),
            initial_epoch=state.epochs_done,
            epochs=epochs,
            steps_per_epoch=steps,
            validation_data=batches(dataset.validation, _EVALUATION_BATCH),
            callbacks=[
                TrainNll(dataset.train[:_TRAIN_SUBSET]),
                state,
                keras.callbacks.TensorBoard(run_dir / "tensorboard", write_graph=False),
            ],
            verbose=(1 if sys.stdout.isatty() else 2) if verbose is None else verbose,
        )
    flow.load_weights(state.best_weights)
    return write_report(run_dir, flow, dataset, state.history)


def _check_counts(**counts):
    for name, value in counts.items():
        if not (isinstance(value, int) and value >= 1):
            raise ValueError(f"{name} must be an integer of at least 1. Received: {name}={value!r}")


def _warm_up(learning_rate: float, steps: int):
    """A learning rate that rises linearly to its value: `learning_rate * (steps done + 1) / steps`."""
    if steps <= 1:
        return learning_rate
    return keras.optimizers.schedules.PolynomialDecay(
        initial_learning_rate=learning_rate / steps, decay_steps=steps - 1, end_learning_rate=learning_rate
    )
