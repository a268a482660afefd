"""`train`: one experiment, from a configuration to its results."""

import functools
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import gin
import keras
import tensorflow as tf

from snf_tf.data import Dataset, load_dataset, training_batches
from snf_tf.flow import Flow
from snf_tf.flow.elements import unpack
from snf_tf.training.beside import Beside
from snf_tf.training.build import build_flow
from snf_tf.training.callbacks import EpochEvaluation, Progress, RunState
from snf_tf.training.early_stopping import EarlyStopping
from snf_tf.training.health import diagnose
from snf_tf.training.interruption import StopSignals
from snf_tf.training.optimizer import make_optimizer
from snf_tf.training.report import write_report
from snf_tf.training.run_directory import RunDirectory
from snf_tf.training.settings import check_settings
from snf_tf.training.strategy import distribute_batches, is_chief, make_strategy

# The functions among train's arguments are in gin's configuration; the rest may change from call to
# call.
_NOT_SETTINGS = (
    "run_dir",
    "model",
    "dataset",
    "augmentation",
    "epochs",
    "patience",
    "devices",
    "checkpoint_seconds",
    "verbose",
)
# Examples that tell whether data are those of before, should they come from another directory.
_COMPARED = 1000
# Vectors that set data-dependent weights; images are many numbers each, and a batch is enough.
_INITIAL_VECTORS = 1000


@gin.configurable
def train(
    run_dir: str | Path,
    model: Callable[..., Flow] = gin.REQUIRED,
    epochs: int = gin.REQUIRED,
    learning_rate: float = gin.REQUIRED,
    batch_size: int = 100,
    warmup_epochs: float = 10,
    warmup_steps: int | None = None,
    steps_per_epoch: int | None = None,
    clip_norm: float | None = None,
    ema_momentum: float | None = None,
    weight_decay: float | None = None,
    gradient_accumulation_steps: int | None = None,
    beta_2: float = 0.999,
    dtype_policy: str = "float32",
    jit_compile: bool = False,
    seed: int = 0,
    devices: Sequence[str] | None = None,
    multi_worker: bool = False,
    checkpoint_seconds: float = 600.0,
    statistics_epochs: int = 10,
    augmentation: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
    verbose: int | None = None,
    dataset: Callable[[], Dataset] | None = None,
    conditional_on: str | None = None,
    patience: int | None = None,
) -> dict:
    """Trains a flow, keeps the weights of the best validation nll, and tests those.

    A `snf_tf.HybridFlow` gets the labels of the data. With `likelihood_weight = 0` its best weights
    are those of the best `val_classifier_nll`.

    Data-dependent weights are set from the first batch; where the data are vectors, from 1,000 of
    them.

    Nothing is written before configuration, data and model have been found to fit. Called again
    with the same run_dir it goes on from its last checkpoint, and on one CPU device ends with the
    weights and the history, bit for bit but for times, of a run that was never stopped. Only
    epochs, patience, devices, checkpoint_seconds, verbose and the data's directory may then differ.

    Args:
        run_dir: Directory of the run. In the end it holds `results.json`, `history.csv`,
            `operative_config.gin`, `nll.png`, `samples/*.png`, `best.weights.h5`, `checkpoints/`
            and TensorBoard's logs, `tensorboard/`.
        model: Builder of the flow, called with `event_shape=` of the data and `seed=`.
        epochs: Epochs in all, those of earlier calls with this run_dir included; may grow from call
            to call.
        learning_rate: Adam's, after warm-up.
        batch_size: Size of the global batch; with several devices a multiple of their number.
        warmup_epochs: Epochs in which the learning rate rises linearly, `lr (updates done + 1) /
            updates of the warm-up`.
        warmup_steps: The same in updates, instead.
        steps_per_epoch: Steps in an epoch; None: as many whole batches as the data have.
        clip_norm: Largest norm of all gradients together, those of penalties included.
        ema_momentum: Momentum of an exponential moving average of the weights, by which validation,
            test and samples are done.
        weight_decay: Decoupled weight decay, scaled by the learning rate.
        gradient_accumulation_steps: Steps whose gradients are averaged for one update.
        beta_2: Adam's decay of the mean of squared gradients, in [0, 1).
        dtype_policy: Keras' policy: "float32", "float64", "mixed_float16", "mixed_bfloat16".
        jit_compile: Whether XLA compiles the training step. It leaves out the check of every step:
            a loss that is not finite is found at the end of the epoch, or at a checkpoint before.
        seed: Of initial weights, order of the data, and dequantization noise.
        devices: For example `["GPU:0", "GPU:1"]`; None: as many GPUs as divide batch_size. See
            `snf_tf.training.make_strategy`.
        multi_worker: Whether this process is one of several, as TF_CONFIG says. All get the same
            arguments, and a run_dir that they share, to which only the first writes.
        checkpoint_seconds: Longest time between checkpoints; there is one at the end of every
            epoch, too.
        statistics_epochs: Statistics of every layer are taken after the first epoch, and whenever
            so many epochs are done; their columns of `history.csv` are empty elsewhere. Not after
            the last one: a run that goes on would have another history than one that was longer
            from the start.
        augmentation: Changes the batches of training; see `snf_tf.data.flip_and_shift`.
        verbose: Keras' progress bar: 0 none, 1 a bar, 2 a line an epoch; None: a bar on a terminal,
            else a line.
        dataset: Returns the data; None: `snf_tf.data.load_dataset`. In gin a function of your own,
            `@my_function`, that is decorated by `gin.configurable`, in a module that the
            configuration imports.
        conditional_on: What a flow that takes a context gets: "label" or "context", those of the
            data. None: nothing.
        patience: Epochs without a better validation after which the run ends; None: all epochs.

    Returns:
        The content of `results.json`.

    Raises:
        ValueError: If an argument does not fit the data, the devices, or what is in run_dir.
        FloatingPointError: If a loss is not finite; the message names the step and the first layer
            that is not. The last good checkpoint stays.
        snf_tf.training.interruption.Interrupted: After Ctrl-C or SIGTERM, when all has been saved.
    """
    given = {name: value for name, value in locals().items() if name not in _NOT_SETTINGS}
    run_dir = Path(run_dir)
    functions = {"model": model, "dataset": dataset, "augmentation": augmentation}
    others = {"epochs": epochs, "patience": patience, "verbose": verbose}
    check_settings(given | others | {"checkpoint_seconds": checkpoint_seconds}, functions)
    strategy = make_strategy(devices, multi_worker, batch_size)
    if batch_size % strategy.num_replicas_in_sync:
        raise ValueError(
            f"batch_size must be a multiple of the number of devices, "
            f"{strategy.num_replicas_in_sync}. "
            f"Received: batch_size={batch_size}"
        )
    keras.utils.set_random_seed(seed)
    loaded = load_dataset() if dataset is None else _checked(dataset())
    steps = len(loaded.train) // batch_size if steps_per_epoch is None else steps_per_epoch

    def data(epoch=0, step=0, part=None):
        more = beside.of("train")
        batches = training_batches(
            loaded.train, batch_size, seed, epoch, steps, step, augmentation, more, part
        )
        # Under several workers Keras would take the second of a pair for targets.
        return batches if more is None else batches.map(lambda x, y: {"x": x, beside.name: y})

    if warmup_steps is None:
        warmup_steps = int(warmup_epochs * steps) // (gradient_accumulation_steps or 1)
    with strategy.scope():
        flow = build_flow(model, loaded.event_shape, seed, dtype_policy)
        flow.compile(
            make_optimizer(
                learning_rate,
                warmup_steps,
                clip_norm,
                ema_momentum,
                weight_decay,
                gradient_accumulation_steps,
                beta_2,
            ),
            jit_compile=jit_compile,
        )
        # Before fit, which cannot build it under several workers.
        flow.optimizer.build(flow.trainable_variables)
    beside = Beside(flow, loaded, conditional_on)
    _check_labels(flow, loaded)
    # Before the configuration is written down: gin's holds the augmentation's settings only once it
    # has been called.
    first_x, first_context, *_ = unpack(next(iter(data())), flow.takes_labels)
    if len(loaded.event_shape) == 1:
        count = max(batch_size, min(_INITIAL_VECTORS, len(loaded.train)))
        contexts = beside.context_of("train")
        first_x, first_context, *_ = unpack(
            next(iter(training_batches(loaded.train, count, seed, labels=contexts)))
        )
    config = (
        f"{gin.operative_config_str()}\n# Arguments: {given}\n"
        f"# Data: {loaded.name} from {loaded.source}, {loaded.sizes}, checksum of the first: "
        f"{_checksum(loaded.train)}\n"
        "# Version of the run directory: 2\n"
    )
    directory = RunDirectory(run_dir, config, writes=is_chief(strategy))
    try:
        with StopSignals() as signals:

            def diagnosis():
                batch = next(iter(data(state.epoch, state.batch)))
                x, context, *_ = unpack(batch, flow.takes_labels)
                return diagnose(flow, x, flow.training_seed(x), context)

            state = RunState(directory, flow, signals, steps, checkpoint_seconds, diagnosis)
            if state.epoch > epochs:
                raise ValueError(
                    f"This run has done {state.epoch} epochs already. Received: epochs={epochs}"
                )
            flow.initialize(first_x, first_context)
            early_stopping = EarlyStopping(state, patience)
            callbacks = [
                EpochEvaluation(loaded, beside, statistics_epochs, directory),
                Progress(),
                state,
                early_stopping,
            ]
            if directory.writes:
                directory.write("config.gin", config)
                directory.write("operative_config.gin", gin.operative_config_str())
                callbacks.append(
                    keras.callbacks.TensorBoard(run_dir / "tensorboard", write_graph=False)
                )
            while state.epoch < epochs and not early_stopping.is_due:
                _fit(flow, strategy, data, state, callbacks, batch_size, steps, epochs, verbose)
            state.load_best()
            return write_report(directory, flow, loaded, beside, state.history.rows, signals)
    finally:
        directory.close()


def _fit(flow, strategy, data, state, callbacks, batch_size, steps, epochs, verbose):
    """Trains to the end of a begun epoch, or, where none is begun, to the last epoch."""
    try:
        flow.fit(
            distribute_batches(
                strategy, functools.partial(data, state.epoch, state.batch), batch_size
            ),
            initial_epoch=state.epoch,
            epochs=state.epoch + 1 if state.batch else epochs,
            steps_per_epoch=steps - state.batch,
            callbacks=callbacks,
            verbose=(1 if sys.stdout.isatty() else 2) if verbose is None else verbose,
        )
    except tf.errors.InvalidArgumentError as error:
        if "is not finite" not in error.message:
            raise
        raise FloatingPointError(
            f"The loss of step {state.batch + 1} of epoch {state.epoch + 1} is not finite, and "
            f"training stops; the step has "
            f"changed no trained weight, and the last checkpoint stays. "
            f"{state.diagnose()}"
        ) from None


def _checksum(examples):
    """Returns the CRC-32 of the first examples, of which some at once are in memory."""
    checksum = 0
    for first in range(0, _COMPARED, 100):
        checksum = zlib.crc32(examples[first : first + 100].tobytes(), checksum)
    return checksum


def _checked(dataset):
    if not isinstance(dataset, Dataset):
        raise ValueError(
            "dataset must be a function that returns a snf_tf.data.Dataset. "
            f"Received: what returns {type(dataset).__name__}"
        )
    return dataset


def _check_labels(flow, dataset):
    if flow.takes_labels and dataset.classes != flow.classes:
        raise ValueError(
            "A hybrid model must have as many classes as the data set. "
            f"Received: classes={flow.classes}, and {dataset.classes} in {dataset.name}"
        )
