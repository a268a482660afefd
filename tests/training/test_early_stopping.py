"""Runs that end when validation has stopped to improve."""

import gin
import numpy as np
import pytest

import snf_tf.training
from tests.training.run_files import assert_same_end, history

BINDINGS = """
import tests.training.own_data
train.model = @standardized
train.dataset = @ring
train.learning_rate = 0.3
train.batch_size = 10
train.warmup_epochs = 0
train.verbose = 0
"""


@pytest.fixture
def run(tmp_path):
    def run(*bindings, run_dir=tmp_path / "run"):
        gin.clear_config()
        gin.parse_config([BINDINGS, *bindings])
        return snf_tf.training.train(run_dir)

    yield run
    gin.clear_config()


def nlls(run_dir):
    return [float(row["val_nll"]) for row in history(run_dir)]


@pytest.mark.slow
def test_a_run_ends_after_epochs_without_a_better_one(run, tmp_path):
    results = run("train.epochs = 50", "train.patience = 2")
    found = nlls(tmp_path / "run")
    best = int(np.argmin(found))
    assert results["epochs"] == len(found) == best + 3 < 50
    # Of the epochs before, each is at most one after the best until then.
    assert all(end - int(np.argmin(found[: end + 1])) < 2 for end in range(len(found) - 1))
    assert results["best_val_nll"] == pytest.approx(found[best])
    flow = snf_tf.training.load_run(tmp_path / "run")
    data = snf_tf.training.load_data()
    assert flow.evaluate(data.validation)["nll"] == pytest.approx(found[best], rel=1e-6)

    # A run that was stopped before ends at the same epoch; one that has ended stays as it is.
    run(f"train.epochs = {best + 2}", "train.patience = 2", run_dir=tmp_path / "resumed")
    run("train.epochs = 50", "train.patience = 2", run_dir=tmp_path / "resumed")
    assert_same_end(tmp_path / "resumed", tmp_path / "run")
    assert run("train.epochs = 50", "train.patience = 2")["test_nll"] == results["test_nll"]
    # With more patience it goes on.
    assert run("train.epochs = 50", "train.patience = 4")["epochs"] > len(found)
