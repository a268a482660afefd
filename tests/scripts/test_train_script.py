"""`scripts/train.py` as a user calls it."""

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import gin
import numpy as np
import pytest

from snf_tf.training.plotting import pixel_values
from tests.mnist_files import write_mnist

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*_*.gin"))
RESIDUAL = re.compile("residual_flow|i_resnet|densenet|monotone")
RESIDUAL_CONFIGS = [c for c in CONFIGS if RESIDUAL.search(c) and "hybrid" not in c]
PUBLISHED_TABLES = [
    f"tabular_{name}" for name in ("power", "gas", "hepmass", "miniboone", "bsds300")
]
EVENT_SHAPES = {
    "mnist": (28, 28, 1),
    "cifar10": (32, 32, 3),
    "imagenet32": (32, 32, 3),
    "imagenet64": (64, 64, 3),
    "celeba64": (64, 64, 3),
    "celeba_hq256": (256, 256, 3),
    "toy2d/checkerboard": (2,),
}


def call(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, ROOT / "scripts/train.py", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )


def run_one(directory):
    data_dir = write_mnist(directory)
    return call(
        f"--gin_file={ROOT}/configs/mnist_fc.gin",
        "--run_dir=runs/one",
        '--gin_bindings=load_dataset.source="files"',
        f'--gin_bindings=load_dataset.data_dir="{data_dir}"',
        "--gin_bindings=train.epochs=1",
        "--gin_bindings=train.batch_size=10",
        "--gin_bindings=train.steps_per_epoch=2",
        cwd=directory,
    )


def test_a_run(tmp_path):
    done = run_one(tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "runs/one/results.json").read_text())
    likelihood, last = done.stdout.splitlines()[-2:]
    assert (
        f"Test nll {results['test_nll']:.2f} nats, {results['test_bits_per_dim']:.4f} bits/dim"
        in likelihood
    )
    assert "runs/one/samples/samples.png (what the flow draws)" in last
    assert "To go on: " in last
    assert done.stderr == ""


@pytest.mark.slow
def test_a_run_goes_on_by_the_command_that_it_says(tmp_path):
    command = shlex.split(run_one(tmp_path).stdout.splitlines()[-1].partition("To go on: ")[2])
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "runs/one/results.json").read_text())["epochs"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gin_file=nowhere.gin"], "There is no such gin file. Received: --gin_file=nowhere.gin"),
        ([f"--gin_file={ROOT}/configs/mnist_fc.gin", "--gin_bindings=train.epoch=1"], "epoch"),
        pytest.param(
            [f"--gin_file={ROOT}/configs/mnist_fc.gin", "--gin_bindings=train.epochs=one"],
            "Failed to parse token 'one'",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_mistakes(tmp_path, arguments, message):
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def parse():
    """Reads a config and bindings, and returns the bindings of train()."""

    def parse(config, *bindings):
        gin.clear_config()
        gin.add_config_file_search_path(str(ROOT / "configs"))
        gin.parse_config_files_and_bindings([str(ROOT / "configs" / f"{config}.gin")], bindings)
        return gin.get_bindings("train")

    yield parse
    gin.clear_config()


@pytest.mark.parametrize("config", CONFIGS)
def test_configs_parse_and_state_what_they_expect(config, parse):
    lines = (ROOT / "configs" / f"{config}.gin").read_text().splitlines()
    comments = itertools.takewhile(lambda line: line.startswith("#"), lines)
    header = " ".join(line.removeprefix("# ") for line in comments)
    assert re.match(
        r"SNF (Table [125], row |A\.5|Sec\. )|RF (Table [1-5], row|Figs?\.|Sec\.) |"
        r"NSF Table 1, row |(i-DenseNet|Monotone flow|NSF) \(\w.* 20\d\d\)|"
        r"(Class-conditional Glow p\(x\|y\)|Conditional flow p\(x\|c\)) \(\w.* 20\d\d\)|"
        r"(NICE|Real NVP|Flow\+\+|FFJORD) (Sec\. [\d.]+ )?\(\w.* 20\d\d\)",
        header,
    )
    assert re.search(r"((\d|prints no) (nats|bits/dim)) on the test set", header)
    assert parse(config)["epochs"] in (15, 20, 50, 100, 200, 250, 300, 350, 1000, 1500, 6000)


@pytest.mark.parametrize("config", RESIDUAL_CONFIGS)
def test_residual_flows_are_built_for_their_data(config, parse):
    bindings = ["include 'smoke.gin'", "residual_flow.widths = (2, 2)"]
    settings = parse(config, *bindings)
    name = gin.query_parameter("load_dataset.name")
    flow = settings["model"](event_shape=EVENT_SHAPES[name])
    assert flow.event_shape == EVENT_SHAPES[name]
    assert pixel_values(flow) == (32 if name.startswith("celeba") else 256)
    assert flow.log_det_kind == ("exact" if name.startswith("toy2d") else "estimate")


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS)
def test_every_config_runs_in_smoke_mode(config, tmp_path):
    done = call(
        f"--gin_file={ROOT}/configs/{config}.gin",
        "--gin_bindings=include 'smoke.gin'",
        "--run_dir=smoke",
        cwd=tmp_path,
    )
    if config in PUBLISHED_TABLES:
        assert "No package brings this data set" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "smoke/results.json").read_text())
    assert (results["source"], results["epochs"]) == ("embedded", 1)
    names = {
        "mnist": "mnist",
        "toy2d": "toy2d/checkerboard",
        "tabular": "tabular/breast_cancer",
    }
    if config == "toy2d_conditional":
        assert results["dataset"] == "toy2d/conditional"
        return
    assert results["dataset"] == names.get(config.split("_")[0], "natural_patches")
    assert f"examples of {results['dataset']}, source embedded" in done.stdout
    if config.startswith("tabular"):
        return
    picture = "density" if config.startswith("toy2d") else "samples"
    assert (tmp_path / f"smoke/samples/{picture}.png").is_file()
    assert f"smoke/samples/{picture}.png" in done.stdout


@pytest.mark.slow
def test_a_table_in_the_format_of_power(tmp_path):
    (tmp_path / "power").mkdir()
    random = np.random.RandomState(0)
    np.save(tmp_path / "power/data.npy", random.rand(300, 8) * [5, 1, 250, 20, 60, 60, 20, 1440])
    done = call(
        f"--gin_file={ROOT}/configs/tabular_power.gin",
        "--gin_bindings=include 'smoke.gin'",
        '--gin_bindings=load_dataset.source = "files"',
        f'--gin_bindings=load_dataset.data_dir = "{tmp_path}"',
        "--run_dir=run",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert (results["dataset"], results["source"]) == ("tabular/power", "files")
    assert (results["event_shape"], results["sizes"]["train"]) == ([6], 243)
    # Uniform columns, at variance 1: the entropy is at most that of normals.
    assert 6 * np.log(np.sqrt(12)) - 0.5 < results["test_nll"] < 3 * np.log(2 * np.pi * np.e) + 0.5
