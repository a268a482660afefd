"""Ctrl-C and SIGTERM, taken as a wish to stop at the next step."""

import signal
import threading
from pathlib import Path


class Interrupted(Exception):
    """A run was stopped by a signal, after it has saved its state.

    Attributes:
        signal_number: The signal.
    """

    def __init__(self, signal_number: int, where: str, run_dir: Path) -> None:
        super().__init__(
            f"Stopped by signal {signal_number} {where}. All is saved: start it again with "
            f"--run_dir={run_dir} to go on."
        )
        self.signal_number = signal_number


class StopSignals:
    """Notes the first SIGINT or SIGTERM in `received`, as a context manager; a second one has its
    usual effect.

    Attributes:
        received: Number of the signal, None until it comes. Outside of the main thread none ever
            does.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.received = None
        self._before: dict = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in self._SIGNALS}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, _):
        self.received = number
        self.__exit__()
