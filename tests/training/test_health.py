"""Runs that go wrong: what is not finite, and inverses that are left behind."""

import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf.training.health import diagnose, remedies, warn_of_a_bad_inverse
from tests.training.run_files import checkpoint, history, newest


def test_a_step_that_is_not_finite_stops_the_run(run, tmp_path, stop_at):
    def spoil(flow):
        kernel = flow.bijections[6].kernel
        kernel.assign(tf.tensor_scatter_nd_update(kernel.value, [[3, 4]], [np.nan]))

    stop_at(7, spoil)
    message = (
        r"loss of step 3 of epoch 2 is not finite.*number 6, SelfNormalizingDense: "
        r".*kernel 1 of 614656 not finite"
    )
    with pytest.raises(FloatingPointError, match=message):
        run("train.epochs = 3")
    assert all(
        np.isfinite(value).all()
        for value in checkpoint(tmp_path / "run").values()
        if value.dtype.kind == "f"
    )


def test_a_loss_that_is_not_finite_is_found_under_xla(run, tmp_path, stop_at):
    def spoil(flow):
        kernel = flow.bijections[6].kernel
        kernel.assign(tf.tensor_scatter_nd_update(kernel.value, [[3, 4]], [np.nan]))

    settings = "train.epochs = 3", "train.jit_compile = True", "train.checkpoint_seconds = 0.0"
    stop_at(7, spoil)
    with pytest.raises(
        FloatingPointError,
        match=r"loss of epoch 2 is not finite, after step 3 .*first layer that is not finite",
    ):
        run(*settings)
    assert newest(tmp_path / "run") == 7
    for value in checkpoint(tmp_path / "run").values():
        assert value.dtype.kind != "f" or np.isfinite(value).all()


@pytest.mark.parametrize("bad_step", [7, pytest.param(9, marks=pytest.mark.slow)])
def test_xla_finds_the_loss_at_the_end_of_the_epoch(run, tmp_path, stop_at, bad_step):
    """Before the likelihoods of weights that are lost; in its last step, too."""
    stop_at(bad_step, lambda flow: flow.bijections[6].bias.assign(np.full(784, np.inf)))
    with pytest.raises(FloatingPointError, match=r"loss of epoch 2 is not finite, after step 5 "):
        run("train.epochs = 3", "train.jit_compile = True")
    assert len(history(tmp_path / "run")) == 1


def test_a_large_learning_rate_stops_the_run(run, tmp_path):
    with pytest.raises(FloatingPointError, match=r"is not finite|training has diverged"):
        run("train.epochs = 3", "train.learning_rate = 1e30", "train.warmup_epochs = 0")
    assert not (tmp_path / "run/results.json").exists()


def test_statistics_of_every_layer(run, tmp_path):
    run("train.epochs = 1")
    header, row = (tmp_path / "run/history.csv").read_text().splitlines()
    values = dict(zip(header.split(","), map(float, row.split(",")), strict=True))
    for index in (4, 6):
        for name in ("kernel_norm", "gradient_norm", "log_det", "reconstruction_error"):
            assert np.isfinite(values[f"{index}.SelfNormalizingDense/{name}"])
    assert values["4.SelfNormalizingDense/kernel_norm"] == pytest.approx(28, rel=0.05)


def test_a_bad_inverse_is_warned_of():
    rows = [{"val_reconstruction_error": 1.0 + i, "surrogate": 10.0 - i} for i in range(4)]
    with pytest.warns(UserWarning, match="has grown for 3 epochs"):
        warn_of_a_bad_inverse(rows, snf_tf.Flow([snf_tf.layers.ExactDense()], (2,)))


def test_a_loss_that_overflows_is_told_from_a_layer():
    flow = snf_tf.Flow([snf_tf.layers.Scale(1e30)], event_shape=(2,))
    assert "The outputs of all layers are finite" in diagnose(flow, tf.ones((3, 2)))
    assert "latents finite, |.| up to 1e+30" in diagnose(flow, tf.ones((3, 2)))


def test_a_gradient_that_is_not_finite_stops_the_run(run, tmp_path, monkeypatch):
    @tf.custom_gradient
    def overflow(x):
        return x, lambda upstream: np.inf * upstream

    original = snf_tf.layers.SmoothLeakyReLU.call

    def call(self, x, context=None, training=False):
        return original(self, overflow(x) if training else x)

    monkeypatch.setattr(snf_tf.layers.SmoothLeakyReLU, "call", call)
    message = (
        r"loss of step 2 of epoch 1 is not finite.*number 4, SelfNormalizingDense: "
        r"kernel 614656 of 614656 .*step before"
    )
    with pytest.raises(FloatingPointError, match=message):
        run("train.epochs = 1")
    assert not (tmp_path / "run/results.json").exists()


def test_advice_fits_the_layers():
    learned = snf_tf.Flow([snf_tf.layers.SelfNormalizingDense()], (2,))
    exact = snf_tf.Flow([snf_tf.layers.ExactDense()], (2,))
    assert "reconstruction_weight" in remedies(learned)
    assert "reconstruction_weight" not in remedies(exact)
