"""`scripts/reproduce.py`: tables and figures of the papers, beside what is published."""

import csv
import fcntl
import importlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from absl import flags
from absl.testing import flagsaver

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "docs/records/mnist_fc-seed0"


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


def likelihoods():
    """Returns the lines of tables whose numbers are results of trained runs."""
    metrics = ("nll", "bits_per_dim", "accuracy")
    return [line for line in expected() if line["metric"] in metrics and line["config"]]


@pytest.mark.parametrize("line", likelihoods(), ids=lambda line: f"{line['table']}, {line['row']}")
def test_published_numbers_are_those_of_the_configs(line):
    # A header may tell of a row that another config of the table trains.
    configs = {other["config"] for other in likelihoods() if other["table"] == line["table"]}
    header = " ".join(map(header_of, configs))
    if line["value"] == "diverged":
        assert "diverged" in header
        return
    values = [float(text) for text in line["value"].split("~")]
    numbers = {round(float(number), 4) for number in re.findall(r"\d+\.\d+", header)}
    assert all(round(value, 4) in numbers for value in values)


def header_of(config):
    lines = (ROOT / f"configs/{config}.gin").read_text().splitlines()
    return " ".join(text.removeprefix("# ") for text in lines if text.startswith("#"))


def test_a_table_in_smoke_mode(tmp_path):
    arguments = ("--table=snf.1", "--budget=smoke", "--rows=Relative", f"--runs={tmp_path}")
    done = call(*arguments)
    assert done.returncode == 0, done.stderr
    (line,) = list(csv.DictReader((tmp_path / "snf.1.csv").open(newline="")))
    assert "1 of 1 runs, 1 of 1 epochs" in done.stdout
    assert "min left" in done.stdout
    # Digits that come with a package are not the published data.
    assert (line["published"], line["ours"]) == ("1096.5 +- 0.5", "")
    assert float(line["ours on stand-in data"]) > 0
    assert line["epochs"] == "1 of 6000"
    assert "stand in" in (tmp_path / "snf.1.md").read_text().splitlines()[0]
    assert (tmp_path / "snf.1.png").read_bytes().startswith(b"\x89PNG")
    # What is done is not repeated; what is damaged is told.
    shutil.copy(tmp_path / "snf.1.md", tmp_path / "before.md")
    assert call(*arguments).returncode == 0
    assert (tmp_path / "snf.1.md").read_text() == (tmp_path / "before.md").read_text()


@pytest.mark.parametrize(
    ("given", "parallel", "expected"),
    [
        ("0,1,2,3", 1, [None]),
        ("", 2, [None, None]),
        ("4,5,6", 2, ["4,6", "5"]),
        ("4,5", 3, ["4", "5", "4"]),
    ],
)
def test_runs_at_a_time_divide_the_gpus(monkeypatch, given, parallel, expected):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    found = importlib.import_module("reproduce_calls").divided_devices(parallel)
    assert [devices.get("CUDA_VISIBLE_DEVICES") for devices in found] == expected
    assert ("TF_FORCE_GPU_ALLOW_GROWTH" in found[0]) == (expected[0] == expected[-1] == "4")


@pytest.mark.slow
@pytest.mark.parametrize("table", sorted({line["table"] for line in likelihoods()}))
def test_every_table_in_smoke_mode(tmp_path, table):
    done = call(f"--table={table}", "--budget=smoke", f"--runs={tmp_path}", "--parallel=2")
    assert done.returncode == 0, done.stderr
    lines = list(csv.DictReader((tmp_path / f"{table}.csv").open(newline="")))
    assert len(lines) == sum(line["table"] == table for line in expected())
    configs = {line["row"]: line["config"] for line in expected() if line["table"] == table}
    for line in lines:
        assert (line["not run"] == "") == (line["epochs"] != "") == (configs[line["row"]] != "")


def test_rows_of_others_are_not_run(tmp_path):
    done = call("--table=rf.1", "--rows=FFJORD", "--budget=minutes=1", f"--runs={tmp_path}")
    assert done.returncode == 0, done.stderr
    lines = list(csv.DictReader((tmp_path / "rf.1.csv").open(newline="")))
    assert [line["published"] for line in lines] == ["0.99", "3.40"]
    assert {line["not run"] for line in lines} == {"others' model, not made here"}


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module


def test_runs_of_other_budgets_and_settings_are_other_runs(scripts, tmp_path):
    runs, table = scripts("reproduce_runs"), scripts("reproduce_table")
    rows = table.rows("snf.1", "^SNF FC")
    budget = runs.Budget.read
    paths = [
        runs.runs_of(rows, 1, tmp_path, budget(text), bindings)[0].path
        for text, bindings in (
            ("smoke", []),
            ("epochs=1", []),
            ("epochs=1", ["train.learning_rate = 0.5"]),
            ("epochs=1", ["train.learning_rate = 0.6"]),
        )
    ]
    assert len(set(paths)) == 4
    # A longer run of the same settings goes on from a shorter one.
    for text in ("epochs=5", "minutes=3", "paper"):
        assert runs.runs_of(rows, 1, tmp_path, budget(text))[0].path == paths[1]


def test_one_run_that_fails_leaves_the_others(scripts, tmp_path, monkeypatch):
    runs, table = scripts("reproduce_runs"), scripts("reproduce_table")
    rows = table.rows("snf.1", "FC 2-Layer")
    budget = runs.Budget.read("epochs=1")
    planned = runs.runs_of(rows, 1, tmp_path, budget)
    shutil.copytree(RECORD, planned[1].path)
    (planned[1].path / "results.json").write_text("{")
    called = []

    def train(self, config, run_dir, settings, seconds=None):
        called.append(config)
        if config == "mnist_fc":
            raise RuntimeError("train.py: no memory")
        if config == "mnist_fc_relative":
            shutil.copytree(RECORD, run_dir)

    monkeypatch.setattr(scripts("reproduce_calls").Calls, "train", train)
    failed = runs.train(planned, budget)
    # What is damaged is left to train.py, which has not mended it here.
    assert called == [run.row.config for run in planned]
    assert failed == {planned[0].path: "train.py: no memory"}
    text = table.write(tmp_path, "snf.1", rows, planned, failed, "epochs=1", False)
    learned, exact, relative = csv.DictReader((tmp_path / "snf.1.csv").open(newline=""))
    assert learned["not run"] == "train.py: no memory"
    assert "results.json" in exact["not run"]
    assert (relative["ours"], relative["not run"]) == ("1026.27", "")
    assert "Budget: epochs=1." in text
    # What is done is not repeated.
    called.clear()
    runs.train(planned[2:], budget)
    assert called == []


def test_small_models_and_other_data_are_no_results(scripts, tmp_path):
    table = scripts("reproduce_table")
    (row,) = table.rows("snf.1", "^SNF FC")
    result = {
        "dataset": "mnist",
        "source": "files",
        "epochs": 1,
        "seconds_per_step": 0.01,
        "test_nll": 7.0,
    }
    line = table.line(row, "nll", [result, result | {"test_nll": 9.0}])
    assert (line["ours"], line["stand-in data"], line["kind"]) == ("8.00 +- 1.41", "", "exact")
    line = table.line(row, "nll", [result], is_smoke=True)
    assert (line["ours"], line["ours on stand-in data"], line["ms a step"]) == ("", "7.00", "")
    line = table.line(row, "nll", [result, result | {"source": "embedded"}])
    assert (line["ours"], line["ours on stand-in data"]) == ("", "")
    assert "mnist (embedded), mnist (files)" in line["not run"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--table=snf.1", "--rows=("], "--rows must be a regular expression"),
        (["--table=snf.1", "--rows=nothing"], "--rows must match a row"),
        (["--table=all", "--figure=rf.4", "--rows=nothing"], "--rows must match a row"),
        (["--table=snf.1", "--budget=epochs=0"], "with N and M above 0"),
        (["--table=snf.9"], "--table must be one of"),
        (["--table=snf.1", "--runs={file}"], "--runs must be a directory"),
        (["--table=snf.1", "--runs={locked}"], "Another reproduce.py is at work"),
    ],
)
def test_wrong_flags_are_refused_before_anything_runs(
    scripts, tmp_path, arguments, words, monkeypatch
):
    (tmp_path / "file").write_text("")
    (tmp_path / "locked").mkdir()
    script = scripts("reproduce")
    monkeypatch.setattr(scripts("reproduce_calls").Calls, "train", None)
    given = [one.format(file=tmp_path / "file", locked=tmp_path / "locked") for one in arguments]
    if not any("--runs" in one for one in given):
        given.append(f"--runs={tmp_path}")
    with flagsaver.flagsaver(), open(tmp_path / "locked/.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        flags.FLAGS(["reproduce.py", *given])
        with pytest.raises(ValueError, match=words):
            script.main(None)


@pytest.mark.slow
def test_ctrl_c_ends_all_and_saves(tmp_path):
    command = [sys.executable, ROOT / "scripts/reproduce.py", "--table=snf.1", "--rows=^SNF FC"]
    command += ["--budget=minutes=9", "--gin_bindings=load_dataset.source = 'embedded'"]
    process = subprocess.Popen([*command, f"--runs={tmp_path}"], stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 200
    while not list(tmp_path.glob("runs/*/history.csv")) and time.monotonic() < end:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, "stopped by Ctrl-C" in said) == (130, True)
    (log,) = tmp_path.glob("runs/*.log")
    assert "All is saved" in log.read_text()
    assert not list(tmp_path.glob("runs/*/results.json"))


def test_a_figure_in_smoke_mode(tmp_path):
    done = call("--figure=rf.4", "--budget=smoke", f"--runs={tmp_path}")
    assert done.returncode == 0, done.stderr
    lines = list(csv.DictReader((tmp_path / "figure-rf.4.csv").open(newline="")))
    steepest = [n for n in lines if n["activation"] == "LipSwish" and float(n["first"]) > 0.95]
    assert max(float(line["first"]) for line in steepest) <= 1.0
    assert max(abs(float(line["second"])) for line in steepest) > 0.05
    # The slope of softplus is the logistic function.
    line = next(n for n in lines if n["activation"] == "Softplus" and float(n["x"]) == 0)
    assert (float(line["first"]), float(line["second"])) == (0.5, 0.25)
    assert (tmp_path / "figure-rf.4.md").read_text().startswith("# Figure rf.4: ")
    assert (tmp_path / "figure-rf.4.png").read_bytes().startswith(b"\x89PNG")


def test_the_list_names_tables_and_figures():
    listed = call("--list").stdout
    for name in ("table snf.3", "table rf.2", "figure snf.3", "figure rf.17"):
        assert name in listed
    assert "  CNN (mnist_conv)" in listed


@pytest.mark.slow
@pytest.mark.parametrize(
    "figure",
    ["snf.2", "snf.3", "snf.4", "snf.5", "rf.2", "rf.3", "rf.8", "rf.15", "rf.16", "rf.17"],
)
def test_every_figure_in_smoke_mode(tmp_path, figure):
    done = call(f"--figure={figure}", "--budget=smoke", f"--runs={tmp_path}", "--parallel=2")
    assert done.returncode == 0, done.stderr
    for suffix in ("md", "csv", "png"):
        assert (tmp_path / f"figure-{figure}.{suffix}").stat().st_size > 0


@pytest.mark.slow
def test_a_table_of_times_and_one_of_distances(tmp_path):
    arguments = ("--budget=smoke", f"--runs={tmp_path}")
    assert call("--table=snf.3", "--rows=FC", *arguments).returncode == 0
    lines = list(csv.DictReader((tmp_path / "snf.3.csv").open(newline="")))
    assert lines[0]["published, on a GPU"] == "44.9 +- 4.4"
    assert float(lines[0]["here, median"]) > 0
    assert call("--table=rf.2", "--rows=PixelCNN|Glow", *arguments).returncode == 0
    lines = list(csv.DictReader((tmp_path / "rf.2.csv").open(newline="")))
    assert [line["published FID"] for line in lines] == ["65.93", "46.90"]
    assert lines[1]["ours"] or lines[1]["reason"]


@pytest.mark.slow
def test_a_table_that_was_killed_is_the_same(tmp_path):
    arguments = ["--table=snf.1", "--rows=Relative|Exact Gradient FC", "--budget=epochs=2"]
    arguments += [
        "--gin_bindings=include 'smoke.gin'",
        "--gin_bindings=train.epochs = 2",
        "--gin_bindings=train.steps_per_epoch = 100",
    ]
    begun = time.monotonic()
    assert call(*arguments, f"--runs={tmp_path / 'whole'}").returncode == 0
    whole = time.monotonic() - begun
    script = ROOT / "scripts/reproduce.py"
    command = [sys.executable, script, *arguments, f"--runs={tmp_path / 'killed'}"]
    draw = random.Random(0)
    for _ in range(5):
        process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.1, 0.9) * whole)
        # The run may have ended by now, and with it its group.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert call(*arguments, f"--runs={tmp_path / 'killed'}").returncode == 0
    tables = []
    for name in ("whole", "killed"):
        lines = list(csv.DictReader((tmp_path / name / "snf.1.csv").open(newline="")))
        tables.append([{key: line[key] for key in line if key != "ms a step"} for line in lines])
    assert tables[0] == tables[1]
    for row in ("mnist_fc_relative", "mnist_fc_exact"):
        histories = [
            [
                {key: value for key, value in line.items() if "seconds" not in key}
                for line in csv.DictReader(path.open(newline=""))
            ]
            for name in ("whole", "killed")
            for path in (tmp_path / name).glob(f"runs/{row}-*/history.csv")
        ]
        assert len(histories) == 2
        assert histories[0] == histories[1]


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
        pytest.param(
            ("--table=snf.1", "--rows=nothing"),
            "--rows must match a row of snf.1",
            marks=pytest.mark.slow,
        ),
        pytest.param(("--figure=snf.1",), "--figure must be one of snf.2", marks=pytest.mark.slow),
        pytest.param(
            ("--table=snf.1", "--budget=much"),
            "--budget must be smoke, paper",
            marks=pytest.mark.slow,
        ),
        ((), "--table must be given"),
    ],
)
def test_mistakes(arguments, words):
    done = call(*arguments)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr
