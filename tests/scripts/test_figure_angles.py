"""SNF Figure 3: the angles of a step, against gradients by autodiff and NumPy."""

import importlib
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from snf_tf import Flow, layers

ROOT = Path(__file__).parents[2]


def angle(one, other):
    one, other = np.ravel(one), np.ravel(other)
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    return np.degrees(np.arccos(cosine))


def test_angles_of_a_step(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    make_step = importlib.import_module("measure_angles")._make_step
    flow = Flow(
        [
            layers.SelfNormalizingDense(),
            layers.SmoothLeakyReLU(),
            layers.SelfNormalizingDense(),
        ],
        event_shape=(4,),
    )
    random = np.random.default_rng(0)
    dense = [leaf for leaf in flow.leaves() if leaf.has_approximate_inverse]
    for layer in dense:
        layer.kernel.assign(np.eye(4) + 0.2 * random.normal(size=(4, 4)))
        layer.inverse_kernel.assign(
            np.linalg.inv(layer.kernel.numpy()) + 0.05 * random.normal(size=(4, 4))
        )
    x = tf.constant(random.normal(size=(10, 4)), tf.float32)
    with tf.GradientTape() as tape:
        nll = -tf.reduce_mean(flow.log_prob(x))
    exact = [g.numpy() for g in tape.gradient(nll, [layer.kernel.value for layer in dense])]
    before = [layer.kernel.numpy() for layer in dense]
    inverses = [layer.inverse_kernel.numpy() for layer in dense]
    flow.compile(optimizer=keras.optimizers.SGD(1e-3))
    flow.optimizer.build(flow.trainable_variables)
    found = make_step(flow)(x, 0)
    for index, kernel in enumerate(before):
        of_log_det = np.linalg.inv(kernel).T
        # SNF Eq. 10: half of the data's gradient, and half of the estimate of log|det|'s.
        used = 0.5 * (exact[index] + of_log_det - inverses[index].T)
        np.testing.assert_allclose(
            found["log_det"][index], angle(inverses[index].T, of_log_det), rtol=1e-3
        )
        np.testing.assert_allclose(found["nll"][index], angle(used, exact[index]), rtol=1e-3)
        # The step has trained.
        assert np.abs(dense[index].kernel.numpy() - kernel).max() > 0


class Killed(BaseException):
    """As a signal that no handler sees."""


@pytest.mark.slow
def test_a_killed_measurement_goes_on(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    module = importlib.import_module("measure_angles")
    work = importlib.import_module("figure_work").Work
    budget = importlib.import_module("reproduce_runs").Budget("smoke", 0)
    row = importlib.import_module("reproduce_table").Row("FC", "mnist_fc", [], [], None, {})
    monkeypatch.setattr(module, "_SMOKE_STEPS", 6)
    given = work("snf.3", [row], [], budget, [], tmp_path)
    whole, stand_in = module.measure(row, given, tmp_path / "whole.csv")
    assert (len(whole), stand_in) == (6, "mnist (embedded)")
    # Kept after each step; killed in the fifth, with a table one step longer than the state.
    monkeypatch.setattr(module, "_SAVED_EVERY", -1.0)
    make_step = module._make_step

    def killed(flow):
        step = make_step(flow)

        def one(x, index):
            if index == 4:
                raise Killed
            return step(x, index)

        return one

    monkeypatch.setattr(module, "_make_step", killed)
    path = tmp_path / "killed.csv"
    with pytest.raises(Killed):
        module.measure(row, given, path)
    with path.open("a") as file:
        file.write("5,1.0,90.0,90.0,0.0,0.0\n")
    monkeypatch.setattr(module, "_make_step", make_step)
    found, _ = module.measure(row, given, path)
    names = [name for name in whole if name != "seconds"]
    np.testing.assert_allclose(found[names], whole[names], rtol=1e-4)
    # What is done is not repeated.
    monkeypatch.setattr(module, "_make_step", None)
    pd.testing.assert_frame_equal(module.measure(row, given, path)[0], found)
