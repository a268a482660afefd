"""Runs that are killed, stopped, damaged or changed, and started again."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import gin
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import snf_tf
import snf_tf.training
from snf_tf.training.checkpoints import Checkpoints
from tests.mnist_files import write_idx
from tests.training.run_files import assert_same_end, history

ROOT = Path(__file__).parents[2]
EVERYTHING = [
    "train.clip_norm = 100.0",
    "train.ema_momentum = 0.9",
    "train.gradient_accumulation_steps = 2",
]


def interrupt(_):
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ("step", "equipment"),
    [
        (4, []),
        pytest.param(7, [], marks=pytest.mark.slow),
        pytest.param(2, EVERYTHING, marks=pytest.mark.slow),
        pytest.param(4, ['fully_connected.inverse_method = "projected"'], marks=pytest.mark.slow),
        pytest.param(
            4, ['fully_connected.inverse_method = "newton_schulz"'], marks=pytest.mark.slow
        ),
        pytest.param(
            4,
            [
                "train.model = @convolutional",
                'convolutional.inverse_method = "least_squares"',
                "convolutional.depth = 1",
            ],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_stopped_run_ends_like_one_that_was_not(run, tmp_path, stop_at, step, equipment):
    reference = run("train.epochs = 3", *equipment, run_dir=tmp_path / "reference")
    stop_at(step, interrupt)
    with pytest.raises(
        snf_tf.training.Interrupted, match=r"step \d of epoch \d\. All is saved"
    ) as stopped:
        run("train.epochs = 3", *equipment)
    assert stopped.value.signal_number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    results = run("train.epochs = 3", *equipment)
    assert_same_end(tmp_path / "run", tmp_path / "reference")
    for name in ("test_nll", "best_val_nll", "epochs"):
        assert results[name] == reference[name]


def test_a_run_belongs_to_its_configuration(run, tmp_path):
    run("train.epochs = 2")
    for change in (
        "train.learning_rate = 2e-3",
        'fully_connected.linear = "exact"',
        "train.seed = 1",
    ):
        with pytest.raises(
            ValueError,
            match=r"another configuration(.|\n)*\n\+" + change.split(" ")[0].replace(".", r"\."),
        ):
            run("train.epochs = 2", change)
    with pytest.raises(ValueError, match=r"has done 2 epochs already\. Received: epochs=1"):
        run("train.epochs = 1")


@pytest.mark.slow
def test_epochs_may_be_a_macro(run):
    for epochs in (1, 2):
        assert run("train.epochs = %length", f"length = {epochs}")["epochs"] == epochs


@pytest.mark.slow
def test_devices_and_places_may_change(run, tmp_path):
    # Longer than a line of gin's configuration.
    moved = tmp_path / ("a-long-name-" * 8)
    here = f'load_dataset.data_dir = "{moved}"'
    reference = run("train.epochs = 2", run_dir=tmp_path / "reference")
    run("train.epochs = 1", "train.devices = ['CPU:0', 'CPU:1']")
    shutil.move(tmp_path / "data", moved)
    results = run("train.epochs = 2", "train.checkpoint_seconds = 7.0", here)
    assert results["devices"] == ["CPU:0"]
    assert results["test_nll"] == pytest.approx(reference["test_nll"], rel=1e-4)
    write_idx(moved / "train-images-idx3-ubyte.gz", np.zeros((60, 28, 28), "uint8"))
    with pytest.raises(ValueError, match=r"another configuration(.|\n)*\+# Data: .*checksum"):
        run("train.epochs = 3", here)


def test_a_run_of_an_older_version_is_refused(run, tmp_path):
    run("train.epochs = 1")
    config = tmp_path / "run/config.gin"
    config.write_text(config.read_text().replace("# Version of the run directory: 2\n", ""))
    with pytest.raises(ValueError, match=r"another version of snf_tf(.|\n)*\+# Version"):
        run("train.epochs = 2")


@pytest.mark.slow
def test_a_process_killed_between_history_and_checkpoint(run, tmp_path, monkeypatch):
    run("train.epochs = 3", run_dir=tmp_path / "reference")
    save = Checkpoints.save

    def killed(self, state):
        if state["epoch"] == 2:
            raise KeyboardInterrupt
        save(self, state)

    monkeypatch.setattr(Checkpoints, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        run("train.epochs = 3")
    assert len(history(tmp_path / "run")) == 2
    monkeypatch.undo()
    with open(tmp_path / "run/history.csv", "a") as file:
        file.write("3,0.1")
    run("train.epochs = 3")
    assert_same_end(tmp_path / "run", tmp_path / "reference")


def test_one_process_at_a_time(run, tmp_path, stop_at):
    def second(_):
        code = (
            "import sys, pathlib, snf_tf.training.run_directory as r; path = "
            "pathlib.Path(sys.argv[1]); "
            "r.RunDirectory(path, (path / 'config.gin').read_text())"
        )
        arguments = [sys.executable, "-c", code, str(tmp_path / "run")]
        done = subprocess.run(
            arguments, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
        assert "Another process is running in this run_dir" in done.stderr

    stop_at(0, second)
    run("train.epochs = 1")


@gin.configurable
def with_bijector(event_shape, seed):
    bijector = tfp.bijectors.Chain(
        [
            tfp.bijectors.Shift(tf.Variable(tf.zeros(784))),
            tfp.bijectors.Scale(tf.Variable(tf.ones(784))),
        ]
    )
    bijections = [
        snf_tf.layers.Dequantize(),
        snf_tf.layers.Scale(1 / 256),
        snf_tf.layers.Logit(),
        snf_tf.layers.Flatten(),
    ]
    return snf_tf.Flow(
        [*bijections, snf_tf.layers.FromBijector(bijector), snf_tf.layers.RelativeGradientDense()],
        event_shape,
        seed=seed,
    )


@pytest.mark.slow
def test_a_run_with_a_tfp_bijector_goes_on(run, tmp_path, stop_at):
    run("train.epochs = 2", model="with_bijector", run_dir=tmp_path / "reference")
    stop_at(3, interrupt)
    with pytest.raises(snf_tf.training.Interrupted):
        run("train.epochs = 2", model="with_bijector")
    run("train.epochs = 2", model="with_bijector")
    assert_same_end(tmp_path / "run", tmp_path / "reference")
