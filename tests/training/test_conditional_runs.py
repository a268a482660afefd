"""Runs that are conditional on labels: samples by class, accuracy by Bayes' rule."""

import json

import numpy as np
import pytest

import snf_tf.training
import tests.training.own_data  # noqa: F401  (a model, for gin)
from snf_tf.training import report

BINDINGS = (
    "train.epochs = 1",
    "train.conditional_on = 'label'",
    "train.learning_rate = 1e-2",
)


def test_a_row_of_samples_for_every_class(run, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        report, "plot_images", lambda path, panels, *args, **_: drawn.update({path.stem: panels})
    )
    results = run(*BINDINGS, model="class_means")
    flow = snf_tf.training.load_run(tmp_path / "run")
    (samples,) = drawn["samples"].values()
    labels = np.repeat(np.arange(10), 8)
    np.testing.assert_allclose(samples, flow.sample(80, labels, seed=0), rtol=1e-5, atol=1e-3)
    data = snf_tf.training.load_data()
    log_probs = np.stack(
        [flow.log_prob(data.test, context=np.full(len(data.test), y), seed=0) for y in range(10)], 1
    )
    counts = np.bincount(data.train_labels, minlength=10)
    joint = log_probs + np.log(counts / counts.sum())
    accuracy = np.mean(joint.argmax(1) == data.test_labels)
    assert results["test_bayes_accuracy"] == pytest.approx(accuracy)
    written = json.loads((tmp_path / "run/results.json").read_text())
    assert written["test_bayes_accuracy"] == results["test_bayes_accuracy"]
    assert written["test_bayes_classifier_nll"] > 0


def test_other_numbers_of_classes_are_refused(run):
    with pytest.raises(ValueError, match=r"as many classes as the data set.* 7 classes, and 10"):
        run(*BINDINGS, "class_means.classes = 7", model="class_means")
