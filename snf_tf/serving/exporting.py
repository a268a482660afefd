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
    """Yields a path nearby, which takes the place of the path when all has been written.

    Raises:
        FileExistsError: If the path exists.
        OSError: If nothing can be written there.
    """
    path = Path(check_instance(name, path, (str, os.PathLike), "a path"))
    if os.path.lexists(path):
        raise FileExistsError(f"{what} must not exist yet. Received: {name}={path}")
    # Directories above the path appear with it.
    above = next(parent for parent in path.parents if parent.exists())
    # Of two exports at a time, to a/1 and b/1, each has its own.
    unfinished = above / f".{'-'.join(path.relative_to(above).parts)}.unfinished"
    try:
        _remove(unfinished)
        unfinished.mkdir()
        unfinished.rmdir()
    except OSError as error:
        raise OSError(f"{what} cannot be written. Received: {name}={path}: {error}") from None
    try:
        yield unfinished
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(unfinished, path)
    finally:
        _remove(unfinished)


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
