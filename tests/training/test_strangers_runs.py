"""A run directory that comes from a stranger: nothing of it runs, and damage is found."""

import json
import os
import shutil
from pathlib import Path

import gin
import h5py
import numpy as np
import pytest

import snf_tf.training
from snf_tf.training.finished_run import _digest_of_results, with_digests
from snf_tf.training.stored_config import parse_stored_config
from tests.training.run_files import TINY_RUN

CONFIGS = Path(__file__).parents[2] / "configs"

BINDINGS = (
    TINY_RUN
    + """
train.epochs = 2
fully_connected.penalty = @GECO()
GECO.tolerance = 2.0
"""
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("stranger") / "run"
    gin.clear_config()
    gin.parse_config(BINDINGS)
    snf_tf.training.train(directory)
    gin.clear_config()
    return directory


@pytest.fixture
def run_dir(finished, tmp_path):
    """A copy of the run, to be changed."""
    yield shutil.copytree(finished, tmp_path / "run")
    gin.clear_config()


def sign(run_dir, **changes):
    """Writes results.json with changes and digests that fit, as a stranger can."""
    results = json.loads((run_dir / "results.json").read_text()) | changes
    del results["sha256"]
    (run_dir / "results.json").write_text(json.dumps(with_digests(results, run_dir)))


def config(run_dir):
    return json.loads((run_dir / "results.json").read_text())["config"]


def test_an_honest_run_loads(run_dir):
    flow = snf_tf.training.load_run(run_dir)
    assert flow.event_shape == (2,)
    assert snf_tf.training.load_data().name == "toy2d/gaussian"
    sign(run_dir)
    assert snf_tf.training.load_run(run_dir).event_shape == (2,)


ATTACKS = {
    "dynamic registration": (
        "from __gin__ import dynamic_registration\nimport os\n"
        "fully_connected.depth = @os.system()\nos.system.command = 'touch {mark}'",
        "from __gin__|os.system|__gin__",
    ),
    "include": ("include '{dir}/evil.gin'", "include"),
    "a module beside the run": ("import evil_module_of_a_stranger", "import evil_module"),
    "a call": ("fully_connected.depth = @load_dataset()", r"@load_dataset\(\)"),
    "a call in a list": ("fully_connected.penalty = [1, (@train(),)]", r"@train\(\)"),
    "a call as a key": ("fully_connected.penalty = {{@train(): 1}}", r"@train\(\)"),
    "a call in a scope": ("fully_connected.depth = @a/b/load_dataset()", r"@a/b/load_dataset\(\)"),
    "gin's own": ("fully_connected.depth = @gin.singleton()", "singleton"),
    "training as model": ("train.model = @train", "@train"),
    "data as model": ("train.model = @load_dataset", "@load_dataset"),
    "a model as data": ("train.dataset = @fully_connected", "@fully_connected"),
    "a macro from outside": ("fully_connected.depth = %gin.REQUIRED", "%gin.REQUIRED"),
    "depth": ("fully_connected.depth = 100000", "may be 1000 at most"),
    "depth by a macro": (
        "many = 100000\nfully_connected.depth = %many",
        "depth = 100000.*may be 1000|may be 1000 at most",
    ),
    "a macro in a list": ("m = [%m]\nfully_connected.depth = %m", "%m|damaged"),
    "width": ("Dense.width = 3\nglow.coupling_width = 1000000000", "Dense|8192"),
    "a long list": ("fully_connected.penalty = [" + "1," * 2000 + "]", "2000 values"),
    "deep brackets": ("fully_connected.penalty = " + "[" * 5000 + "]" * 5000, "damaged"),
    "no gin": ("\x00\x01 $$$", "cannot be read"),
    "code": ("__import__('os').system('touch {mark}')", "cannot be read"),
    "unknown": ("fully_connected.depth = @no_such_name", "no such name"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_refused(name, run_dir, tmp_path, monkeypatch):
    text, message = ATTACKS[name]
    mark = tmp_path / "was_here"
    (run_dir / "evil.gin").write_text("import os")
    (tmp_path / "evil_module_of_a_stranger.py").write_text(f"open({str(mark)!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    text = text.format(mark=mark, dir=run_dir)
    for changed in (config(run_dir) + "\n" + text, text + "\n" + config(run_dir)):
        sign(run_dir, config=changed)
        with pytest.raises(ValueError, match=message) as caught:
            snf_tf.training.load_run(run_dir)
        assert "results.json" in str(caught.value)
        assert "Received: " in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": 'embedded"\nimport evil'}, "source"),
        ({"source": None}, "source"),
        ({"event_shape": [10**9]}, "event_shape"),
        ({"event_shape": ["2"]}, "event_shape"),
        ({"event_shape": [2.0]}, "event_shape"),
        ({"event_shape": [3000]}, "fit its weights|must be those of the flow"),
        ({"config": "a" * 2_000_000}, "at most 1000000 characters"),
    ],
)
def test_results_that_do_not_fit_are_refused(changes, message, run_dir):
    sign(run_dir, **changes)

    def load():
        snf_tf.training.load_run(run_dir)
        snf_tf.training.load_data()

    with pytest.raises(ValueError, match=message):
        load()


def test_a_module_that_the_user_imports_is_trusted(run_dir, tmp_path, monkeypatch):
    (tmp_path / "module_of_the_user.py").write_text(
        "import gin\nimport snf_tf\n"
        "@gin.configurable\ndef own_flow(event_shape, seed=0):\n"
        "    return snf_tf.models.fully_connected(event_shape, depth=1, preprocess=False)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    text = config(run_dir).replace("@fully_connected", "@own_flow")
    sign(run_dir, config="import module_of_the_user\n" + text)
    with pytest.raises(ValueError, match=r"import it yourself: --gin_bindings='import module"):
        snf_tf.training.load_run(run_dir)
    flow = snf_tf.training.load_run(run_dir, ["import module_of_the_user"])
    assert flow.event_shape == (2,)


def test_weights_from_elsewhere_are_refused(run_dir, tmp_path):
    path = run_dir / "best.weights.h5"
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = np.ones(3)
    plants = {
        "no links": [h5py.ExternalLink(str(tmp_path / "secret.h5"), "/x"), h5py.SoftLink("/x")],
        "no larger than it": [None],
    }
    content = path.read_bytes()
    for message, links in plants.items():
        for link in links:
            path.write_bytes(content)
            with h5py.File(path, "a") as file:
                if link is None:
                    file.create_dataset("more", (10**9,), "f4", chunks=True)
                else:
                    file["more"] = link
            sign(run_dir)
            with pytest.raises(ValueError, match=message):
                snf_tf.training.load_run(run_dir)


def test_a_flow_larger_than_its_weights_is_stopped(run_dir):
    wide = "train.model = @tabular\ntabular.width = 8000\ntabular.blocks = 5\n"
    sign(run_dir, config=config(run_dir).replace("train.model = @fully_connected", wide))
    with pytest.raises(ValueError, match="must fit its weights"):
        snf_tf.training.load_run(run_dir)


FILES = ("results.json", "best.weights.h5")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["empty", "half", "random", "flipped", "a byte more"])
def test_damage_is_found(name, damage, run_dir):
    path = run_dir / name
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 4
    path.write_bytes(
        {
            "empty": b"",
            "half": content[: len(content) // 2],
            "random": np.random.RandomState(0).bytes(100_000),
            "flipped": bytes(flipped),
            "a byte more": content + b"}",
        }[damage]
    )
    with pytest.raises(ValueError, match=f"{name} must be as the run has written it"):
        snf_tf.training.load_run(run_dir)


def test_random_weights_with_a_digest_that_fits_are_refused(run_dir):
    (run_dir / "best.weights.h5").write_bytes(np.random.RandomState(1).bytes(100_000))
    sign(run_dir)
    with pytest.raises(ValueError, match="must be a file of HDF5"):
        snf_tf.training.load_run(run_dir)


def test_a_number_that_was_changed_is_found(run_dir):
    results = json.loads((run_dir / "results.json").read_text())
    assert results["sha256"]["results.json"] == _digest_of_results(results)
    (run_dir / "results.json").write_text(json.dumps(results | {"test_nll": 1.0}))
    with pytest.raises(ValueError, match="another digest"):
        snf_tf.training.load_run(run_dir)


def test_runs_of_before_are_told(run_dir):
    results = json.loads((run_dir / "results.json").read_text())
    del results["sha256"]
    (run_dir / "results.json").write_text(json.dumps(results))
    with pytest.warns(UserWarning, match="before files of runs had digests"):
        snf_tf.training.load_run(run_dir)


def again(run_dir, *bindings):
    gin.clear_config()
    gin.parse_config([BINDINGS, *bindings])
    return snf_tf.training.train(run_dir)


@pytest.mark.parametrize("content", [None, b"", b"# nothing", b"\xff\xfe\x00"])
def test_the_configuration_is_in_the_checkpoint(content, run_dir):
    """Other settings are refused, whatever became of config.gin."""
    path = run_dir / "config.gin"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"another configuration|must be text"):
        again(run_dir, "train.learning_rate = 1e-2")
    assert not path.exists() or path.read_bytes() == content
    path.unlink(missing_ok=True)
    assert again(run_dir)["epochs"] == 2
    assert path.is_file()


def test_deleted_checkpoints_are_told(run_dir):
    for path in (run_dir / "checkpoints").glob("*.index"):
        path.unlink()
    with pytest.raises(ValueError, match="must have its checkpoints, and they are gone"):
        again(run_dir)
    os.unlink(run_dir / "results.json")
    os.unlink(run_dir / "best.weights.h5")
    with pytest.raises(ValueError, match=r"history.csv, of 2 epochs"):
        again(run_dir)


@pytest.mark.parametrize("damage", ["digit", "random", "empty"])
def test_a_damaged_history_is_told(damage, run_dir):
    path = run_dir / "history.csv"
    text = path.read_text()
    path.write_bytes(
        {
            "digit": text[:-20].encode() + b"7" + text[-19:].encode(),
            "random": np.random.RandomState(0).bytes(100_000),
            "empty": b"",
        }[damage]
    )
    with pytest.raises(ValueError, match=r"history\.csv"):
        again(run_dir, "train.epochs = 3")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*_*.gin")), ids=lambda path: path.stem)
def test_the_configurations_of_this_package_are_data(path):
    gin.clear_config()
    gin.add_config_file_search_path(str(CONFIGS))
    gin.parse_config_file(str(path))
    text = gin.config_str()
    gin.clear_config()
    parse_stored_config(text, "results.json")
    assert gin.config_str() == text
    gin.clear_config()
