"""A large array stays the only one of its size."""

from pathlib import Path

import numpy as np
import pytest

import snf_tf
from snf_tf import data, layers

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MEBIBYTE = 2**20
# Rows are short, so that something kept for each of them shows.
COLUMNS = 32


def resident(name):
    """Mebibytes of this process: VmRSS now, VmHWM at most since the last reset."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def growth(action):
    """How much more memory an action takes at its peak, in mebibytes."""
    try:
        RESET.write_text("5")
    except OSError:
        pytest.skip("Only Linux tells, and resets, the peak of a process' memory.")
    before = resident("VmRSS")
    action()
    return resident("VmHWM") - before


@pytest.mark.parametrize(
    "action",
    [
        lambda flow, x: flow.fit(x, batch_size=1000, steps_per_epoch=3, epochs=2, verbose=0),
        lambda flow, x: flow.fit(x[:10], validation_data=x, validation_steps=1, verbose=0),
        lambda flow, x: flow.evaluate(x, steps=1),
        lambda flow, x: flow.predict(x, steps=1),
        lambda flow, x: list(data.training_batches(x, 1000).take(3)),
        lambda flow, x: list(data.batches(x, 1000).take(3)),
    ],
    ids=["fit", "validation", "evaluate", "predict", "training_batches", "batches"],
)
def test_of_a_large_array_there_is_one(action):
    flow = snf_tf.Flow([layers.ActNorm()], event_shape=(COLUMNS,))
    flow.compile("sgd")
    x = np.ones((60 * MEBIBYTE // (4 * COLUMNS), COLUMNS), "float32")
    x[::2] = -1
    flow.initialize(x[:10])
    # What TensorFlow keeps of a first call is no copy.
    action(flow, x[:10_000])
    assert growth(lambda: action(flow, x)) < 30
