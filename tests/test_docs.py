"""The code of the pages runs, in a short mode, and prints what the pages say; the site has no
warning and no dead link.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import gin
import matplotlib
import numpy as np
import pytest
from scipy import stats

import snf_tf

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(ROOT / "scripts"))

import run_pages  # noqa: E402

PAGES = [
    page.relative_to(ROOT).as_posix()
    for page in (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))
    if "```python\n" in page.read_text()
]
# A test of its own runs them, in full.
_IN_FULL = ("docs/data.md",)


@pytest.fixture
def in_a_directory(tmp_path):
    gin.clear_config()
    matplotlib.use("agg")
    with contextlib.chdir(tmp_path):
        yield tmp_path
    gin.clear_config()
    matplotlib.pyplot.close("all")


@pytest.mark.usefixtures("in_a_directory")
@pytest.mark.parametrize("page", [page for page in PAGES if page not in _IN_FULL])
def test_a_page_runs(page):
    with run_pages.one_epoch():
        _, text = run_pages.run(ROOT / page)
    expected = (ROOT / page).read_text()
    assert run_pages.without_numbers(text) == run_pages.without_numbers(expected)


def test_pictures_are_there_and_small():
    for page in DOCS.rglob("*.md"):
        for name in re.findall(r"!\[[^]]+\]\(([^)]+)\)", page.read_text()):
            assert 0 < (page.parent / name).stat().st_size < 100_000, (page, name)
