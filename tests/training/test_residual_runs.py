"""Runs of residual flows: averaged weights, their certified norms, runs that were stopped."""

import os
import signal

import gin
import numpy as np
import pytest
import tensorflow as tf

import snf_tf
import snf_tf.training
from snf_tf.training import callbacks
from tests.training.run_files import assert_same_end

SETTINGS = """
load_dataset.name = "toy2d/moons"
load_dataset.source = "embedded"
train.model = @residual_flow
train.epochs = 2
train.learning_rate = 1e-2
train.beta_2 = 0.99
train.ema_momentum = 0.5
train.weight_decay = 5e-4
train.clip_norm = 1.0
train.warmup_steps = 3
train.batch_size = 20
train.steps_per_epoch = 6
train.statistics_epochs = 2
train.verbose = 0
residual_flow.blocks = 2
residual_flow.widths = (8, 8)
residual_flow.coeff = 0.5
residual_flow.norm = "learned"
residual_flow.log_det = "russian_roulette"
"""


@pytest.fixture
def residual_run(tmp_path):
    """Runs train() with some settings."""

    def run(*bindings, run_dir=tmp_path / "run"):
        gin.clear_config()
        gin.parse_config([SETTINGS, *bindings])
        return snf_tf.training.train(run_dir)

    yield run
    gin.clear_config()


def interrupt(_):
    os.kill(os.getpid(), signal.SIGTERM)


# After the first epoch, whose evaluation has changed u and v, and within it.
@pytest.mark.parametrize(
    ("step", "blocks"),
    [pytest.param(*given, marks=pytest.mark.slow) for given in ((8, 1), (2, 2), (8, 2))],
)
def test_a_stopped_run_ends_like_one_that_was_not(residual_run, tmp_path, stop_at, step, blocks):
    blocks = f"residual_flow.blocks = {blocks}"
    reference = residual_run(blocks, run_dir=tmp_path / "reference")
    stop_at(step, interrupt)
    with pytest.raises(snf_tf.training.Interrupted):
        residual_run(blocks)
    results = residual_run(blocks)
    assert_same_end(tmp_path / "run", tmp_path / "reference")
    assert results["test_nll"] == reference["test_nll"]


@pytest.mark.slow
def test_the_best_weights_are_averages_with_certified_norms(residual_run, tmp_path, monkeypatch):
    """The checksum of a certificate is that of kernel, u and v: nothing is certified anew."""
    kept = []
    original = callbacks.Checkpoints.keep_best

    def keep_best(self):
        original(self)
        kept.append([best.numpy() for best in self._best])

    monkeypatch.setattr(callbacks.Checkpoints, "keep_best", keep_best)
    results = residual_run()
    flow = snf_tf.training.load_run(tmp_path / "run")
    before = flow.get_weights()
    for weight, best in zip(before, kept[-1], strict=True):
        np.testing.assert_array_equal(weight, best)
    data = snf_tf.data.load_dataset()
    assert flow.evaluate(data.validation, batch_size=500)["nll"] == results["best_val_nll"]
    assert flow.evaluate(data.test, batch_size=500)["nll"] == results["test_nll"]
    for weight, value in zip(flow.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, value)
    blocks = [leaf for leaf in flow.leaves() if isinstance(leaf, snf_tf.layers.ResidualBlock)]
    for block in blocks:
        x = tf.random.normal((50, 2), seed=0)
        norms = tf.linalg.svd(_jacobians(block.network, x), compute_uv=False)
        assert 0 < tf.reduce_max(norms) <= float(block.bound) < 1


def _jacobians(network, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = network(x)
    return tape.batch_jacobian(y, x)


@pytest.mark.slow
def test_a_picture_of_the_density(residual_run, tmp_path):
    residual_run("train.epochs = 1")
    assert (tmp_path / "run/samples/density.png").read_bytes().startswith(b"\x89PNG")
    events = list((tmp_path / "run/tensorboard/pictures").glob("events*"))
    assert any(b"density" in event.read_bytes() for event in events)
