"""`scripts/train.py` as a user calls it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import gin
import pytest

import snf_tf.training  # noqa: F401  (gin has to know its names)
from tests.mnist_files import write_mnist

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*_*.gin"))


def call(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, ROOT / "scripts/train.py", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_run(tmp_path):
    data_dir = write_mnist(tmp_path)
    done = call(
        f"--gin_file={ROOT}/configs/mnist_fc.gin",
        "--run_dir=runs/one",
        '--gin_bindings=load_dataset.source="files"',
        f'--gin_bindings=load_dataset.data_dir="{data_dir}"',
        "--gin_bindings=train.epochs=1",
        "--gin_bindings=train.batch_size=10",
        "--gin_bindings=train.steps_per_epoch=2",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "runs/one/results.json").read_text())
    last = done.stdout.splitlines()[-1]
    assert (
        f"Test nll {results['test_nll']:.2f} nats, {results['test_bits_per_dim']:.4f} bits/dim"
        in last
    )
    assert "runs/one/samples/samples.png" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gin_file=nowhere.gin"], "There is no such gin file. Received: --gin_file=nowhere.gin"),
        ([f"--gin_file={ROOT}/configs/mnist_fc.gin", "--gin_bindings=train.epoch=1"], "epoch"),
        (
            [f"--gin_file={ROOT}/configs/mnist_fc.gin", "--gin_bindings=train.epochs=one"],
            "Failed to parse token 'one'",
        ),
    ],
)
def test_mistakes(tmp_path, arguments, message):
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("config", CONFIGS)
def test_configs_parse_and_state_what_they_expect(config):
    path = ROOT / "configs" / f"{config}.gin"
    assert re.match(
        r"# (SNF Table [12]|RF Table [1-5]), row .* (nats|bits/dim) on the test set",
        path.read_text().splitlines()[0],
    )
    gin.clear_config()
    gin.add_config_file_search_path(str(path.parent))
    gin.parse_config_file(str(path))
    assert gin.query_parameter("train.epochs") in (15, 200, 250, 1000, 6000)
    gin.clear_config()


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(name, marks=[] if name in ("mnist_fc", "cifar10_glow") else pytest.mark.slow)
        for name in CONFIGS
    ],
)
def test_every_config_runs_in_smoke_mode(config, tmp_path):
    done = call(
        f"--gin_file={ROOT}/configs/{config}.gin",
        "--gin_bindings=include 'smoke.gin'",
        "--run_dir=smoke",
        cwd=tmp_path,
    )
    if "_hybrid_" in config and not config.startswith("mnist"):
        # natural_patches, which replaces colour images, has no labels.
        assert "is trained on a data set with labels" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "smoke/results.json").read_text())
    assert (results["source"], results["epochs"]) == ("embedded", 1)
    assert results["dataset"] == ("mnist" if config.startswith("mnist") else "natural_patches")
    assert (tmp_path / "smoke/samples/samples.png").is_file()
