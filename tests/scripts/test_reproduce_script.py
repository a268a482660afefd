"""`scripts/reproduce.py`: rows of the papers' tables, trained and set beside what is published."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def expected():
    with open(ROOT / "configs/expected.csv", newline="") as file:
        return list(csv.DictReader(file))


def call(*arguments):
    return subprocess.run(
        [sys.executable, ROOT / "scripts/reproduce.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("line", expected(), ids=lambda line: f"{line['table']}, {line['row']}")
def test_published_numbers_are_those_of_the_configs(line):
    # A header may tell of a row that another config of the table trains.
    configs = {other["config"] for other in expected() if other["table"] == line["table"]}
    header = " ".join(map(header_of, configs))
    value = float(line["value"]) * (100 if line["metric"] == "accuracy" else 1)
    numbers = {round(float(number), 4) for number in re.findall(r"\d+\.\d+", header)}
    assert round(value, 4) in numbers


def header_of(config):
    lines = (ROOT / f"configs/{config}.gin").read_text().splitlines()
    return " ".join(text.removeprefix("# ") for text in lines if text.startswith("#"))


def test_a_table_in_smoke_mode(tmp_path):
    arguments = ("--table=snf.1", "--budget=smoke", "--rows=Relative", f"--runs={tmp_path}")
    done = call(*arguments)
    assert done.returncode == 0, done.stderr
    (line,) = list(csv.DictReader((tmp_path / "snf.1.csv").open(newline="")))
    # Digits that come with a package are not the published data.
    assert (line["published"], line["ours"]) == ("1096.50 +- 0.50", "")
    assert float(line["ours on stand-in data"]) > 0
    assert line["epochs"] == "1 of 6000"
    assert "stand in" in (tmp_path / "snf.1.md").read_text().splitlines()[0]
    assert (tmp_path / "snf.1.png").read_bytes().startswith(b"\x89PNG")
    # What is done is not repeated; what is damaged is told.
    shutil.copy(tmp_path / "snf.1.md", tmp_path / "before.md")
    assert call(*arguments).returncode == 0
    assert (tmp_path / "snf.1.md").read_text() == (tmp_path / "before.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("table", sorted({line["table"] for line in expected()}))
def test_every_table_in_smoke_mode(tmp_path, table):
    call(f"--table={table}", "--budget=smoke", f"--runs={tmp_path}", "--parallel=2")
    lines = list(csv.DictReader((tmp_path / f"{table}.csv").open(newline="")))
    assert len(lines) == sum(line["table"] == table for line in expected())
    for line in lines:
        # No package brings other images with labels.
        is_without_labels = table in ("rf.4", "rf.5") and "MNIST" not in line["row"]
        assert ("labels" in line["failed"]) == is_without_labels, line


@pytest.mark.slow
def test_minutes_are_shared_among_runs(tmp_path):
    given = ("--table=snf.1", "--rows=FC", "--budget=minutes=0.8", f"--runs={tmp_path}")
    assert call(*given).returncode == 0
    lines = list(csv.DictReader((tmp_path / "snf.1.csv").open(newline="")))
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--table=snf.9",), "--table must be one of snf.1"),
        (("--table=snf.1", "--rows=nothing"), "--rows must match a row of snf.1"),
        (("--table=snf.1", "--budget=much"), "--budget must be smoke, paper"),
        ((), "--table must be given"),
    ],
)
def test_mistakes(arguments, words):
    done = call(*arguments)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr
