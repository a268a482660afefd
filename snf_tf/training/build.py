"""The flow of a run: made for training, or found again when it is done."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import gin
import keras

from snf_tf.data import Dataset, load_dataset
from snf_tf.flow import Flow
from snf_tf.training.finished_run import read_results
from snf_tf.training.settings import check_model
from snf_tf.training.stored_config import check_data_bindings, parse_stored_config
from snf_tf.training.weights_file import load_with_weights

_WEIGHTS = "best.weights.h5"
_LARGEST_EVENT = 10_000_000


def build_flow(
    model: Callable[..., Flow],
    event_shape: tuple[int, ...],
    seed: int = 0,
    dtype_policy: str = "float32",
) -> Flow:
    """Calls a builder of flows; its layers have the dtype policy.

    Raises:
        ValueError: If model is no function, dtype_policy is unknown, or gin sets event_shape or
            seed of the builder.
    """
    check_model(model, dtype_policy)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype_policy)
    try:
        return model(event_shape=event_shape, seed=seed)
    finally:
        keras.config.set_dtype_policy(before)


def load_run(run_dir: str | Path, gin_bindings: Sequence[str] = ()) -> Flow:
    """Loads the flow of a finished run. gin's configuration becomes that of the run: `load_data()`
    loads its data.

    The directory may come from a stranger: its files are data, of which nothing is run. Modules of
    your own, which the run's configuration imports, must be imported in `gin_bindings`.

    Args:
        run_dir: Directory of the run.
        gin_bindings: Settings of its data that override those of the run, for example where they
            are now.

    Returns:
        The flow, with the weights that were tested.

    Raises:
        FileNotFoundError: If the run has not come to its end.
        ValueError: If a file is damaged, or holds what is no data. If the run had settings that
            were not gin's.
    """
    run_dir = Path(run_dir)
    results = read_results(run_dir, _WEIGHTS)
    gin.clear_config()
    check_data_bindings(gin_bindings)
    # Twice: modules must be imported before, and settings must override.
    gin.parse_config(gin_bindings)
    parse_stored_config(results["config"], str(run_dir / "results.json"))
    if gin.get_bindings("train").get("dataset") is None and gin.get_bindings("load_dataset"):
        # The source that was found, should it have been "auto".
        gin.bind_parameter("load_dataset.source", results.get("source"))
    # Where files are written, the user says, whatever function loads the data.
    for function in ("load_dataset", "load_files"):
        if "cache_dir" in gin.get_bindings(function):
            gin.bind_parameter(f"{function}.cache_dir", None)
    gin.parse_config(gin_bindings)
    settings = gin.get_bindings("train")
    missing = [name for name in ("model", "seed", "dtype_policy") if name not in settings]
    if missing:
        raise ValueError(
            f"This run was started in Python, with {' and '.join(missing)} given in the call, "
            f"which its configuration does not "
            f"hold: build the flow as then, and flow.load_weights('{run_dir / _WEIGHTS}')"
        )
    shape = tuple(results["event_shape"])
    sizes = [isinstance(size, int) and not isinstance(size, bool) and size >= 1 for size in shape]
    if not all(sizes) or math.prod(shape) > _LARGEST_EVENT:
        raise ValueError(
            f"event_shape in {run_dir / 'results.json'} must be positive integers, of at most "
            f"{_LARGEST_EVENT} in all. Received: event_shape={list(shape)}"
        )

    def build():
        try:
            given = settings["model"], shape, settings["seed"], settings["dtype_policy"]
            return build_flow(*given)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"The configuration in {run_dir / 'results.json'} must build a flow. "
                f"Received: {str(error).splitlines()[0]}"
            ) from None

    return load_with_weights(build, run_dir / _WEIGHTS)


def load_data() -> Dataset:
    """Loads the data that gin's configuration names: by `train.dataset`, else `load_dataset`.

    Raises:
        ValueError: If it names none, as that of a run whose `dataset` was given in Python.
    """
    function = gin.get_bindings("train").get("dataset")
    if function is None and not gin.get_bindings("load_dataset"):
        raise ValueError(
            "The configuration names no data: those of the run were given in Python. Give "
            "--gin_bindings='load_dataset.name=\"mnist\"', or the like."
        )
    return load_dataset() if function is None else function()
