"""Several worker processes on this machine, against one."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import snf_tf.training
from tests.mnist_files import write_mnist
from tests.training.run_files import checkpoint

ROOT = Path(__file__).parents[2]


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start(run_dir, data_dir, *bindings, workers=1):
    """Starts the processes of a run on a small MNIST."""
    settings = (
        'load_dataset.source="files"',
        f'load_dataset.data_dir="{data_dir}"',
        "train.batch_size=10",
    )
    bindings = [*settings, "train.learning_rate=1e-3", *bindings]
    if workers > 1:
        bindings.append("train.multi_worker=True")
    return workers_of(run_dir, ROOT / "configs/mnist_fc.gin", workers, bindings)


def workers_of(run_dir, gin_file, workers, bindings=()):
    """Starts the processes of a run, each with a run_dir of its own where run_dir is a list."""
    run_dirs = run_dir if isinstance(run_dir, list) else [run_dir] * workers
    addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    processes = []
    for index in range(workers):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        processes.append(
            subprocess.Popen(
                [
                    sys.executable,
                    ROOT / "scripts/train.py",
                    f"--gin_file={gin_file}",
                    f"--run_dir={run_dirs[index]}",
                    *(f"--gin_bindings={binding}" for binding in bindings),
                ],
                env=os.environ
                | {"PYTHONPATH": str(ROOT)}
                | ({"TF_CONFIG": json.dumps(config)} if workers > 1 else {}),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    return processes


def wait_for(path, timeout=120):
    deadline = time.monotonic() + timeout
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not come"
        time.sleep(0.1)


def finish(processes):
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output


@pytest.mark.slow
def test_two_workers_end_like_one_process(tmp_path):
    data_dir = write_mnist(tmp_path)
    bindings = ["train.epochs=4", 'train.dtype_policy="float64"']
    finish(
        start(tmp_path / "one", data_dir, *bindings)
        + start(tmp_path / "two", data_dir, *bindings, workers=2)
    )
    one, two = (checkpoint(tmp_path / name) for name in ("one", "two"))
    for name, value in one.items():
        if name.startswith("weights/"):
            np.testing.assert_allclose(two[name], value, rtol=1e-8, atol=1e-8, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker_stops_the_others_and_all_resume(tmp_path, victim):
    data_dir = write_mnist(tmp_path)
    processes = start(tmp_path / "run", data_dir, "train.epochs=2000", workers=2)
    wait_for(tmp_path / "run/checkpoints/checkpoint-000003.index")
    processes[victim].send_signal(signal.SIGKILL)
    output, _ = processes[1 - victim].communicate(timeout=60)
    assert processes[1 - victim].returncode > 0
    assert "train.py:" in output
    done = len((tmp_path / "run/history.csv").read_text().splitlines()) - 1
    finish(start(tmp_path / "run", data_dir, f"train.epochs={done + 3}", workers=2))
    assert json.loads((tmp_path / "run/results.json").read_text())["epochs"] == done + 3


@pytest.mark.slow
def test_a_signal_to_any_worker_stops_and_saves_all(tmp_path):
    data_dir = write_mnist(tmp_path)
    processes = start(tmp_path / "run", data_dir, "train.epochs=2000", workers=2)
    wait_for(tmp_path / "run/checkpoints/checkpoint-000003.index")
    processes[1].send_signal(signal.SIGTERM)
    for process in processes:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGTERM
        assert "All is saved" in output


@pytest.mark.slow
def test_workers_that_do_not_share_a_run_dir_are_refused(tmp_path):
    data_dir = write_mnist(tmp_path)
    finish(start(tmp_path / "one", data_dir, "train.epochs=1", workers=2))
    processes = start([tmp_path / "one", tmp_path / "two"], data_dir, "train.epochs=2", workers=2)
    for process in processes:
        output, _ = process.communicate(timeout=60)
        assert "All workers need one run_dir" in output
        assert process.returncode == 1
    assert not (tmp_path / "two/results.json").exists()


def test_workers_need_a_cluster(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="environment variable TF_CONFIG"):
        snf_tf.training.make_strategy(multi_worker=True)
