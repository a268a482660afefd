"""The campaign of damaged runs: no damage changes a result in silence."""

import json
import shutil

import gin
import numpy as np
import pytest

import snf_tf.training
from tests.training.run_files import TINY_RUN, history

FILES = (
    "results.json",
    "best.weights.h5",
    "config.gin",
    "operative_config.gin",
    "history.csv",
    "checkpoints/checkpoint-000002.index",
    "checkpoints/checkpoint-000002.data-00000-of-00001",
    "checkpoints/*.index",
    "checkpoints/*.data-*",
    "checkpoints/*",
)


def half(content):
    return content[: len(content) // 2]


def flipped(content):
    changed = bytearray(content)
    changed[len(content) // 2] ^= 4
    return bytes(changed)


DAMAGES = {
    "missing": None,
    "empty": lambda content: b"",
    "half": half,
    "random": lambda content: np.random.RandomState(0).bytes(100_000),
    "flipped": flipped,
    "longer": lambda content: content + b"0",
    "zeros": lambda content: bytes(len(content)),
}
CASES = [(file, damage) for file in FILES for damage in DAMAGES]


def train(run_dir, epochs):
    gin.clear_config()
    gin.parse_config([TINY_RUN, f"train.epochs = {epochs}"])
    try:
        return snf_tf.training.train(run_dir)
    finally:
        gin.clear_config()


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A run of 2 epochs, and the results and history of 3."""
    directory = tmp_path_factory.mktemp("campaign")
    train(directory / "run", 2)
    shutil.copytree(directory / "run", directory / "longer")
    return directory / "run", train(directory / "longer", 3), history(directory / "longer")


def harm(run_dir, file, damage):
    for path in run_dir.glob(file):
        if DAMAGES[damage] is None:
            path.unlink()
        else:
            path.write_bytes(DAMAGES[damage](path.read_bytes()))


def check(reference, run_dir, file, damage):
    """A damaged run goes on as if nothing were, or is refused by the name of what is damaged."""
    honest, expected, rows = reference
    names = file.replace("checkpoints/*", "checkpoint").split("/")[-1].split(".")[0]
    shutil.copytree(honest, run_dir)
    harm(run_dir, file, damage)
    refusal, flow = refused(lambda: snf_tf.training.load_run(run_dir))
    if file in ("results.json", "best.weights.h5"):
        assert names in refusal
        assert "Received: " in refusal
    else:
        nll = flow.evaluate(snf_tf.training.load_data().test)["nll"]
        assert nll == json.loads((honest / "results.json").read_text())["test_nll"]
    gin.clear_config()
    refusal, results = refused(lambda: train(run_dir, 3))
    if results is None:
        assert names in refusal
        return
    assert results["test_nll"] == expected["test_nll"]
    assert history(run_dir) == rows
    snf_tf.training.load_run(run_dir)
    gin.clear_config()


def refused(call):
    """Returns the message of a refusal, or else the result."""
    try:
        return None, call()
    except (ValueError, OSError) as error:
        return str(error), None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("file", "damage"), CASES[3::9])
def test_some_damage(reference, tmp_path, file, damage):
    check(reference, tmp_path / "run", file, damage)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("file", "damage"), CASES)
def test_damage(reference, tmp_path, file, damage):
    check(reference, tmp_path / "run", file, damage)
