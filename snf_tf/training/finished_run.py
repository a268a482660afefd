"""The files of a finished run: digests, and what is damaged."""

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_RESULTS = "results.json"
_KEY = "sha256"
_LARGEST_RESULTS = 10_000_000


def with_digests(results: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Returns results and the digest of every file of the run, its own the last one."""
    names = ["best.weights.h5", "history.csv", "config.gin", "operative_config.gin", "nll.png"]
    paths = [directory / name for name in names] + sorted((directory / "samples").glob("*.png"))
    digests = {
        str(path.relative_to(directory)): _digest_of_file(path) for path in paths if path.is_file()
    }
    digests[_RESULTS] = _digest_of_results({**results, _KEY: digests})
    return {**results, _KEY: digests}


def read_results(directory: Path, *files: str) -> dict[str, Any]:
    """Reads `results.json` of a run, and checks the digests of it and of other files.

    Args:
        directory: Of the run.
        *files: Names of the files that the caller needs beside it.

    Raises:
        FileNotFoundError: If one is missing: the run has not come to its end.
        ValueError: If one is damaged. Of runs from before there were digests, a warning tells.
    """
    missing = [name for name in (_RESULTS, *files) if not (directory / name).is_file()]
    if missing:
        raise FileNotFoundError(
            "This is no directory of a run that has come to its end: there is no "
            f"{' and no '.join(missing)}. Received: run_dir={directory}"
        )
    path = directory / _RESULTS
    try:
        if path.stat().st_size > _LARGEST_RESULTS:
            raise ValueError(f"it has more than {_LARGEST_RESULTS} bytes")
        results = json.loads(path.read_bytes())
        if not isinstance(results, dict) or not isinstance(results["config"], str):
            raise ValueError("it holds no configuration")
        if not isinstance(results["event_shape"], list):
            raise ValueError("event_shape is no list")
    except (ValueError, KeyError, RecursionError) as error:
        _refuse(path, str(error))
    digests = results.get(_KEY)
    if digests is None:
        warnings.warn(
            f"{path} is from before files of runs had digests: damage would not be found. "
            "scripts/train.py with the same run_dir adds them.",
            stacklevel=2,
        )
        return results
    if not isinstance(digests, dict) or digests.get(_RESULTS) != _digest_of_results(results):
        _refuse(path, "its content has another digest than when it was written")
    for name in files:
        if digests.get(name) != _digest_of_file(directory / name):
            _refuse(directory / name, f"it has another digest than {_RESULTS} says")
    return results


def _refuse(path: Path, reason: str) -> None:
    raise ValueError(
        f"{path.name} must be as the run has written it, but it is damaged, or the run was "
        "continued and has not come to its end. Run scripts/train.py once more with the same "
        f"configuration and run_dir: it writes the file anew from the checkpoints. "
        f"Received: {path}: {reason}"
    )


def _digest_of_results(results: Mapping[str, Any]) -> str:
    others = {name: value for name, value in results[_KEY].items() if name != _RESULTS}
    return _digest(json.dumps({**results, _KEY: others}).encode())


def _digest_of_file(path: Path) -> str:
    # In parts: a file may be larger than memory.
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
