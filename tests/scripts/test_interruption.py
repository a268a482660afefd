"""Ctrl-C in imports, in the first steps and in the report of a run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training.run_files import TINY_RUN

ROOT = Path(__file__).parents[2]
EPOCHS = 3


def start(tmp_path):
    (tmp_path / "tiny.gin").write_text(TINY_RUN + f"train.epochs = {EPOCHS}\n")
    return subprocess.Popen(
        [
            sys.executable,
            ROOT / "scripts/train.py",
            f"--gin_file={tmp_path}/tiny.gin",
            f"--run_dir={tmp_path}/run",
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def interrupt(process):
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert "to go on" in error or "goes on if" in error


def is_trained(tmp_path):
    history = tmp_path / "run/history.csv"
    return history.is_file() and history.read_bytes().count(b"\n") > EPOCHS


def test_ctrl_c_in_imports_ends_in_words(tmp_path):
    process = start(tmp_path)
    time.sleep(2.0)
    interrupt(process)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.7, 1.0, 1.5, 2.5, 3.0, 4.0, 5.0, 6.0])
def test_ctrl_c_at_the_start_ends_in_words(tmp_path, seconds):
    process = start(tmp_path)
    time.sleep(seconds)
    interrupt(process)
    assert start(tmp_path).wait() == 0


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.3, 0.6, 1.0])
def test_ctrl_c_in_the_report_ends_in_words(tmp_path, seconds):
    process = start(tmp_path)
    while not is_trained(tmp_path) and process.poll() is None:
        time.sleep(0.01)
    time.sleep(seconds)
    interrupt(process)
    assert not (tmp_path / "run/results.json").exists()
    assert start(tmp_path).wait() == 0
    assert (tmp_path / "run/results.json").exists()
