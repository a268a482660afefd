"""`reproduce.py --results`: the page of results is what the committed records say."""

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from snf_tf.training.finished_run import read_results, with_digests

ROOT = Path(__file__).parents[2]
RECORDS = sorted((ROOT / "docs/records").glob("*-seed*"))


@pytest.fixture
def docs(tmp_path):
    shutil.copytree(ROOT / "docs/records", tmp_path / "docs/records")
    shutil.copy(ROOT / "README.md", tmp_path)
    return tmp_path / "docs"


@pytest.fixture
def results(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("reproduce_results")


@pytest.fixture
def records(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("reproduce_records")


def test_the_pages_are_those_of_the_records(docs):
    command = [sys.executable, ROOT / "scripts/reproduce.py", f"--docs={docs}", "--results"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (docs / "results.md").read_text() == (ROOT / "docs/results.md").read_text()
    assert (docs.parent / "README.md").read_text() == (ROOT / "README.md").read_text()
    pictures = sorted(path.name for path in docs.glob("*.png"))
    assert pictures == sorted(path.name for path in (ROOT / "docs").glob("results_*.png"))


def test_a_changed_record_changes_the_pages(docs, results):
    path = docs / "records" / RECORDS[0].name / "results.json"
    content = read_results(path.parent)
    # What was changed by hand is refused.
    path.write_text(path.read_text().replace('"test_nll": ', '"test_nll": 1'))
    with pytest.raises(ValueError, match="another digest"):
        results.write(docs)
    content.pop("sha256")
    content["test_nll"] = 1234.567
    path.write_text(json.dumps(with_digests(content, path.parent)))
    results.write(docs)
    assert "1234.57" in (docs / "results.md").read_text()
    assert "1234.57" in (docs.parent / "README.md").read_text()


def test_a_new_record_needs_no_other_change(docs, records, results):
    run_dir = docs.parent / "runs/mnist_fc-small-seed0"
    shutil.copytree(RECORDS[0], run_dir)
    records.record(run_dir, docs)
    results.write(docs)
    assert "mnist_fc, small" in (docs / "results.md").read_text()
    with pytest.raises(ValueError, match="must be named CONFIG-seedN"):
        records.record(run_dir.rename(run_dir.with_name("something-seed0")), docs)


def test_a_measured_page_is_kept(docs, records, results):
    page = docs.parent / "figure-snf.9.md"
    page.write_text("# Figure snf.9: angles\n\n![angles](figure-snf.9.png)\n")
    with pytest.raises(FileNotFoundError):
        records.record(page.with_name("figure-snf.8.md"), docs)
    page.with_suffix(".png").write_bytes(b"picture")
    records.record(page, docs)
    found = results.write(docs)
    assert "## Figure snf.9: angles\n\n![angles](records/figure-snf.9.png)\n" in found
    assert (docs / "records/figure-snf.9.png").read_bytes() == b"picture"
    with pytest.raises(ValueError, match=r"must be TABLE\.md"):
        records.record(docs.parent / "README.md", docs)


def test_settings_that_differ_are_told(records):
    operative = "glow.levels = 2\nglow.steps = 4\nglow.coupling_width = 64\ntrain.epochs = 20\n"
    told = records._settings(operative, "mnist_glow")
    assert told == ["glow.steps = 4", "glow.coupling_width = 64"]
    # Of settings that the config does not name, those that are not defaults.
    operative = "train.devices = None\nfully_connected.depth = 2\nFixedPenalty.weight = 0.1\n"
    operative += "fully_connected.inverse_method = @LearnedInverse()\n"
    told = records._settings(operative, "mnist_fc")
    assert told == [
        "FixedPenalty.weight = 0.1",
        "fully_connected.inverse_method = @LearnedInverse()",
    ]


def test_published_numbers_are_those_of_the_same_settings(records, results):
    result = read_results(ROOT / "docs/records/mnist_fc-seed0")
    same, other = (
        results._line(
            records.Group("mnist_fc", "mnist_fc", settings, [result], []), {"mnist_fc": "5.5"}
        )
        for settings in ([], ["fully_connected.depth = 3"])
    )
    # Times of a busy machine are not shown.
    assert (same["ms a step"], other["ms a step"]) == ("5.5", "")
    weight = "fully_connected.reconstruction_weight = 0.1"
    small = results._line(records.Group("mnist_fc", "mnist_fc", [weight], [result], []), {})
    assert (small["published"], small["settings"]) == ("diverged", f"`{weight}`")
    assert (same["published"], same["epochs"]) == ("947.1 +- 0.2", "100 of 6000")
    assert (other["published"], other["epochs"], other["ours"]) == ("", "100", same["ours"])


def test_differences_to_the_exact_gradient(records, results):
    def group(name, config, settings, values):
        history = pd.DataFrame({"epoch": range(1, 13), "val_nll": values})
        return records.Group(name, config, settings, [], [history])

    groups = [
        group("mnist_fc", "mnist_fc", [], [9.0, *[5.0] * 10, 3.0]),
        group("mnist_fc, lambda", "mnist_fc", ["lambda = 2"], [6.0] * 12),
        group("mnist_fc, wide", "mnist_fc", ["width = 2"], [7.0] * 12),
        group("mnist_fc_exact", "mnist_fc_exact", [], [8.0, *[4.5] * 9, 3.0, 2.0]),
        group("mnist_fc_exact, wide", "mnist_fc_exact", ["width = 2"], [6.5] * 12),
    ]
    learned, weighted, wide = results._differences(groups, "mnist_fc_exact")
    assert learned["at the last common epoch, nats"] == "+1.00"
    assert learned["the same, %"] == "+50.00"
    # The largest is that from epoch 10 on.
    assert (learned["largest, nats"], learned["at epoch"]) == ("+2.00", 11)
    # Without an exact run of the same settings, that of the config's own.
    assert weighted["at the last common epoch, nats"] == "+4.00"
    assert wide["at the last common epoch, nats"] == "+0.50"


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.name)
def test_records_name_no_path_of_a_machine(record):
    assert sorted(path.name for path in record.iterdir()) == ["history.csv", "results.json"]
    config = read_results(record, "history.csv")["config"]
    assert "_dir" not in config
    assert "path = '" not in config
