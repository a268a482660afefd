"""Two logical CPU devices for the tests of several replicas; float64 where truth matters."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import pytest
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


def pytest_collection_finish():
    """Lets the garbage collector leave out what imports have made: its searches take long."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)


@pytest.fixture
def float64():
    """Layers compute in float64."""
    with_policy("float64")
    yield
    with_policy("float32")


@pytest.fixture
def mixed_float16():
    """Layers compute in float16 and keep weights in float32."""
    keras.config.set_dtype_policy("mixed_float16")
    yield
    with_policy("float32")


def with_policy(dtype):
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
