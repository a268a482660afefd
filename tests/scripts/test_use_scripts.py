"""`scripts/evaluate.py`, `sample.py` and `export.py` as a user calls them, one after the other on
one run.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from tests.mnist_files import write_mnist

ROOT = Path(__file__).parents[2]


def call(script, *arguments, cwd):
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / script, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A directory with `run` and `exported`, and the bindings that find the data."""
    directory = tmp_path_factory.mktemp("use")
    data = [
        '--gin_bindings=load_dataset.source="files"',
        f'--gin_bindings=load_dataset.data_dir="{write_mnist(directory)}"',
    ]
    settings = ["--gin_bindings=train.epochs=1", "--gin_bindings=train.batch_size=10", *data]
    for script, arguments in (
        ("train.py", [f"--gin_file={ROOT}/configs/mnist_fc.gin", "--run_dir=run", *settings]),
        ("export.py", ["--run_dir=run", "--output=exported"]),
    ):
        done = call(script, *arguments, cwd=directory)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.splitlines()[-1].startswith("Exported run to exported; ")
    return directory, data


def test_evaluate(trained):
    directory, data = trained
    typical = ("--reference=validation", "--group_size=2")
    of_run = call("evaluate.py", "--run_dir=run", "--draws=2", *typical, cwd=directory)
    of_model = call("evaluate.py", "--saved_model=exported", *data, cwd=directory)
    assert (of_run.returncode, of_model.returncode) == (0, 0), of_run.stderr + of_model.stderr
    first, second = (
        {line.split()[0]: line.split()[-1] for line in done.stdout.splitlines() if line}
        for done in (of_run, of_model)
    )
    assert first["nll"] == second["nll"]
    assert 0 <= float(first["share_of_groups_with_p_below_0.05"]) <= 1
    assert float(first["importance_weighted_nll_bound"]) < float(first["nll"])
    assert {
        "nll_standard_error",
        "round_trip_error",
        "learned_round_trip_error",
        "6.SelfNormalizingDense",
    } <= set(first)
    assert "test examples of mnist (files): nll" in of_model.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "needed", "options"),
    [
        ("litert", "ai_edge_litert", ["--weights=float16"]),
        ("onnx", "tf2onnx", ["--methods=sample,encode,log_prob"]),
    ],
)
def test_other_formats(trained, form, needed, options):
    pytest.importorskip(needed)
    directory, _ = trained
    flags = [f"--format={form}", f"--output=exported_{form}", *options]
    done = call("export.py", "--run_dir=run", *flags, cwd=directory)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[1:-1]] == ["sample", "encode", "log_prob"]
    assert lines[-1].startswith(f"Exported run to exported_{form}; ")


@pytest.mark.slow
def test_sample(trained):
    directory, _ = trained
    for name, arguments in {
        "a": ["--run_dir=run", "--n=103", "--seed=4"],
        "b": ["--saved_model=exported", "--n=103", "--seed=4"],
        "c": ["--run_dir=run", "--n=103", "--seed=4", "--inverse=exact", "--temperature=0.5"],
        "d": ["--run_dir=run", "--n=5", "--interpolate=0,1"],
    }.items():
        done = call("sample.py", *arguments, f"--output=pictures/{name}.png", cwd=directory)
        assert done.returncode == 0, done.stderr
        assert f"pictures/{name}.png" in done.stdout.splitlines()[-1]
    a, b, c, d = (np.load(directory / f"pictures/{name}.npy") for name in "abcd")
    np.testing.assert_array_equal(a, b)
    assert a.shape == c.shape == (103, 28, 28, 1)
    assert np.abs(a - c).max() > 1
    assert len(np.unique(a.reshape(103, -1), axis=0)) == 103
    assert d.shape == (5, 28, 28, 1)
    assert imread(directory / "pictures/d.png").shape[:2] == (28, 5 * 28)


@pytest.mark.slow
def test_a_run_that_is_conditional_on_labels(tmp_path):
    data = [
        '--gin_bindings=load_dataset.source="files"',
        f'--gin_bindings=load_dataset.data_dir="{write_mnist(tmp_path)}"',
    ]
    smoke = ["--gin_bindings=include 'smoke.gin'", *data, "--run_dir=run"]
    results = {}
    for name, script, arguments in (
        ("train", "train.py", [f"--gin_file={ROOT}/configs/mnist_glow_class.gin", *smoke]),
        ("export", "export.py", ["--run_dir=run", "--output=exported"]),
        ("run", "evaluate.py", ["--run_dir=run"]),
        ("model", "evaluate.py", ["--saved_model=exported", *data]),
        ("all", "sample.py", ["--run_dir=run", "--n=3", "--output=all.png"]),
        ("some", "sample.py", ["--saved_model=exported", "--n=3", "--labels=7,0,7"]),
        ("none", "sample.py", ["--run_dir=run", "--labels=10"]),
        ("between", "sample.py", ["--run_dir=run", "--interpolate=0,1"]),
    ):
        results[name] = done = call(script, *arguments, cwd=tmp_path)
        assert done.returncode == (name in ("none", "between")), done.stderr
    assert "accuracy by Bayes' rule 0." in results["train"].stdout
    first, second = (
        {line.split()[0]: line.split()[-1] for line in results[name].stdout.splitlines() if line}
        for name in ("run", "model")
    )
    assert first["nll"] == second["nll"]
    assert first["bayes_accuracy"] == second["bayes_accuracy"]
    assert np.load(tmp_path / "all.npy").shape == (30, 28, 28, 1)
    assert imread(tmp_path / "all.png").shape[:2] == (10 * 28, 3 * 28)
    assert imread(tmp_path / "samples.png").shape[:2] == (3 * 28, 3 * 28)
    assert "--labels takes numbers of classes" in results["none"].stderr
    assert "--interpolate is for flows without a context" in results["between"].stderr


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("evaluate.py", [], "give --run_dir=... or --saved_model=..., one of them"),
        (
            "sample.py",
            ["--run_dir=run", "--saved_model=exported"],
            "give --run_dir=... or --saved_model=..., one of them",
        ),
        (
            "sample.py",
            ["--run_dir=nowhere"],
            "no results.json and no best.weights.h5. Received: run_dir=nowhere",
        ),
        ("evaluate.py", ["--saved_model=nowhere"], "nowhere"),
        ("evaluate.py", ["--run_dir=run", "more"], "takes flags alone. Received: more"),
        ("sample.py", ["--run_dir=run", "--output=run"], "--output must be a file"),
        ("evaluate.py", ["--saved_model=x", "--reference=test"], "--reference needs --run_dir"),
        ("evaluate.py", ["--saved_model=exported"], "A SavedModel does not know its data"),
        (
            "sample.py",
            ["--saved_model=exported", "--interpolate=0,1"],
            "A SavedModel does not know its data",
        ),
        (
            "sample.py",
            ["--run_dir=run", "--interpolate=0,x"],
            "--interpolate takes the numbers of two test images",
        ),
        (
            "export.py",
            ["--run_dir=run", "--output=exported"],
            "must not exist yet. Received: --output=exported",
        ),
    ],
)
@pytest.mark.slow
def test_mistakes(trained, script, arguments, message):
    done = call(script, *arguments, cwd=trained[0])
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "script",
    [
        "train.py",
        "benchmark.py",
        *(
            pytest.param(f"{name}.py", marks=pytest.mark.slow)
            for name in ("evaluate", "sample", "export", "compare", "reproduce", "benchmark_start")
        ),
    ],
)
def test_help(script, tmp_path):
    done = call(script, "--help", cwd=tmp_path)
    assert f"python scripts/{script}" in done.stdout
    assert "--" in done.stdout
