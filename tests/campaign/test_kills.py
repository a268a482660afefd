"""Runs of ten configurations, each killed five times: in imports, first steps, a checkpoint, an
epoch and the report.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.mnist_files import write_mnist
from tests.training.run_files import assert_same_end, newest

ROOT = Path(__file__).parents[2]
EPOCHS = 25
SHARED = (
    f"train.epochs={EPOCHS}",
    "train.batch_size=10",
    "train.steps_per_epoch=6",
    "train.checkpoint_seconds=0.1",
)
ROULETTE = 'log_det="russian_roulette"'
# Every way to keep an inverse, contexts, estimates that draw their lengths, weights of the penalty.
RUNS = {
    "mnist_fc": (),
    "mnist_fc_projected": (),
    "mnist_fc_newton_schulz": (),
    "mnist_conv": ("convolutional.depth=2",),
    "mnist_conv_least_squares": ("convolutional.depth=2",),
    "mnist_glow_class": ("glow.levels=2", "glow.steps=1", "glow.coupling_width=8"),
    "mnist_glow_geco": ("glow.levels=2", "glow.steps=1", "glow.coupling_width=8"),
    "toy2d_residual_flow": (
        f"residual_flow.{ROULETTE}",
        "residual_flow.blocks=2",
        "residual_flow.widths=(8, 8)",
    ),
    "toy2d_pairs": (
        f"learned_pairs.{ROULETTE}",
        'learned_pairs.penalty="geco"',
        "learned_pairs.pairs=2",
        "ResidualNetwork.widths=(8,)",
    ),
    "tabular_breast_cancer": ("tabular.blocks=2", "tabular.width=8"),
}
# They change from run to run.
TIMES = ("seconds", "seconds_per_step", "sha256")


class Watched:
    """A process that trains, and what its directory tells of it."""

    def __init__(self, config, bindings, run_dir):
        self.begun = time.monotonic()
        self.run_dir = run_dir
        self.process = subprocess.Popen(
            [
                sys.executable,
                ROOT / "scripts/train.py",
                f"--gin_file={ROOT}/configs/{config}.gin",
                f"--run_dir={run_dir}",
                *(f"--gin_bindings={binding}" for binding in bindings),
            ],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def wait_for(self, condition):
        """Waits for a state of the directory; returns seconds since the beginning."""
        while not condition() and self.process.poll() is None:
            time.sleep(0.001)
        return time.monotonic() - self.begun

    def end(self):
        """Waits for a good end."""
        _, error = self.process.communicate()
        assert self.process.returncode == 0, error.decode()[-2000:]

    def kill_after(self, seconds):
        time.sleep(seconds)
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()
        assert self.process.returncode == -signal.SIGKILL, "It came to its end before."

    def checkpoint(self):
        return newest(self.run_dir)

    def writes_checkpoint(self):
        return any((self.run_dir / "checkpoints").glob("*_temp"))

    def reports(self):
        """Returns what tells that the report has come to a file."""
        names = ".unfinished.weights.h5", "best.weights.h5", "nll.png"
        return [(self.run_dir / name).exists for name in names]

    def is_trained(self):
        history = self.run_dir / "history.csv"
        return history.is_file() and history.read_bytes().count(b"\n") > EPOCHS


@pytest.mark.slow
@pytest.mark.parametrize("config", RUNS)
def test_killed_runs_end_like_one_that_was_not(tmp_path, config):
    data_dir = write_mnist(tmp_path)
    bindings = [*SHARED, *RUNS[config]]
    if "mnist" in config:
        bindings += ['load_dataset.source="files"', f'load_dataset.data_dir="{data_dir}"']
    draw = random.Random(config).uniform

    reference = Watched(config, bindings, tmp_path / "reference")
    first = reference.wait_for(lambda: reference.checkpoint() > 0)
    reference.end()

    def run():
        return Watched(config, bindings, tmp_path / "killed")

    run().kill_after(draw(0.1, 0.5 * first))
    run().kill_after(draw(0.5 * first, 0.9 * first))
    process = run()
    process.wait_for(process.writes_checkpoint)
    process.kill_after(0)
    process = run()
    begun = process.checkpoint()
    process.wait_for(lambda: process.checkpoint() >= begun + 4)
    process.kill_after(draw(0, 0.2))
    process = run()
    moment = random.Random(config).choice((process.is_trained, *process.reports()))
    process.wait_for(moment)
    process.kill_after(0)
    run().end()

    assert_same_end(tmp_path / "killed", tmp_path / "reference")
    one, two = (_results(tmp_path / name) for name in ("killed", "reference"))
    assert one == two
    one, two = (_weights(tmp_path / name) for name in ("killed", "reference"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name], err_msg=name)


def _results(run_dir):
    results = json.loads((run_dir / "results.json").read_text())
    return {name: value for name, value in results.items() if name not in TIMES}


def _weights(run_dir):
    values = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset):
            values[name] = item[()]

    with h5py.File(run_dir / "best.weights.h5") as file:
        file.visititems(keep)
    return values
