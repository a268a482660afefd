"""Runs: what they leave behind, how they continue, and that nothing is written for a run that
cannot be.
"""

import csv
import json

import numpy as np
import pytest

import snf_tf.training


def history(run_dir):
    with open(run_dir / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "model", ["fully_connected", pytest.param("convolutional", marks=pytest.mark.slow)]
)
def test_what_a_run_leaves(run, tmp_path, model):
    results = run("train.epochs = 2", model=model)
    run_dir = tmp_path / "run"
    assert json.loads((run_dir / "results.json").read_text()) == results
    assert (results["dataset"], results["source"], results["epochs"]) == ("mnist", "files", 2)
    assert results["sizes"] == {"train": 50, "validation": 10, "test": 20}
    assert results["test_bits_per_dim"] == pytest.approx(results["test_nll"] / 784 / np.log(2))
    assert results["test_round_trip_error"] < 0.1
    rows = history(run_dir)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {
        "surrogate",
        "val_nll",
        "val_bits_per_dim",
        "train_nll",
        "val_reconstruction_error",
    } <= set(rows[0])
    # lr (steps done + 1) / steps of the warm-up, of which 5 of 10 and all are done.
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([6e-4, 1e-3])
    assert results["best_val_nll"] == pytest.approx(min(float(row["val_nll"]) for row in rows))
    for name in ("samples/samples.png", "samples/reconstructions.png", "nll.png"):
        assert (run_dir / name).read_bytes().startswith(b"\x89PNG")
    assert "train.epochs = 2" in (run_dir / "operative_config.gin").read_text()
    assert list((run_dir / "tensorboard").rglob("events*"))


def test_the_test_is_on_the_best_weights(run, tmp_path):
    # At this learning rate the nll rises after the first epochs.
    results = run("train.epochs = 6", "train.learning_rate = 0.3", "train.warmup_epochs = 6")
    rows = history(tmp_path / "run")
    nlls = [float(row["val_nll"]) for row in rows]
    assert np.argmin(nlls) < 5
    flow = snf_tf.models.fully_connected()
    flow.load_weights(tmp_path / "run/best.weights.h5")
    data = snf_tf.data.load_dataset("mnist", "files", tmp_path / "data")
    assert flow.evaluate(data.validation)["nll"] == pytest.approx(min(nlls))
    assert flow.evaluate(data.test)["nll"] == pytest.approx(results["test_nll"])


@pytest.mark.slow
def test_a_run_continues(run, tmp_path):
    whole = run("train.epochs = 3", run_dir=tmp_path / "whole")
    run("train.epochs = 2")
    continued = run("train.epochs = 3")
    assert continued["epochs"] == 3
    assert [row["epoch"] for row in history(tmp_path / "run")] == ["1", "2", "3"]
    assert continued["test_nll"] == pytest.approx(whole["test_nll"], rel=1e-6)
    # Nothing is left to do: the results are those there were.
    assert run("train.epochs = 3")["test_nll"] == continued["test_nll"]


@pytest.mark.slow
def test_two_devices(run, tmp_path):
    settings = "train.epochs = 2", "train.clip_norm = 100.0", "train.learning_rate = 1e-2"
    one = run(*settings)
    two = run(*settings, "train.devices = ['CPU:0', 'CPU:1']", run_dir=tmp_path / "two")
    assert two["test_nll"] == pytest.approx(one["test_nll"], rel=1e-4)
    assert (one["devices"], two["devices"]) == (["CPU:0"], ["CPU:0", "CPU:1"])


def test_statistics_are_taken_in_some_epochs(run, tmp_path):
    run("train.epochs = 5", "train.statistics_epochs = 2")
    taken = [row["4.SelfNormalizingDense/gradient_norm"] != "" for row in history(tmp_path / "run")]
    assert taken == [True, True, False, True, False]


@pytest.mark.slow
def test_a_checkpoint_does_not_grow(run, tmp_path):
    sizes = []
    for epochs in (1, 4):
        run(f"train.epochs = {epochs}", "train.statistics_epochs = 1")
        newest = max((tmp_path / "run/checkpoints").glob("*.data-*"))
        sizes.append(newest.stat().st_size)
    # A few digits of a mean loss.
    assert abs(sizes[1] - sizes[0]) < 32


@pytest.mark.parametrize(
    ("bindings", "error", "message"),
    [
        (
            ["train.epochs = 2", "train.batch_size = 51"],
            ValueError,
            "batch_size must be between 1 and",
        ),
        (["train.epochs = 2", "train.devices = ['GPU:7']"], ValueError, "devices must be among"),
        (
            ["train.epochs = 2", "train.devices = ['CPU:0', 'CPU:1']", "train.batch_size = 9"],
            ValueError,
            "multiple of the number of devices",
        ),
        (
            ["train.epochs = 2", "train.devices = ['CPU:0', 'CPU:1']", "train.jit_compile = True"],
            ValueError,
            "cannot do this on several devices",
        ),
        (
            ["train.epochs = 2", "train.statistics_epochs = 0"],
            ValueError,
            "statistics_epochs must be an integer of at least 1",
        ),
        (["train.epochs = '2'"], ValueError, "epochs must be an integer"),
        (
            ["train.epochs = 2", "train.learning_rate = 0"],
            ValueError,
            "learning_rate must be a number above 0",
        ),
        (["train.epochs = 0"], ValueError, "epochs must be an integer of at least 1"),
        (
            ["train.epochs = 2", "train.patience = 0"],
            ValueError,
            "patience must be an integer of at least 1",
        ),
        (
            ["train.epochs = 2", "train.steps_per_epoch = 0"],
            ValueError,
            "steps_per_epoch must be an integer of at least 1",
        ),
        (
            ["train.epochs = 2", "fully_connected.linear = 'lu'"],
            ValueError,
            "linear must be one of",
        ),
        (["train.epochs = 2", "load_dataset.name = 'emnist'"], ValueError, "name must be one of"),
        (
            ["train.epochs = 2", "load_dataset.data_dir = '/nowhere'"],
            FileNotFoundError,
            "not a directory",
        ),
        (["train.epochs = 2", "train.epoch = 3"], ValueError, "epoch"),
        (["train.epochs = 2", "trian.epochs = 3"], ValueError, "trian"),
    ],
)
def test_what_cannot_be_run_writes_nothing(run, tmp_path, bindings, error, message):
    with pytest.raises(error, match=message):
        run(*bindings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("fully_connected.event_shape = (3,)", "event_shape must be left to the data"),
        ("fully_connected.seed = 3", "seed to train.seed"),
        ("train.run_dir = 'x'", "run_dir must be given by the caller"),
    ],
)
def test_bindings_of_what_the_caller_sets_are_refused(run, binding, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run("train.epochs = 1", binding)
    assert not (tmp_path / "run").exists()
