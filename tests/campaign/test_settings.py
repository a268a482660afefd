"""The campaign of wrong arguments: settings of `train` and of its data."""

import sys

import gin
import numpy as np
import pytest

import snf_tf
from snf_tf.training.optimizer import make_optimizer
from tests.campaign import kinds as k
from tests.campaign.judge import verdict

GIVEN = {
    "model": snf_tf.models.fully_connected,
    "epochs": 1,
    "learning_rate": 1e-3,
    "verbose": 0,
}
EXAMPLES = np.zeros((4, 2), "float32")
FUNCTION = (3, "fully_connected", True, [1], k.THING, float("nan"))
# Function, what it needs, and the wrong values of each argument.
TABLE = {
    "train": (
        snf_tf.training.train,
        GIVEN,
        {
            "epochs": k.SIZE,
            "batch_size": k.SIZE,
            "statistics_epochs": k.SIZE,
            "steps_per_epoch": k.OPTIONAL_SIZE,
            "gradient_accumulation_steps": k.OPTIONAL_SIZE,
            "patience": k.OPTIONAL_SIZE,
            "warmup_steps": [value for value in k.COUNT if value is not None],
            "warmup_epochs": k.AT_LEAST_0,
            "checkpoint_seconds": k.AT_LEAST_0,
            "verbose": ("x", "3", [1], 3, -1, 2.5, k.THING, float("nan")),
            "seed": (*k.SEED, -1),
            "jit_compile": k.FLAG,
            "multi_worker": k.FLAG,
            "dtype_policy": k.CHOICE,
            "conditional_on": k.OPTIONAL_CHOICE,
            "model": (None, *FUNCTION),
            "dataset": FUNCTION,
            "augmentation": FUNCTION,
            "devices": (3, "GPU:9", ["GPU:9"], [], [3], True, k.THING),
        },
    ),
    "make_optimizer": (
        make_optimizer,
        {"learning_rate": 1e-3},
        {
            "learning_rate": k.POSITIVE,
            "clip_norm": [value for value in k.POSITIVE if value is not None],
            "weight_decay": [value for value in k.AT_LEAST_0 if value is not None],
            "ema_momentum": (*k.OPTIONAL_NUMBER, -0.1, 1, 1.5),
            "beta_2": (*k.NUMBER, -0.1, 1, 1.5),
        },
    ),
    "load_dataset": (
        snf_tf.data.load_dataset,
        {"name": "toy2d/gaussian", "source": "embedded"},
        {"name": k.CHOICE, "source": k.CHOICE, "data_dir": (3, True, [1], 2.5, k.THING)},
    ),
    "load_files": (
        snf_tf.data.load_files,
        {"path": "nowhere.npy"},
        {"path": (3, True, None, [1], 2.5, k.THING), "seed": (*k.SEED, -1)},
    ),
    "batches": (snf_tf.data.batches, {"examples": EXAMPLES}, {"batch_size": k.SIZE}),
    "training_batches": (
        snf_tf.data.training_batches,
        {"examples": EXAMPLES, "batch_size": 2},
        {
            "batch_size": k.SIZE,
            "seed": k.SEED,
            "first_epoch": k.COUNT,
            "steps_per_epoch": k.OPTIONAL_SIZE,
            "first_step": k.COUNT,
        },
    ),
}
CASES = [
    (entry, argument, value)
    for entry, (_, _, wrong) in TABLE.items()
    for argument, values in wrong.items()
    for value in values
]


def call(entry, argument, value, run_dir):
    function, given, _ = TABLE[entry]
    gin.clear_config()
    gin.parse_config("load_dataset.name = 'toy2d/gaussian'\nload_dataset.source = 'embedded'")
    arguments = {**given, argument: value}
    if entry == "train":
        return lambda: function(run_dir, **arguments)
    return lambda: function(**arguments)


def verdicts(cases, tmp_path):
    return {
        f"{entry}.{argument}={value!r:.60}": found
        for entry, argument, value in cases
        if (found := verdict(call(entry, argument, value, tmp_path / "run"), argument, value))
        != "clear"
    }


@pytest.fixture(autouse=True)
def no_training(monkeypatch):
    """What is not refused before the flow is built would train."""

    def build_flow(*_):
        raise RuntimeError("This setting was not refused.")

    monkeypatch.setattr(sys.modules["snf_tf.training.train"], "build_flow", build_flow)
    yield
    gin.clear_config()


def test_every_seventh_wrong_setting_is_refused_in_words(tmp_path):
    assert verdicts(CASES[::7], tmp_path) == {}
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_every_wrong_setting_is_refused_in_words(tmp_path):
    assert verdicts(CASES, tmp_path) == {}
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verbose", [None, False, True, 0, 2, np.int64(1)])
def test_what_keras_takes_as_verbose_is_taken(verbose, tmp_path):
    with pytest.raises(RuntimeError, match="This setting was not refused"):
        call("train", "verbose", verbose, tmp_path / "run")()
