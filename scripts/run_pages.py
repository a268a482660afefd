"""Runs the code of pages, and writes what it prints and draws into them: `make pages`.

    python scripts/run_pages.py docs/tutorials/first_flow.md

Blocks of a page run one after the other. A block ```text right after a block ```python is what the
code prints. Pictures go where the page says: ![...](images/NAME.png) is the file NAME.png that the
code saves.
"""

import contextlib
import functools
import io
import linecache
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "agg")

_BLOCK = re.compile(r"^```python\n(.*?)^```\n(\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?")
_COLORS = 64


def run(page: Path) -> tuple[dict[str, Any], str]:
    """Runs the blocks of a page in the present directory.

    Returns:
        The names that the code has defined, and the page with what it has printed.
    """
    import keras

    keras.utils.set_random_seed(0)
    names: dict[str, Any] = {"__name__": "__main__"}

    def execute(match):
        # TensorFlow reads the source of functions; tracebacks show it.
        name = f"<{page.name} at {match.start()}>"
        linecache.cache[name] = (len(match[1]), None, match[1].splitlines(True), name)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(match[1], name, "exec"), names)
        output = f"\n```text\n{printed.getvalue()}```\n" if printed.getvalue() else ""
        return f"```python\n{match[1]}```\n{output}"

    return names, _BLOCK.sub(execute, page.read_text())


@contextlib.contextmanager
def one_epoch() -> Iterator[None]:
    """Makes every `fit` end after one epoch: the short mode of the tests."""
    import keras

    fit: Callable = keras.Model.fit

    @functools.wraps(fit)
    def short(self, *args, **kwargs):
        return fit(self, *args, **(kwargs | {"epochs": 1}))

    keras.Model.fit = short
    try:
        yield
    finally:
        keras.Model.fit = fit


def without_numbers(page: str) -> str:
    """Returns a page without its numbers, and with one space for many."""
    return re.sub(r" +", " ", _NUMBER.sub("0", page))


def main(pages: list[str]) -> None:
    for page in map(Path, pages):
        home = Path.cwd()
        with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
            _, text = run(home / page)
            for picture in re.findall(r"\]\(images/(\w+\.png)\)", text):
                _write_picture(Path(picture), home / page.parent / "images" / picture)
        page.write_text(text)
        print(f"{page}", flush=True)


def _write_picture(source: Path, target: Path) -> None:
    from PIL import Image

    target.parent.mkdir(exist_ok=True)
    Image.open(source).convert("RGB").quantize(_COLORS).save(target, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
