"""Tests of typicality and likelihood ratios, on Gaussians where all is known."""

import numpy as np
import pytest
from scipy.stats import kstest, norm

import snf_tf
from snf_tf import layers
from snf_tf.flow import likelihood_ratio, typicality

D = 50


def gaussian(scale=1.0, size=D):
    """With standard deviation 1 / scale."""
    return snf_tf.Flow([layers.Scale(scale, dtype="float64")], (size,))


def draw(rows, seed, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=(rows, D))


@pytest.mark.parametrize("group_size", [1, 5])
def test_statistics_are_those_of_plain_numpy(group_size):
    x, reference = draw(20, 1, 1.1), draw(300, 2)
    found = typicality(gaussian(), x, reference, group_size, seed=3)
    log_p, expected = (norm.logpdf(data).sum(axis=1) for data in (x, reference))
    groups = [log_p[i : i + group_size].mean() for i in range(0, 20, group_size)]
    np.testing.assert_allclose(found.statistic, np.abs(groups - expected.mean()), rtol=1e-9)
    # Groups of the reference by another generator.
    rows = np.random.RandomState(0).randint(300, size=(100_000, group_size))
    drawn = np.abs(expected[rows].mean(axis=1) - expected.mean())
    shares = [np.mean(drawn >= statistic) for statistic in found.statistic]
    np.testing.assert_allclose(found.p_value, shares, atol=0.02)


def test_likely_data_need_not_be_typical():
    """The mode and its neighbours have a higher likelihood than any data."""
    flow, reference = gaussian(), draw(2000, 2)
    near = draw(10, 1, scale=0.5)
    assert np.min(flow.log_prob(near)) > np.max(flow.log_prob(reference))
    assert np.max(typicality(flow, near, reference).p_value) < 0.01
    # What differs a little is told in groups.
    little = draw(400, 4, scale=0.95)
    assert np.median(typicality(flow, little, reference).p_value) > 0.05
    assert np.max(typicality(flow, little, reference, group_size=200).p_value) < 0.01


def test_p_values_of_the_flows_own_data_are_uniform():
    found = typicality(gaussian(), draw(2000, 5), draw(5000, 6))
    assert kstest(found.p_value, "uniform").pvalue > 0.01
    assert np.min(found.p_value) > 0


def test_likelihood_ratios():
    x = draw(5, 1)
    found = likelihood_ratio(gaussian(1.0), gaussian(0.5), x, batch_size=2)
    expected = norm.logpdf(x).sum(axis=1) - norm.logpdf(x, scale=2.0).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_bounds_serve_too():
    bounds = snf_tf.Flow(
        [layers.VariationalDequantize(layers.Autoregressive(context_shape=(2,))), layers.Scale()],
        (2,),
    )
    uniform = snf_tf.Flow([layers.Dequantize(), layers.Scale()], (2,))
    x = np.random.RandomState(0).randint(0, 256, (20, 2))
    expected = bounds.log_prob_bound(x) - uniform.log_prob(x)
    np.testing.assert_allclose(likelihood_ratio(bounds, uniform, x), expected, atol=1e-4)
    assert typicality(bounds, x, x, group_size=4).p_value.shape == (5,)


def test_contexts():
    flow = snf_tf.Flow([layers.Autoregressive(context_shape=(2,))], (3,))
    x, context = np.random.randn(4, 3), np.random.randn(4, 2)
    found = likelihood_ratio(flow, gaussian(size=3), x, context)
    expected = flow.log_prob(x, context) - norm.logpdf(x).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    given = typicality(flow, x, x, context=context, reference_context=context)
    assert given.statistic.shape == (4,)


@pytest.mark.parametrize(
    ("group_size", "message"), [(0, "group_size must be"), (3, "whole number of groups")]
)
def test_groups_must_be_whole(group_size, message):
    with pytest.raises(ValueError, match=message):
        typicality(gaussian(), draw(4, 1), draw(4, 2), group_size)
