"""RF Table 2 with features that need no download."""

import csv
import importlib
import subprocess
import sys
from pathlib import Path

import gin
import keras
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def table(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("reproduce_table")


def pooled():
    return keras.layers.GlobalAveragePooling2D()


def refused():
    raise ValueError("The weights cannot be loaded.")


def read(path):
    return list(csv.DictReader((path / "rf.2.csv").open(newline="")))


def test_without_features_nothing_is_trained(tmp_path, table):
    frechet = importlib.import_module("reproduce_frechet")
    text = frechet.write(tmp_path, "rf.2", table.rows("rf.2"), train=None, features=refused)
    assert "The weights cannot be loaded." in text
    found = {line["row"]: line for line in read(tmp_path)}
    assert found["Glow"]["published FID"] == "46.90"
    assert (found["Glow"]["ours"], found["Glow"]["reason"]) == ("", "no features")


@pytest.mark.slow
def test_the_distance_of_a_run(tmp_path, table):
    frechet = importlib.import_module("reproduce_frechet")
    runs = importlib.import_module("reproduce_runs")
    path = tmp_path / "run"
    command = [sys.executable, ROOT / "scripts/train.py", f"--run_dir={path}"]
    command += [f"--gin_file={ROOT / 'configs/cifar10_glow_conv1x1.gin'}"]
    subprocess.run([*command, "--gin_bindings=include 'smoke.gin'"], check=True)
    rows = table.rows("rf.2", "^Glow$")
    run = runs.Run(rows[0], 0, path)
    text = frechet.write(tmp_path, "rf.2", rows, lambda _: ([run], {}), pooled)
    gin.clear_config()
    assert "Stand-in data: natural_patches (embedded)." in text
    (line,) = read(tmp_path)
    assert line["ours"] == ""
    assert float(line["ours on stand-in data"]) > 0
