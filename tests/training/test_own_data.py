"""Runs on data of one's own: a table, and a function that returns data."""

import gin
import numpy as np
import pandas as pd
import pytest

import snf_tf
import snf_tf.training
from tests.training.own_data import ring
from tests.training.run_files import assert_same_end

BINDINGS = """
import tests.training.own_data
train.model = @standardized
train.learning_rate = 1e-2
train.batch_size = 10
train.warmup_epochs = 0
train.verbose = 0
"""
SCALE = np.array([100.0, 1.0, 0.01])


@pytest.fixture
def run(tmp_path):
    def run(*bindings, run_dir=tmp_path / "run"):
        gin.clear_config()
        gin.parse_config([BINDINGS, *bindings])
        return snf_tf.training.train(run_dir)

    yield run
    gin.clear_config()


@pytest.fixture
def table(tmp_path):
    """A CSV table of columns of very different units, far from 0."""
    x = 5.0 * SCALE + SCALE * np.random.RandomState(0).randn(100, 3)
    data = pd.DataFrame(x, columns=["a", "b", "c"]).assign(kind=np.arange(100) % 2)
    data.to_csv(tmp_path / "my.csv", index=False)
    return (
        'load_dataset.name = "files"',
        f'load_dataset.path = "{tmp_path}/my.csv"',
        'load_files.label = "kind"',
        "load_files.fractions = (0.6, 0.2, 0.2)",
    )


def test_a_table_is_trained_continued_tested_and_exported(run, table, tmp_path):
    whole = run("train.epochs = 2", *table, run_dir=tmp_path / "whole")
    run("train.epochs = 1", *table)
    # The table may have moved.
    (tmp_path / "moved").mkdir()
    (tmp_path / "my.csv").rename(tmp_path / "moved/my.csv")
    table = [line.replace("/my.csv", "/moved/my.csv") for line in table]
    results = run("train.epochs = 2", *table)
    assert_same_end(tmp_path / "run", tmp_path / "whole")
    assert results["test_nll"] == whole["test_nll"]
    assert (results["dataset"], results["source"]) == ("my.csv", "files")
    assert results["sizes"] == {"train": 60, "validation": 20, "test": 20}
    flow = snf_tf.training.load_run(tmp_path / "run")
    data = snf_tf.training.load_data()
    assert flow.evaluate(data.test)["nll"] == pytest.approx(results["test_nll"])
    # In the units of the table, whose columns have a product of deviations of 1.
    assert abs(results["test_nll"] - 1.5 * np.log(2 * np.pi * np.e)) < 1.0
    np.testing.assert_allclose(np.std(flow.sample(500, seed=0), 0), SCALE, rtol=0.5)
    snf_tf.serving.export(flow, tmp_path / "exported")
    # Other numbers are another run.
    pd.read_csv(tmp_path / "moved/my.csv").assign(a=1e3 + np.arange(100)).to_csv(
        tmp_path / "moved/my.csv", index=False
    )
    with pytest.raises(ValueError, match="another configuration"):
        run("train.epochs = 3", *table)


@pytest.mark.slow
def test_a_function_of_ones_own(run, tmp_path):
    bindings = "train.dataset = @ring", "ring.radius = 3.0"
    whole = run("train.epochs = 2", *bindings, run_dir=tmp_path / "whole")
    run("train.epochs = 1", *bindings)
    results = run("train.epochs = 2", *bindings)
    assert_same_end(tmp_path / "run", tmp_path / "whole")
    assert (results["dataset"], results["source"]) == ("ring", "drawn")
    assert (tmp_path / "run/samples/density.png").is_file()
    with pytest.raises(ValueError, match=r"\+ring\.radius = 4"):
        run("train.epochs = 2", bindings[0], "ring.radius = 4.0")
    # A later process finds function and data by the configuration alone.
    gin.clear_config()
    flow = snf_tf.training.load_run(tmp_path / "run")
    data = snf_tf.training.load_data()
    np.testing.assert_array_equal(data.test, ring(3.0).test)
    assert flow.evaluate(data.test)["nll"] == pytest.approx(whole["test_nll"])


def test_the_configuration_names_the_module(run, tmp_path):
    results = run("train.epochs = 1", "train.dataset = @ring")
    assert "import tests.training.own_data" in results["config"]


@pytest.mark.parametrize("kind", ["label", "context"])
def test_conditional_runs(run, tmp_path, kind):
    """Each class has its own mean, or the mean is the context: the nll is that of what is left."""
    y = np.arange(300) % 2
    x = 8.0 * y[:, None] + np.random.RandomState(0).randn(300, 2)
    np.savez(tmp_path / "my.npz", x=x, y=y, context=y[:, None] + 0.5)
    bindings = (
        "train.model = @conditional",
        f"conditional.classes = {2 if kind == 'label' else 0}",
        f'train.conditional_on = "{kind}"',
        "train.learning_rate = 0.1",
        "train.batch_size = 24",
        "train.steps_per_epoch = 50",
        'load_dataset.name = "files"',
        f'load_dataset.path = "{tmp_path}/my.npz"',
    )
    run("train.epochs = 1", *bindings)
    results = run("train.epochs = 3", *bindings)
    # By Bayes' rule, two classes 8 standard deviations apart.
    assert results.get("test_bayes_accuracy") == (1.0 if kind == "label" else None)
    # Without the classes it were more by log 2.
    assert results["test_nll"] < np.log(2 * np.pi * np.e) + 0.4
    flow = snf_tf.training.load_run(tmp_path / "run")
    data = snf_tf.training.load_data()
    context = data.test_labels if kind == "label" else data.test_context
    found = flow.evaluate(data.test, context=context)["nll"]
    assert found == pytest.approx(results["test_nll"], rel=1e-6)
    samples = flow.sample(200, context=context[data.test_labels == 1][:1], seed=0)
    np.testing.assert_allclose(np.mean(samples, axis=0), 8.0, atol=0.6)


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        (["train.conditional_on = 'label'"], "needs a flow that takes a context"),
        (["train.conditional_on = 'labels'"], "must be one of None, 'label'"),
        (
            ["train.model = @conditional", "train.conditional_on = 'label'"],
            "A conditional model is trained on a data set with labels",
        ),
    ],
)
def test_conditions_that_do_not_fit(run, bindings, message):
    with pytest.raises(ValueError, match=message):
        run("train.epochs = 1", "train.dataset = @ring", *bindings)


@pytest.mark.parametrize(
    ("binding", "message"),
    [("3", "dataset must be a function"), ("@standardized", "what returns|event_shape")],
)
def test_what_is_no_such_function_is_refused(run, binding, message):
    with pytest.raises((ValueError, TypeError), match=message):
        run("train.epochs = 1", f"train.dataset = {binding}")


def test_data_that_the_configuration_does_not_name():
    gin.clear_config()
    with pytest.raises(ValueError, match="names no data"):
        snf_tf.training.load_data()
