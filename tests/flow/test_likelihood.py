"""Likelihoods with standard errors, and the importance weighted bound."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import norm

import snf_tf
from snf_tf import layers, serving
from snf_tf.flow import likelihood
from tests.flows import image_flow, images


def test_likelihoods_are_those_of_the_flow():
    flow, x = image_flow(), images(30)
    results = likelihood.likelihoods(serving.Endpoints(flow), x, seed=5, batch_size=7)
    log_prob = flow.log_prob(x, seed=5).numpy()
    assert results["nll"] == pytest.approx(-log_prob.mean(), rel=1e-6)
    assert results["nll_standard_error"] == pytest.approx(
        log_prob.std(ddof=1) / np.sqrt(30), rel=1e-4
    )
    assert results["bits_per_dim"] == pytest.approx(-log_prob.mean() / 16 / np.log(2), rel=1e-6)
    assert set(results) == {
        "nll",
        "nll_standard_error",
        "bits_per_dim",
        "bits_per_dim_standard_error",
    }


def test_importance_weighted_bound_falls_to_the_probability():
    """Of one pixel of 4 values under a normal density, where P(x) is known."""
    flow = snf_tf.Flow([layers.Dequantize(bins=4), layers.Scale(0.5)], event_shape=(1,))
    x = np.random.RandomState(0).randint(0, 4, (200, 1)).astype("uint8")
    truth = -np.log(norm.cdf((x + 1) / 2) - norm.cdf(x / 2)).mean()
    endpoints = serving.Endpoints(flow)
    few, many = (
        likelihood.likelihoods(endpoints, x, draws=draws)["importance_weighted_nll_bound"]
        for draws in (2, 200)
    )
    nll = likelihood.likelihoods(endpoints, x)["nll"]
    assert truth < many < few < nll
    assert many == pytest.approx(truth, abs=2e-3)


def test_distance_of_decoded_data():
    flow = snf_tf.Flow([layers.Dequantize(), layers.SmoothTanh()], event_shape=(3,))
    x = np.random.RandomState(0).randint(1, 255, (10, 3))
    assert likelihood.distance_of_decoded(serving.Endpoints(flow), x.astype("uint8")) < 1e-4
    real = snf_tf.Flow([layers.SmoothTanh()], event_shape=(3,))
    assert (
        likelihood.distance_of_decoded(serving.Endpoints(real), tf.random.normal((5, 3)).numpy())
        < 1e-4
    )
