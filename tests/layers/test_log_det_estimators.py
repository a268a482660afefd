"""Estimators of log-determinants: coefficients and numbers of terms, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf

from snf_tf import layers
from snf_tf.layers.log_det_estimators import LogDetProblem


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "distribution", [layers.Geometric(0.5), layers.Geometric(0.2), layers.Poisson(2)]
)
def test_coefficients_of_roulette(distribution):
    """Their mean over N is 1, by the probabilities of N."""
    roulette = layers.RussianRoulette(exact_terms=2, distribution=distribution)
    counts = np.arange(0, 60)
    survival = np.concatenate([[1.0], distribution.survival(counts[1:].astype(float), 0.9)])
    probabilities = survival - np.append(survival[1:], 0.0)
    coefficients = roulette.coefficients(62, 0.9)
    np.testing.assert_array_equal(coefficients[:2], [1.0, 1.0])
    for k in range(3, 20):
        reached = probabilities[counts >= k - 2].sum()
        assert coefficients[k - 1] * reached == pytest.approx(1.0, rel=1e-9)
    # As RF prints them.
    if isinstance(distribution, layers.Geometric):
        p = distribution.options["p"]
        np.testing.assert_allclose(coefficients[2:7], (1 - p) ** -np.arange(5.0))
    else:
        expected = 1 - np.exp(-2.0) * np.cumsum([1, 2, 2, 4 / 3, 2 / 3])
        np.testing.assert_allclose(coefficients[2:7], 1 / expected, rtol=1e-9)


def test_the_number_of_terms_has_its_distribution():
    """Of 2000 draws, by the value of a series whose terms count themselves."""
    roulette = layers.RussianRoulette(exact_terms=0, distribution=layers.Geometric(0.5))
    counts = []
    x = tf.ones((1, 1))

    @tf.function
    def count(seed):
        # Counts by the highest power of g(x) = x that is reached: 1 / P(N >= n) = 2^(n - 1).
        weights = []
        original = roulette._series
        roulette._series = lambda problem, c, n: weights.append(n) or x[:, 0]
        roulette(LogDetProblem(tf.identity, x, x, seed, 0.9))
        roulette._series = original
        return weights[0]

    for step in range(2000):
        counts.append(int(count(tf.constant([7, step, 5], tf.int64))))
    shares = np.bincount(counts, minlength=4)[1:4] / 2000
    np.testing.assert_allclose(shares, [0.5, 0.25, 0.125], atol=0.04)
    # The row of the batch does not count: replicas draw the same number.
    assert int(count(tf.constant([7, 3, 0], tf.int64))) == counts[3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.RussianRoulette(-1), "exact_terms"),
        (lambda: layers.RussianRoulette(1.5), "exact_terms"),
        (lambda: layers.RussianRoulette(distribution="uniform"), "distribution must be one of"),
        (lambda: layers.Geometric(1.0), "p must be a number above 0 and below 1"),
        (lambda: layers.Poisson(0), "rate must be a number above 0"),
        (lambda: layers.TruncatedSeries(0), "terms must be an integer of at least 1"),
        (lambda: layers.TruncatedSeries(3, "exact"), "gradient must be"),
        (lambda: layers.Krylov(True), "products must be an integer of at least 1"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make()
