"""Runs of hybrid models: what they report, which weights are the best, what is refused."""

import dataclasses
import sys

import numpy as np
import pytest

import snf_tf.training
from tests.training.run_files import assert_same_end, checkpoint, history

SETTINGS = (
    "residual_flow.block = 'coupling'",
    "residual_flow.blocks = 1",
    "residual_flow.scales = 2",
    "residual_flow.widths = (4,)",
    "residual_flow.head_width = 4",
    "residual_flow.classes = 10",
    "train.learning_rate = 0.05",
    "train.warmup_epochs = 0",
)


@pytest.fixture
def hybrid(run):
    def hybrid(*bindings, **options):
        return run(*SETTINGS, *bindings, model="residual_flow", **options)

    return hybrid


@pytest.mark.slow
def test_a_run_reports_and_continues(hybrid, tmp_path):
    settings = "residual_flow.likelihood_weight = '1/D'", "train.augmentation = @flip_and_shift"
    whole = hybrid("train.epochs = 2", *settings, run_dir=tmp_path / "whole")
    hybrid("train.epochs = 1", *settings)
    results = hybrid("train.epochs = 2", *settings)
    assert_same_end(tmp_path / "run", tmp_path / "whole")
    assert results["test_classifier_nll"] == whole["test_classifier_nll"]
    rows = history(tmp_path / "run")
    names = {"surrogate", "accuracy", "val_accuracy", "val_classifier_nll", "val_nll", "train_nll"}
    assert names <= set(rows[0])
    assert not any(name.endswith("train_accuracy") for name in rows[0])
    best = min(rows, key=lambda row: float(row["val_nll"]))
    flow = snf_tf.training.load_run(tmp_path / "run")
    data = snf_tf.data.load_dataset("mnist", "files", tmp_path / "data")
    found = flow.evaluate(data.validation, data.validation_labels)
    assert found["accuracy"] == pytest.approx(float(best["val_accuracy"]))
    assert found["classifier_nll"] == pytest.approx(float(best["val_classifier_nll"]), rel=1e-5)
    found = flow.evaluate(data.test, data.test_labels)
    assert found["accuracy"] == pytest.approx(results["test_accuracy"])
    assert len(checkpoint(tmp_path / "run")) > len(flow.weights)


def test_of_a_classifier_the_best_are_by_its_nll(hybrid, tmp_path):
    results = hybrid("train.epochs = 4", "residual_flow.likelihood_weight = 0")
    rows = history(tmp_path / "run")
    nlls, losses = (
        np.array([float(row[name]) for row in rows]) for name in ("val_nll", "val_classifier_nll")
    )
    assert np.argmin(losses) != np.argmin(nlls)
    assert results["best_val_classifier_nll"] == pytest.approx(losses.min())
    flow = snf_tf.training.load_run(tmp_path / "run")
    data = snf_tf.data.load_dataset("mnist", "files", tmp_path / "data")
    found = flow.evaluate(data.validation, data.validation_labels)
    assert found["classifier_nll"] == pytest.approx(losses.min(), rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_labels": None, "classes": None}, "a data set with labels. Received: mnist"),
        ({"classes": 12}, "as many classes as the data set. Received: classes=10, and 12"),
    ],
)
def test_data_without_fitting_labels_are_refused(hybrid, tmp_path, monkeypatch, change, message):
    # The package's `train` is the function.
    module = sys.modules["snf_tf.training.train"]
    load = module.load_dataset
    monkeypatch.setattr(module, "load_dataset", lambda: dataclasses.replace(load(), **change))
    with pytest.raises(ValueError, match=message):
        hybrid("train.epochs = 1")
    assert not (tmp_path / "run").exists()
