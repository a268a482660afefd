"""Runs on data that lie on disk are those on the same data in memory."""

import os
import signal
import time

import gin
import numpy as np
import pytest

import snf_tf.training
import tests.training.own_data  # noqa: F401  (a model, for gin)
from snf_tf.data import StoredArray, load_dataset
from tests.training.run_files import assert_same_end, checkpoint, history, newest
from tests.training.test_workers import finish, workers_of

# A few steps an epoch; images of 4 x 4 pixels and labels, in shards.
BINDINGS = """
load_dataset.name = "files"
load_dataset.path = "{path}"
train.model = @fully_connected
train.learning_rate = 1e-3
train.batch_size = 10
train.epochs = 3
train.warmup_epochs = 0
train.verbose = 0
fully_connected.depth = 1
"""
STREAMED = "load_dataset.memory_limit = 0"


def write_data(directory, rows=60):
    random = np.random.RandomState(0)
    for name, count in (("train", rows), ("validation", 23), ("test", 17)):
        images = random.randint(0, 256, (count, 4, 4, 1)).astype("uint8")
        (directory / name).mkdir(parents=True)
        for number, part in enumerate(np.split(images, [count // 3])):
            np.save(directory / name / f"{number}.npy", part)
    return directory


@pytest.fixture
def run(tmp_path):
    path = write_data(tmp_path / "data")

    def run(run_dir, *bindings):
        gin.clear_config()
        gin.parse_config([BINDINGS.format(path=path), *bindings])
        return snf_tf.training.train(tmp_path / run_dir)

    yield run
    gin.clear_config()


@pytest.mark.slow
def test_a_streamed_run_is_the_run_in_memory(run, tmp_path):
    loaded, streamed = run("loaded"), run("streamed", STREAMED)
    assert isinstance(load_dataset().train, StoredArray)
    assert_same_end(tmp_path / "streamed", tmp_path / "loaded")
    for name in ("test_nll", "test_bits_per_dim", "best_val_nll", "sizes", "source"):
        assert streamed[name] == loaded[name]


def test_a_stopped_run_goes_on_with_the_same_batches(run, tmp_path, stop_at):
    run("whole", STREAMED)
    # In the second epoch, after two of its six steps.
    stop_at(8, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(snf_tf.training.Interrupted, match="after step 3 of epoch 2"):
        run("stopped", STREAMED)
    # Where data lie may change.
    run("stopped")
    assert_same_end(tmp_path / "stopped", tmp_path / "whole")


@pytest.mark.parametrize("kind", ["label", "context"])
def test_what_goes_with_examples_may_be_on_disk(run, tmp_path, kind):
    random = np.random.RandomState(1)
    (tmp_path / "vectors").mkdir()
    for name, count in (("train", 60), ("validation", 23), ("test", 17)):
        y = np.arange(count) % 3
        np.save(tmp_path / f"vectors/{name}.npy", random.randn(count, 2) + y[:, None])
        np.save(tmp_path / f"vectors/{name}_labels.npy", y)
        np.save(tmp_path / f"vectors/{name}_context.npy", y[:, None] + random.randn(count, 1))
    settings = [
        f'load_dataset.path = "{tmp_path}/vectors"',
        "train.model = @conditional",
        f"conditional.classes = {3 if kind == 'label' else 0}",
        f'train.conditional_on = "{kind}"',
    ]
    loaded, streamed = run("loaded", *settings), run("streamed", *settings, STREAMED)
    assert isinstance(load_dataset().train_context, StoredArray)
    assert_same_end(tmp_path / "streamed", tmp_path / "loaded")
    tested = [name for name in loaded if name.startswith("test_")]
    assert ("test_bayes_accuracy" in tested) == (kind == "label")
    for name in tested:
        assert streamed[name] == loaded[name]


def start(tmp_path, run_dir, *bindings, workers=1):
    """Starts the processes of a run on the streamed data."""
    settings = BINDINGS.format(path=tmp_path / "data").split("\n")
    (tmp_path / "streamed.gin").write_text("\n".join([*settings, STREAMED, *bindings]))
    return workers_of(run_dir, tmp_path / "streamed.gin", workers)


@pytest.mark.slow
def test_a_killed_run_ends_like_one_that_was_not(tmp_path):
    """Two SIGKILLs, at moments that the noise of the machine chooses."""
    write_data(tmp_path / "data")
    often = ("train.epochs = 60", "train.checkpoint_seconds = 0.1")
    finish(start(tmp_path, tmp_path / "whole", *often))
    for delay in (0.1, 0.35):
        (process,) = start(tmp_path, tmp_path / "killed", *often)
        begun = newest(tmp_path / "killed")
        while newest(tmp_path / "killed") < begun + 4 and process.poll() is None:
            time.sleep(0.02)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    finish(start(tmp_path, tmp_path / "killed", *often))
    assert_same_end(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
def test_two_workers_end_like_one_process(tmp_path):
    """Steps and evaluation: 23 and 17 rows are not even numbers."""
    write_data(tmp_path / "data")
    wide = 'train.dtype_policy = "float64"'
    finish(start(tmp_path, tmp_path / "one", wide))
    finish(start(tmp_path, tmp_path / "two", wide, "train.multi_worker = True", workers=2))
    one, two = (checkpoint(tmp_path / name) for name in ("one", "two"))
    for name, value in one.items():
        if name.startswith("weights/"):
            np.testing.assert_allclose(two[name], value, rtol=1e-8, atol=1e-8, err_msg=name)
    for one, two in zip(history(tmp_path / "one"), history(tmp_path / "two"), strict=True):
        # Statistics of layers are not taken in every epoch.
        assert [name for name in one if one[name]] == [name for name in two if two[name]]
        for name in filter(one.get, one):
            assert float(two[name]) == pytest.approx(float(one[name]), rel=1e-6), name
