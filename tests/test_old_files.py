"""Files of version 0.1 load: `tests/files/` was written by it, after three epochs of training."""

from pathlib import Path

import keras
import numpy as np
import pytest

from snf_tf import Flow, layers

FILES = Path(__file__).parent / "files"


@pytest.fixture
def expected():
    return np.load(FILES / "flow.npz")


def make():
    inner = Flow(
        [
            layers.SelfNormalizingConv2D(1, reconstruction_weight=10.0),
            layers.HouseholderConv1x1(),
            layers.AffineCoupling(width=3, scale="tanh"),
            layers.Flatten(),
            layers.SelfNormalizingDense(inverse_method=layers.Projected(rows=5)),
            layers.SmoothLeakyReLU(0.2),
            layers.SelfNormalizingDense(inverse_method="newton_schulz"),
            layers.ExactDense(),
            layers.RelativeGradientDense(),
        ],
        event_shape=(2, 2, 4),
    )
    bijections = [
        layers.Dequantize(),
        layers.Scale(1 / 256),
        layers.Logit(),
        layers.Squeeze(),
        layers.SmoothTanh(),
        layers.ActNorm(),
        layers.SelfNormalizingConv2D(3, 5, inverse_method="least_squares"),
        layers.SplineActivation(bins=4),
        layers.InvertibleConv1x1("plu"),
        layers.EmergingConv2D(3),
        layers.ExactConv2D(3),
        layers.ConvolutionExponential(3),
        layers.InvertibleConv1x1(),
        layers.AffineCoupling(width=3),
        layers.LeakyReLU(0.5),
        layers.FactorOut(inner),
        layers.SelfNormalizingDense(),
    ]
    return Flow(bijections, event_shape=(4, 4, 2))


def test_weights_file(expected):
    flow = make()
    flow.load_weights(FILES / "flow.weights.h5")
    check(flow, expected)


def test_keras_file(expected):
    check(keras.models.load_model(FILES / "flow.keras"), expected)


def check(flow, expected):
    assert not flow.needs_initialization
    np.testing.assert_allclose(flow.log_prob(expected["x"]), expected["log_prob"], rtol=1e-5)
    sample = flow.sample(3, seed=1, exact=False)
    np.testing.assert_allclose(sample, expected["sample"], rtol=1e-3, atol=0.05)
    leaves = {type(leaf): leaf for leaf in flow.leaves()}
    assert leaves[layers.SelfNormalizingConv2D].reconstruction_weight == 10.0
    assert leaves[layers.SelfNormalizingDense].inverse_state
