"""A run on a small MNIST, as a fresh process would do it."""

import gin
import keras
import pytest

import snf_tf.training
from snf_tf.training import callbacks
from tests.mnist_files import write_mnist

BINDINGS = """
load_dataset.source = "files"
load_dataset.data_dir = "{data_dir}"
train.model = @{model}
train.learning_rate = 1e-3
train.batch_size = 10
train.warmup_epochs = 2
train.verbose = 0
convolutional.depth = 1
"""


@pytest.fixture
def run(tmp_path):
    """Runs train() with some settings."""
    (tmp_path / "data").mkdir()
    data_dir = write_mnist(tmp_path / "data")

    def run(*bindings, model="fully_connected", run_dir=tmp_path / "run"):
        gin.clear_config()
        gin.parse_config([BINDINGS.format(data_dir=data_dir, model=model), *bindings])
        return snf_tf.training.train(run_dir)

    yield run
    gin.clear_config()


class StopAt(keras.callbacks.Callback):
    """Does something after some steps of a run."""

    def __init__(self, step, action):
        super().__init__()
        self.left, self.action = step, action

    def on_train_batch_begin(self, batch, logs=None):
        self.left -= 1
        if self.left == -1:
            self.action(self.model)


@pytest.fixture
def stop_at(monkeypatch):
    """Plants an action at a step of the next runs."""

    def plant(step, action):
        planted = StopAt(step, action)
        original = callbacks.RunState.on_train_batch_begin

        def hook(self, batch, logs=None):
            original(self, batch, logs)
            planted.set_model(self.model)
            planted.on_train_batch_begin(batch, logs)

        monkeypatch.setattr(callbacks.RunState, "on_train_batch_begin", hook)

    return plant
