"""Calls train.py in processes of their own, which end with the process that calls."""

import ctypes
import fcntl
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_LONGEST_WAIT = 60.0
# Of Linux' prctl: the signal that a process gets when its parent has died.
_PR_SET_PDEATHSIG = 1


class Calls:
    """Calls of train.py, some at a time.

    Args:
        parallel: How many at a time; they divide the GPUs.
    """

    def __init__(self, parallel: int) -> None:
        self._free: queue.Queue[dict[str, str]] = queue.Queue()
        for devices in divided_devices(parallel):
            self._free.put(devices)
        self._running: set[subprocess.Popen] = set()

    def stop(self) -> None:
        """Asks all that run to save their state and to end."""
        # They are sessions of their own, which no Ctrl-C reaches.
        for process in list(self._running):
            process.send_signal(signal.SIGINT)

    def train(
        self, config: str, run_dir: Path, settings: Sequence[str], seconds: float | None = None
    ) -> bool:
        """Trains a run; returns whether its time was over before it came to its end.

        Args:
            config: Name of the config.
            run_dir: Directory of the run; its log lies beside it.
            settings: Bindings of gin.
            seconds: After which it is stopped; None: never.

        Raises:
            RuntimeError: If it fails.
        """
        log = run_dir.with_name(f"{run_dir.name}.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        _wait_until_free(run_dir / ".lock")
        command = [
            sys.executable,
            _ROOT / "scripts/train.py",
            f"--gin_file={_ROOT / f'configs/{config}.gin'}",
            f"--run_dir={run_dir}",
            *(f"--gin_bindings={setting}" for setting in settings),
        ]
        is_over, devices = False, self._free.get()
        with open(log, "w") as output:
            process = subprocess.Popen(
                command,
                env=os.environ | devices,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
            self._running.add(process)
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                is_over = True
                process.send_signal(signal.SIGINT)
                process.wait()
            finally:
                self._running.discard(process)
                self._free.put(devices)
        if process.returncode == 130 and is_over:
            return True
        if process.returncode:
            said = [line for line in log.read_text().splitlines() if line.startswith("train.py: ")]
            raise RuntimeError(said[-1] if said else f"exit code {process.returncode}, see {log}")
        return False


def divided_devices(parallel: int) -> list[dict[str, str]]:
    """Returns the GPUs of each run at a time, as variables of its environment."""
    if parallel == 1:
        return [{}]
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        import tensorflow as tf

        found = list(map(str, range(len(tf.config.list_physical_devices("GPU")))))
    else:
        found = [name for name in given.split(",") if name]
    if not found:
        return [{}] * parallel
    # More runs than GPUs share them, and none may take all memory.
    shared = {"TF_FORCE_GPU_ALLOW_GROWTH": "true"} if parallel > len(found) else {}
    own = [found[i::parallel] or [found[i % len(found)]] for i in range(parallel)]
    return [{"CUDA_VISIBLE_DEVICES": ",".join(names)} | shared for names in own]


def _end_with_parent():
    """Asks for SIGTERM when the parent is killed: nobody would wait for the run any more."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_until_free(lock):
    """Waits for a run whose parent was killed: it saves its state first."""
    end = time.monotonic() + _LONGEST_WAIT
    while lock.is_file() and time.monotonic() < end:
        with open(lock) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.5)
            else:
                return
