"""The flow of a run: made for training, or found again when it is done."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import gin
import keras

from snf_tf.data import Dataset, load_dataset
from snf_tf.flow import Flow


def build_flow(
    model: Callable[..., Flow],
    event_shape: tuple[int, ...],
    seed: int = 0,
    dtype_policy: str = "float32",
) -> Flow:
    """Calls a builder of flows; its layers have the dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype_policy)
    try:
        return model(event_shape=event_shape, seed=seed)
    finally:
        keras.config.set_dtype_policy(before)


def load_run(run_dir: str | Path, gin_bindings: Sequence[str] = ()) -> Flow:
    """Loads the flow of a finished run. gin's configuration becomes that of the run: `load_data()`
    loads its data.

    Args:
        run_dir: Directory of the run.
        gin_bindings: Settings that override those of the run, for example where its data are now.

    Returns:
        The flow, with the weights that were tested.

    Raises:
        FileNotFoundError: If the run has not come to its end.
        ValueError: If the run had settings that were not gin's.
    """
    run_dir = Path(run_dir)
    missing = [
        name for name in ("results.json", "best.weights.h5") if not (run_dir / name).is_file()
    ]
    if missing:
        raise FileNotFoundError(
            f"This is no directory of a run that has come to its end: there is no "
            f"{' and no '.join(missing)}. "
            f"Received: run_dir={run_dir}"
        )
    results = json.loads((run_dir / "results.json").read_text())
    gin.clear_config()
    gin.parse_config(results["config"])
    if "dataset" not in gin.get_bindings("train"):
        # The source that was found, should it have been "auto".
        gin.parse_config(f'load_dataset.source = "{results["source"]}"')
    gin.parse_config(gin_bindings)
    settings = gin.get_bindings("train")
    missing = [name for name in ("model", "seed", "dtype_policy") if name not in settings]
    if missing:
        raise ValueError(
            f"This run was started in Python, with {' and '.join(missing)} given in the call, "
            f"which its configuration does not "
            f"hold: build the flow as then, and flow.load_weights('{run_dir}/best.weights.h5')"
        )
    flow = build_flow(
        settings["model"], tuple(results["event_shape"]), settings["seed"], settings["dtype_policy"]
    )
    flow.load_weights(run_dir / "best.weights.h5")
    return flow


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
