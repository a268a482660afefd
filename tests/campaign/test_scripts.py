"""The campaign of wrong flags: scripts in one process each, flag after flag."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers
from tests.campaign.test_run_files import train

SCRIPTS = Path(__file__).parents[2] / "scripts"
# Runs a script's main with lists of arguments; prints what each ends with.
HARNESS = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
name, cases = sys.argv[2], json.loads(sys.argv[3])
module = importlib.import_module(name)
import command_line, gin
from absl import flags
results = []
for arguments in cases:
    flags.FLAGS.unparse_flags()
    for flag in flags.FLAGS._flags().values():
        flag.unparse()
    try:
        with gin.unlock_config():
            gin.clear_config()
        gin.config._CONFIG_IS_LOCKED = False
        rest = flags.FLAGS([name + ".py", *arguments])
        command_line._guarded(module.main, name == "compare", rest)
        results.append(None)
    except flags.Error as error:
        results.append(str(error))
    except SystemExit as error:
        results.append(str(error.code))
    except BaseException as error:
        results.append("RAW " + repr(error))
print("RESULTS", json.dumps(results))
"""
RUN = "--run_dir=run"
# Not there, a file, another program, and directories of which one file is damaged.
NO_MODELS = ("nowhere", "file", "other", "pb", "half_pb", "index", "data", "half_data", "no_data")
# Script -> lists of arguments, and what the message must name.
CASES = {
    "sample": [
        *(([RUN, f"--n={value}"], "--n=") for value in ("0", "-1", "x", "2.5", "", "nan")),
        *(([RUN, f"--temperature={value}"], "--temperature=") for value in ("-1", "x", "nan", "")),
        *(([RUN, f"--seed={value}"], "--seed=") for value in ("x", "1.5", "")),
        *(([RUN, f"--inverse={value}"], "--inverse=") for value in ("x", "", "Exact")),
        *(
            ([RUN, f"--interpolate={value}"], "--interpolate=")
            for value in ("0", "0,1,2", "a,b", "-1,2", "0,99999999", "1.5,2", "0,")
        ),
        ([RUN, "--labels=1"], "--labels="),
        ([RUN, "--pixel_values=32"], "--pixel_values="),
        *(([RUN, f"--output={value}"], "--output=") for value in ("run", "/", "file/x.png")),
        ([RUN, "more"], "more"),
        (["--run_dir="], "--run_dir="),
        (["--run_dir=nowhere"], "run_dir=nowhere"),
        (["--run_dir=file"], "run_dir=file"),
        ([RUN, "--saved_model=x"], "--run_dir="),
        *(([f"--saved_model={name}"], f"--saved_model={name}") for name in NO_MODELS),
        ([], "--run_dir="),
        ([RUN, "--gin_bindings=fully_connected.depth=3"], "fully_connected.depth=3"),
        ([RUN, "--gin_bindings=train.seed=3"], "train.seed=3"),
        ([RUN, "--gin_bindings=no.such=3"], "no"),
        ([RUN, "--gin_bindings=load_dataset.name"], "load_dataset.name"),
    ],
    "evaluate": [
        *(([f"--saved_model={name}"], f"--saved_model={name}") for name in NO_MODELS),
        *(([RUN, f"--split={value}"], "--split=") for value in ("x", "", "Test")),
        *(([RUN, f"--draws={value}"], "--draws=") for value in ("0", "-1", "x", "1.5", "")),
        *(([RUN, f"--seed={value}"], "--seed=") for value in ("x", "1.5", "")),
        *(([RUN, f"--reference={value}"], "--reference=") for value in ("x", "")),
        *(
            ([RUN, "--reference=test", f"--group_size={value}"], "--group_size=")
            for value in ("0", "-1", "x", "1000000")
        ),
        ([RUN, "--group_size=3"], "--group_size"),
        (["--saved_model=file", "--reference=test"], "--reference"),
        (["--saved_model=file", "--gradient_angle"], "--gradient_angle"),
        ([RUN, "--gradient_angle=x"], "--gradient_angle="),
        ([RUN, "more"], "more"),
        (["--run_dir=nowhere"], "run_dir=nowhere"),
        (["--run_dir=file"], "run_dir=file"),
        ([RUN, "--gin_bindings=load_dataset.name='nothing'"], "name='nothing'"),
        ([RUN, "--gin_bindings=load_dataset.source='x'"], "source='x'"),
        ([RUN, "--gin_bindings=load_dataset.source=3"], "source=3"),
        ([RUN, "--gin_bindings=train.model=@glow"], "train.model=@glow"),
    ],
    "export": [
        ([RUN, "--output=run"], "--output=run"),
        ([RUN, "--output=file"], "--output=file"),
        ([RUN], "--output"),
        (["--output=new"], "--run_dir"),
        (["--run_dir=nowhere", "--output=new"], "run_dir=nowhere"),
        ([RUN, "--output=new", "more"], "more"),
        ([RUN, "--output=new", "--format=tflite"], "--format="),
        ([RUN, "--output=new", "--methods=sample"], "--methods="),
        ([RUN, "--output=new", "--format=onnx", "--weights=float16"], "--weights=float16"),
        ([RUN, "--output=new", "--format=litert", "--weights=int8"], "--weights="),
        ([RUN, "--output=new", "--format=litert", "--methods=classify"], "methods="),
        ([RUN, "--output=new", "--gin_bindings=fully_connected.depth=3"], "depth=3"),
    ],
    "compare": [
        ([], "runs/A"),
        (["nowhere"], "nowhere"),
        (["run", "file"], "file"),
        (["run", "--output=run"], "--output="),
        (["run", "--output="], "--output="),
    ],
    "train": [
        ([], "--gin_file"),
        (["--gin_file=nowhere.gin"], "nowhere.gin"),
        (["--gin_file=random.gin"], "random.gin"),
        (["--gin_file=experiment.gin", "more"], "more"),
        *(
            (["--gin_file=experiment.gin", f"--gin_bindings=train.{binding}"], message)
            for binding, message in (
                ("epochs=0", "epochs=0"),
                ("epochs='x'", "epochs='x'"),
                ("learning_rate=-1", "learning_rate=-1"),
                ("clip_norm=0", "clip_norm=0"),
                ("weight_decay=-1", "weight_decay=-1"),
                ("warmup_steps=2.5", "warmup_steps=2.5"),
                ("verbose='x'", "verbose='x'"),
                ("run_dir='x'", "run_dir"),
                ("model=3", "model=3"),
                ("no_such=3", "no_such"),
                ("batch_size=10**9", "10**9"),
                ("devices=['GPU:7']", "GPU:7"),
            )
        ),
        (
            ["--gin_file=experiment.gin", "--gin_bindings=fully_connected.event_shape=(3,)"],
            "event_shape",
        ),
        (["--gin_file=experiment.gin", "--gin_bindings=fully_connected.depth=0"], "depth=0"),
        (["--gin_file=experiment.gin", "--gin_bindings=load_dataset.name='x'"], "name='x'"),
    ],
}


def damaged_models(directory):
    """Writes SavedModels of which a file holds random bytes, half its bytes, or none."""
    flow = snf_tf.Flow([layers.ExactDense()], event_shape=(2,))
    snf_tf.serving.export(flow, directory / "model")
    noise = np.random.default_rng(0).bytes(100_000)
    data = "variables/variables.data-00000-of-00001"
    for name, file, change in (
        ("pb", "saved_model.pb", lambda content: noise),
        ("half_pb", "saved_model.pb", lambda content: content[: len(content) // 2]),
        ("index", "variables/variables.index", lambda content: noise),
        ("data", data, lambda content: noise),
        ("half_data", data, lambda content: content[: len(content) // 2]),
        ("no_data", data, lambda content: b""),
    ):
        shutil.copytree(directory / "model", directory / name)
        path = directory / name / file
        path.write_bytes(change(path.read_bytes()))
    other = tf.Module()
    other.variable = tf.Variable(1.0)
    tf.saved_model.save(other, str(directory / "other"))


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("scripts")
    train(directory / "run", 1)
    (directory / "file").write_text("nothing")
    damaged_models(directory)
    (directory / "random.gin").write_bytes(bytes(range(256)) * 400)
    (directory / "experiment.gin").write_text(
        "load_dataset.name = 'toy2d/gaussian'\nload_dataset.source = 'embedded'\n"
        "train.model = @fully_connected\ntrain.learning_rate = 1e-3\ntrain.epochs = 1\n"
        "fully_connected.preprocess = False\n"
    )
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("script", CASES)
def test_wrong_flags_are_refused_in_words(script, directory):
    cases = [arguments for arguments, _ in CASES[script]]
    done = subprocess.run(
        [sys.executable, "-c", HARNESS, str(SCRIPTS), script, json.dumps(cases)],
        cwd=directory,
        capture_output=True,
        text=True,
    )
    assert "RESULTS" in done.stdout, done.stderr[-2000:]
    results = json.loads(done.stdout.rpartition("RESULTS ")[2])
    wrong = {
        " ".join(arguments): found
        for (arguments, message), found in zip(CASES[script], results, strict=True)
        if found is None or found.startswith("RAW") or message not in found
    }
    assert wrong == {}
    assert not (directory / "new").exists()
