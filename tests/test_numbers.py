"""A number in a page or in a config's header has a source that is kept with it.

Sources are `configs/expected.csv`, settings of the config itself, and `docs/records/measured.csv`,
whose lines say by which command, or in which paper, a number is found. Pages made of records are
left out: `tests/scripts/test_results.py` makes them anew. Code is no prose. Whole numbers count
from 10 on, years do not.
"""

import csv
import fnmatch
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Made of records: tests make these anew.
MADE = {"docs/results.md", "docs/export.md"}
PAGES = ["README.md", *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("docs/**/*.md")))]
PAGES = [page for page in PAGES if page not in MADE]
CONFIGS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "configs").glob("*.gin"))
NUMBER = re.compile(
    r"(?<![\w.])\d+\.\d+(?![\d.]*\w)"
    r"|(?<![\w.,/-])(?!(?:19[89]|20[0-2])\d\b)(?:\d{1,3}(?:,\d{3})+|\d\d+)(?!\.?\d)(?![\d.]*[a-zA-Z_])"
    r"|(?<![\w.])\d+(?:\.\d+)?(?=(?:x|ms|s|MiB|GiB)\b)"
)
# What is no prose, and numbers of sections.
OTHER = re.compile(
    r"<!-- results: begin -->.*?<!-- results: end -->|```.*?```|`[^`]*`|\]\([^)]*\)"
    r"|(Secs?\.|[Ss]ections?) \d+\.\d+",
    re.DOTALL,
)


def lines_of(name):
    with open(ROOT / name, newline="") as file:
        return list(csv.DictReader(file))


def key(number):
    return round(float(number.replace(",", "")), 6)


def published():
    found = set()
    for line in lines_of("configs/expected.csv"):
        values = line["value"].replace("diverged", "").split("~")
        found |= {key(text) for text in values if text}
        found |= {key(line["epochs"])} if line["epochs"] else set()
        found |= {key(line["deviation"])} if line["deviation"] else set()
    return found


def listed(page):
    return {
        key(number)
        for line in lines_of("docs/records/measured.csv")
        if fnmatch.fnmatch(page, line["page"])
        for number in line["numbers"].split()
    }


def settings(config):
    """Returns the numbers of a config's settings, and of those that it includes."""
    found = set()
    for line in (ROOT / config).read_text().splitlines():
        if included := re.match(r'include "(\w+)\.gin"', line):
            found |= settings(f"configs/{included[1]}.gin")
        elif not line.startswith("#"):
            found |= {key(number) for number in re.findall(r"\d+\.?\d*(?:e-?\d+)?", line)}
    return found


def without_source(text, sources):
    return [n for n in NUMBER.findall(OTHER.sub("", text)) if key(n) not in sources]


@pytest.mark.parametrize("page", PAGES)
def test_numbers_of_pages(page):
    assert without_source((ROOT / page).read_text(), published() | listed(page)) == []


@pytest.mark.parametrize("config", CONFIGS)
def test_numbers_of_headers(config):
    text = (ROOT / config).read_text()
    header = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    sources = published() | listed(config) | settings(config)
    assert without_source(header, sources) == []


def test_every_source_is_in_use():
    for line in lines_of("docs/records/measured.csv"):
        pages = fnmatch.filter([*PAGES, *CONFIGS], line["page"])
        texts = " ".join((ROOT / page).read_text() for page in pages)
        found = {key(number) for number in NUMBER.findall(OTHER.sub("", texts))}
        unused = [number for number in line["numbers"].split() if key(number) not in found]
        assert unused == [], line


def test_a_number_without_source_is_found():
    text = "It takes 12.345 ms, `1.5` of code; 1,234 of 77 rows, 3 of D1024 (Keller et al. 2021)."
    assert without_source(text, published()) == ["12.345", "1,234", "77"]
    assert without_source("7x as fast, 40ms less, 3x3 in 1.5s", set()) == ["7", "40", "1.5"]
