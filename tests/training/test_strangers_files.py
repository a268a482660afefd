"""Files of a stranger: links, pipes, classes of others, and sizes that are not what they say."""

import json
import os

import gin
import h5py
import numpy as np
import pytest

import snf_tf.training
from snf_tf import data
from tests.mnist_files import write_mnist
from tests.training.test_strangers_runs import again, config, finished, run_dir, sign  # noqa: F401


@pytest.mark.parametrize("name", [".lock", ".results.json.unfinished", "samples/density.png"])
def test_nothing_is_written_through_a_link(name, run_dir, tmp_path):  # noqa: F811
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (run_dir / name).unlink(missing_ok=True)
    (run_dir / name).symlink_to(victim)
    with pytest.raises(ValueError, match="no links and no devices"):
        again(run_dir, "train.epochs = 3")
    assert victim.read_text() == "precious"


def test_a_pipe_does_not_hang_a_run(run_dir):  # noqa: F811
    (run_dir / ".lock").unlink()
    os.mkfifo(run_dir / ".lock")
    with pytest.raises(ValueError, match="no links and no devices"):
        again(run_dir)


@pytest.mark.parametrize("name", ["config.gin", "history.csv"])
def test_a_directory_is_no_file(name, run_dir):  # noqa: F811
    (run_dir / name).unlink()
    (run_dir / name).mkdir()
    with pytest.raises(ValueError, match=f"{name} must be a file"):
        again(run_dir)


@pytest.mark.parametrize(
    "text",
    ["x = 3\nx/foo = 1000000\nfully_connected.depth = %x", "x = 3\nx = 1000000"],
)
def test_a_macro_has_one_value(text, run_dir):  # noqa: F811
    sign(run_dir, config=config(run_dir) + "\n" + text)
    with pytest.raises(ValueError, match="must have one value"):
        snf_tf.training.load_run(run_dir)


def test_an_array_under_many_names_is_refused(run_dir):  # noqa: F811
    with h5py.File(run_dir / "best.weights.h5", "a") as file:
        group = file.create_group("g0")
        for _ in range(40):
            inner = group.create_group("a")
            group["b"] = inner
            group = inner
    sign(run_dir)
    with pytest.raises(ValueError, match="each under one name"):
        snf_tf.training.load_run(run_dir)


def test_weights_that_are_no_numbers_are_refused(run_dir):  # noqa: F811
    with h5py.File(run_dir / "best.weights.h5", "a") as file:
        file["complex"] = 1j * np.ones(3)
    sign(run_dir)
    with pytest.raises(ValueError, match="must hold real numbers"):
        snf_tf.training.load_run(run_dir)


def test_a_flow_is_stopped_before_its_values_are_made(run_dir):  # noqa: F811
    """Values of 3,000,000 x 3,000,000 would not fit anywhere."""
    sign(run_dir, event_shape=[3_000_000])
    with pytest.raises(ValueError, match="must fit its weights"):
        snf_tf.training.load_run(run_dir)


def test_results_of_many_bytes_are_not_read(run_dir):  # noqa: F811
    os.truncate(run_dir / "results.json", 60 * 2**30)
    with pytest.raises(ValueError, match="more than 10000000 bytes"):
        snf_tf.training.load_run(run_dir)


@pytest.mark.parametrize("key", ["type", "pythonClassName"])
def test_classes_of_others_are_not_imported(key, tmp_path, monkeypatch):
    """TFDS imports the module of every feature."""
    mark = tmp_path / "was_here"
    (tmp_path / "payload_of_a_stranger.py").write_text(f"open({str(mark)!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    prepared = tmp_path / "mnist/3.0.1"
    prepared.mkdir(parents=True)
    info = {"name": "mnist", "version": "3.0.1", "fileFormat": "tfrecord", "splits": []}
    (prepared / "dataset_info.json").write_text(json.dumps(info))
    inner = {key: "payload_of_a_stranger.X", "content": {}}
    outer = {
        "type": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
        "content": {"features": {"image": inner}},
    }
    for features in (inner, outer):
        (prepared / "features.json").write_text(json.dumps(features))
        with pytest.raises(ValueError, match=r"must be of TFDS\. Received: .*features\.json"):
            data.load_dataset("mnist", "tfds", tmp_path)
    assert not mark.exists()


def test_pipes_and_devices_are_no_data(tmp_path):
    directory = write_mnist(tmp_path)
    (directory / "x.csv").symlink_to("/dev/zero")
    folder = tmp_path / "images"
    folder.mkdir()
    os.mkfifo(folder / "a.png")
    path = directory / "train-images-idx3-ubyte.gz"
    path.unlink()
    os.mkfifo(path)
    for load in (
        lambda: data.load_files(directory / "x.csv"),
        lambda: data.load_files(folder),
        lambda: data.load_dataset("mnist", "files", directory),
    ):
        with pytest.raises(ValueError, match="no pipes, no devices"):
            load()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("train.model = @fully_connected", "train.model = 'glow'"),
        ("train.dtype_policy = 'float32'", "train.dtype_policy = 'int8_from_float32'"),
        ("train.model = @fully_connected", "train.model = @SelfNormalizingDense"),
    ],
)
def test_a_configuration_that_builds_no_flow_is_named(before, after, run_dir):  # noqa: F811
    text = config(run_dir)
    assert before in text
    sign(run_dir, config=text.replace(before, after))
    with pytest.raises(ValueError, match=r"results\.json must build a flow\. Received: "):
        snf_tf.training.load_run(run_dir)


@pytest.mark.parametrize("function", ["load_dataset", "load_files"])
def test_a_stranger_does_not_say_where_files_are_written(function, run_dir, tmp_path):  # noqa: F811
    place = f"{function}.cache_dir = '{tmp_path}/elsewhere'"
    text = config(run_dir)
    sign(run_dir, config=f"{text}\n{place}")
    snf_tf.training.load_run(run_dir)
    assert gin.get_bindings(function)["cache_dir"] is None
    snf_tf.training.load_run(run_dir, [f"{function}.cache_dir = 'mine'"])
    assert gin.get_bindings(function)["cache_dir"] == "mine"
    sign(run_dir, config=f"{text}\nscope/{place}")
    with pytest.raises(ValueError, match="scope/"):
        snf_tf.training.load_run(run_dir)
