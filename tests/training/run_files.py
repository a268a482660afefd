"""A tiny run, and what a run leaves on disk, read for comparisons."""

import csv

import numpy as np
import tensorflow as tf

# Settings of a run of a second, but for its epochs.
TINY_RUN = """
load_dataset.name = "toy2d/gaussian"
load_dataset.source = "embedded"
train.model = @fully_connected
train.learning_rate = 1e-3
train.batch_size = 50
train.steps_per_epoch = 2
train.warmup_epochs = 0
train.verbose = 0
fully_connected.depth = 1
fully_connected.preprocess = False
"""


def checkpoint(run_dir):
    """All variables of a run's last checkpoint, but the text of its state, which holds times."""
    path = max((run_dir / "checkpoints").glob("checkpoint-*.index"))
    reader = tf.train.load_checkpoint(str(path.with_suffix("")))
    names = [
        name
        for name in reader.get_variable_to_shape_map()
        if name.startswith(("weights/", "optimizer/", "best/"))
    ]
    return {name: reader.get_tensor(name) for name in names}


def newest(run_dir):
    """The number of a run's last checkpoint."""
    return max(
        (int(path.stem[-6:]) for path in (run_dir / "checkpoints").glob("checkpoint-*.index")),
        default=0,
    )


def assert_same_end(run_dir, reference):
    one, two = checkpoint(run_dir), checkpoint(reference)
    assert one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name], err_msg=name)
    assert history(run_dir) == history(reference)


def history(run_dir):
    """The rows of a run's history, as they are written, but for times."""
    with open(run_dir / "history.csv", newline="") as file:
        return [
            {name: value for name, value in row.items() if "seconds" not in name}
            for row in csv.DictReader(file)
        ]
