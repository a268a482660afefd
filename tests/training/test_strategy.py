"""Which devices a run takes by itself."""

import pytest
import tensorflow as tf

from snf_tf.training import make_strategy
from snf_tf.training.strategy import device_names


@pytest.fixture
def two_gpus(monkeypatch):
    """Shows the two logical CPU devices as the GPUs."""
    listed = tf.config.list_logical_devices
    monkeypatch.setattr(
        tf.config, "list_logical_devices", lambda kind=None: listed("CPU" if kind else None)
    )


@pytest.mark.parametrize(("batch_size", "count"), [(None, 2), (10, 2), (2, 2), (9, 1), (1, 1)])
def test_as_many_gpus_as_divide_the_batch(two_gpus, capsys, batch_size, count):
    strategy = make_strategy(batch_size=batch_size)
    assert strategy.num_replicas_in_sync == count
    assert device_names(strategy) == ["CPU:0", "CPU:1"][:count]
    said = f"Training on {count} of 2 GPUs" in capsys.readouterr().out
    assert said == (batch_size is not None)


def test_five_of_eight_gpus_for_a_batch_of_100(monkeypatch):
    devices = [tf.config.LogicalDevice(f"/device:GPU:{index}", "GPU") for index in range(8)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: devices)
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda devices, _: devices)
    assert make_strategy(batch_size=100) == [f"GPU:{index}" for index in range(5)]


def test_devices_that_are_asked_for_are_taken_all(two_gpus):
    assert make_strategy(["CPU:0", "CPU:1"], batch_size=9).num_replicas_in_sync == 2


def test_without_a_gpu_the_one_device_there_is():
    if not tf.config.list_physical_devices("GPU"):
        assert device_names(make_strategy(batch_size=10)) == ["CPU:0"]
