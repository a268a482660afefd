"""`scripts/compare.py` as a user calls it."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from absl.testing import flagsaver

SCRIPT = Path(__file__).parents[2] / "scripts/compare.py"


def compare(*arguments, cwd):
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments], cwd=cwd, capture_output=True, text=True
    )


def write_run(directory, nll, error=None, angles=""):
    directory.mkdir()
    results = {
        "config": "", "event_shape": [2], "dataset": "mnist", "source": "files", "epochs": 3,
        "test_nll": nll, "test_bits_per_dim": nll / 543, "parameters": 7,
        "seconds_per_step": 0.02,
    }  # fmt: skip
    results |= {} if error is None else {"test_reconstruction_error": error}
    (directory / "results.json").write_text(json.dumps(results))
    (directory / "history.csv").write_text(
        f"epoch,val_nll,steps,seconds{',4.Layer/gradient_angle' if angles else ''}\n"
    )
    with open(directory / "history.csv", "a") as file:
        # Angles are not taken in every epoch.
        for epoch, angle in ((1, angles), (2, angles and ","), (3, angles)):
            file.write(f"{epoch},{nll},500,3{angle}\n")


def test_a_table_and_a_plot(tmp_path):
    write_run(tmp_path / "a", 1000.0, error=2.5, angles=",0.25")
    write_run(tmp_path / "b", 900.0)
    done = compare("a", "b", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    a, b = done.stdout.splitlines()[1:3]
    assert a.split() == [
        "a",
        "mnist",
        "(files)",
        "3",
        "1000.00",
        "1.8416",
        "2.5",
        "0.25",
        "20.0",
        "7",
    ]
    assert b.split() == ["b", "mnist", "(files)", "3", "900.00", "1.6575", "-", "-", "20.0", "7"]
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_mistakes(tmp_path):
    assert "give the directories" in compare(cwd=tmp_path).stderr
    done = compare("nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert "no results.json" in done.stderr
    assert "nowhere" in done.stderr


@pytest.mark.slow
def test_accuracies_are_shown_where_there_are_some(tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path / name, 900.0)
    assert "accuracy" not in compare("a", "b", cwd=tmp_path).stdout
    path = tmp_path / "b/results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"test_accuracy": 0.9875}))
    header, a, b = compare("a", "b", cwd=tmp_path).stdout.splitlines()[:3]
    assert "accuracy" in header
    assert "0.9875" in b
    assert "0.9875" not in a


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("changes", "history", "message"),
    [
        ({"dataset": None}, None, "results.json.*run/results.json.*none: dataset"),
        ({"source": 3}, None, "results.json.*none: source"),
        ({"test_nll": None}, None, "results.json.*none: test_nll"),
        ({"test_nll": "x"}, None, "results.json.*none: test_nll"),
        ({"test_bits_per_dim": 10**400}, None, "results.json.*none: test_bits_per_dim"),
        (
            {"test_nll": None, "test_nll_bound": 2.5},
            None,
            "results.json.*none: test_nll_bound_standard_error",
        ),
        ({"test_reconstruction_error": "x"}, None, "none: test_reconstruction_error"),
        ({"epochs": "two"}, None, "results.json.*none: epochs"),
        ({"epochs": 10**12}, None, f"history.csv.*1 to {10**12}.*run/history.csv"),
        ({"parameters": True, "seconds_per_step": [1]}, None, "none: parameters, seconds_per_step"),
        ({}, "epoch\n1\n2\n3\n", "history.csv.*run/history.csv.*none: seconds, val_nll"),
        ({}, "epoch,val_nll,seconds\n1,a,1\n2,1,1\n3,1,1\n", "history.csv.*none: val_nll"),
        ({}, "epoch,val_nll,seconds,0/gradient_angle\n1,1,1,a\n2,1,1,\n3,1,1,\n", "none: 0/grad"),
        ({}, "epoch,val_nll,seconds\none,1,1\n", "history.csv.*damaged"),
    ],
)
def test_edited_runs_are_refused_by_the_name_of_the_file(
    tmp_path, monkeypatch, changes, history, message
):
    """Edited by someone who wrote new digests, too: here in the form from before digests."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    script = importlib.import_module("compare")
    run = tmp_path / "run"
    write_run(run, 900.0)
    results = json.loads((run / "results.json").read_text()) | changes
    results = {name: value for name, value in results.items() if value is not None}
    (run / "results.json").write_text(json.dumps(results))
    if history is not None:
        (run / "history.csv").write_text(history)
    with flagsaver.flagsaver(), pytest.raises(ValueError, match=f"(?s){message}"):
        script.main(flags.FLAGS(["compare.py", str(run), f"--output={tmp_path / 'a.png'}"]))
