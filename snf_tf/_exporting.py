"""What every export of a flow begins and ends with."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snf_tf._checks import check_instance
from snf_tf.flow import Flow


def require_ready(flow: Any) -> None:
    """Raises a ValueError unless it is a flow whose weights are all there."""
    check_instance("flow", flow, Flow, "a snf_tf.Flow")
    flow.require_built("export")
    if waiting := [leaf.name for leaf in flow.leaves() if leaf.needs_initialization]:
        raise ValueError(
            "export takes a flow that is initialized: call flow.initialize(batch). "
            f"Received: {', '.join(waiting)} wait for data"
        )


@contextlib.contextmanager
def appearing(name: str, path: str | os.PathLike, what: str) -> Iterator[Path]:
    """Yields a path beside, which takes the place of the path when all has been written."""
    path = Path(check_instance(name, path, (str, os.PathLike), "a path"))
    if path.exists():
        raise FileExistsError(f"{what} must not exist yet. Received: {name}={path}")
    unfinished = path.with_name(f".{path.name}.unfinished")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _remove(unfinished)
        yield unfinished
        os.replace(unfinished, path)
    finally:
        _remove(unfinished)


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
