"""What the pages for contributors say is so, and versions agree."""

import csv
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import snf_tf

ROOT = Path(__file__).parents[1]


def text(path):
    return (ROOT / path).read_text()


def test_the_layer_of_contributing():
    (code,) = re.findall(r"```python\n(.*?)```", text("CONTRIBUTING.md"), re.DOTALL)
    assert len(code.splitlines()) <= 45
    names = {"__name__": "example"}
    exec(code, names)
    assert names["flow"].sample(2).shape == (2, 3)


def test_the_layer_of_contributing_trains_in_half_precision(mixed_float16):
    (code,) = re.findall(r"```python\n(.*?)```", text("CONTRIBUTING.md"), re.DOTALL)
    names = {"__name__": "example"}
    exec(code, names)
    flow = names["flow"]
    flow.compile("adam")
    history = flow.fit(np.random.randn(20, 3).astype("float32"), batch_size=10, verbose=0)
    assert np.isfinite(history.history["loss"][0])


def functions_of(thing):
    """Yields the functions of this package that a function or class brings."""
    if not inspect.isclass(thing):
        yield inspect.unwrap(thing)
        return
    for base in thing.__mro__:
        for name, value in vars(base).items():
            value = value.fget if isinstance(value, property) else value
            value = getattr(value, "__func__", value)
            is_public = not name.startswith("_") or name == "__init__"
            if is_public and inspect.isfunction(value) and value.__module__.startswith("snf_tf"):
                yield inspect.unwrap(value)


PACKAGES = [name for name in snf_tf.__all__ if inspect.ismodule(getattr(snf_tf, name))]


@pytest.mark.parametrize("package", ["flow", *PACKAGES])
def test_public_signatures_have_types(package):
    module, without = getattr(snf_tf, package), set()
    names = getattr(module, "__all__", [n for n in vars(module) if not n.startswith("_")])
    for thing in (getattr(module, name) for name in names):
        if not callable(thing) or not (thing.__module__ or "").startswith("snf_tf"):
            continue
        for function in functions_of(thing):
            signature = inspect.signature(function)
            names = {p.name for p in signature.parameters.values() if p.annotation is p.empty}
            if names - {"self", "cls", "_"}:
                without.add(function.__qualname__)
    assert without == set()


def test_versions():
    assert f"\n## {snf_tf.__version__} " in text("CHANGELOG.md")
    assert f"\nversion: {snf_tf.__version__}\n" in text("CITATION.cff")


def test_the_lowest_dependencies():
    command = [sys.executable, ROOT / ".ci/lowest.py"]
    lowest = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert {"tensorflow==2.20", "pytest==8.0", "onnx==1.17"} <= set(lowest)
    # Every dependency has a lower bound; comments and references to extras have none.
    config = text("setup.cfg").partition("install_requires")[2]
    needed = re.findall(r"^    ([\w-]+)[>=]", config.partition("gpu =")[0], re.MULTILINE)
    assert set(needed) <= {line.partition("==")[0] for line in lowest}


def test_the_tables_of_exports():
    path = ROOT / "docs/records/export.csv"
    spec = importlib.util.spec_from_file_location("export_table", ROOT / "scripts/export_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    page = text("docs/export.md")
    assert module.table(rows) in page
    assert module.sizes(rows) in page


@pytest.mark.parametrize("tool", ["ruff", "mypy"])
def test_hooks_are_the_checks_of_make(tool):
    assert f".venv/bin/{tool} " in text(".pre-commit-config.yaml").replace("mypy\n", "mypy \n")
    assert f"$(BIN)/{tool}" in text("Makefile")
