"""Toy densities: samples against moments, densities and entropies from their descriptions."""

import numpy as np
import pytest
from scipy.stats import norm

from snf_tf.data import load_dataset
from snf_tf.data.toy2d import DENSITIES

# Midpoints of equal parts of [0, 1]: places on a curve.
U = (np.arange(4000) + 0.5) / 4000


def circle(angle, radius=1.0):
    return radius * np.stack([np.cos(angle), np.sin(angle)])


def spiral():
    t = 3 * np.pi * np.sqrt(U)
    return np.stack([-t * np.cos(t), t * np.sin(t)]) / 3


# The densities that are a curve, or points, of equal weights with noise; the noise's deviation.
T = np.pi * (1.5 + 3 * U)
CURVES = {
    "swissroll": (circle(T, T) / 5, 1 / 5),
    "circles": (np.hstack([circle(2 * np.pi * U, r) for r in (1.5, 3)]), 0.24),
    "rings": (np.hstack([circle(2 * np.pi * U, r) for r in (0.75, 1.5, 2.25, 3)]), 0.08),
    "moons": (
        np.hstack(
            [
                circle(np.pi * U, 2) - [[1], [0.2]],
                [[1], [0.8]] - circle(np.pi * U, 2),
            ]
        ),
        0.2,
    ),
    "8gaussians": (circle(np.arange(8) * np.pi / 4, 8**0.5), 8**-0.5),
    "line": (np.stack([5 * U - 2.5] * 2), 0),
    "cos": (np.stack([5 * U - 2.5, 2.5 * np.sin(5 * U - 2.5)]), 0),
}


def moments_of(points, variance):
    return points.mean(axis=1), np.cov(points, bias=True) + variance * np.eye(2)


# An arm of 2spirals, and its negative: the mean is 0. Uniform noise of width 1/6 has mean 1/12.
ARM = spiral() + 1 / 12
MOMENTS = {
    **{name: moments_of(points, noise**2) for name, (points, noise) in CURVES.items()},
    "2spirals": moments_of(np.hstack([ARM, -ARM]), 1 / 36 / 12 + 0.01),
    "gaussian": ((0, 0), [[2, 1.2], [1.2, 1]]),
    # The variance of x1^2 is 2, and its covariance with x1 the third moment, 0.
    "banana": ((0, 1), np.diag([1, 2.09])),
    # The mean of exp(x1).
    "funnel": ((0, 0), np.diag([1, np.exp(0.5)])),
    # By its symmetry under fifths of a turn: 4 E(r^2 + s^2) / 2 = 2 (1 + 0.09 + 0.01).
    "pinwheel": ((0, 0), 2.2 * np.eye(2)),
    # Of the centres of the squares, (9 + 1) / 2 and 1, and 2^2 / 12 within a square.
    "checkerboard": ((0, 0), [[16 / 3, 1], [1, 16 / 3]]),
}


@pytest.mark.parametrize("name", DENSITIES)
def test_moments(name):
    mean, covariance = MOMENTS[name]
    x = DENSITIES[name][0](np.random.default_rng(1), 400_000) - mean
    products = np.stack([x[:, 0], x[:, 1], x[:, 0] ** 2, x[:, 0] * x[:, 1], x[:, 1] ** 2])
    errors = products.mean(axis=1) - [0, 0, *np.asarray(covariance)[[0, 0, 1], [0, 1, 1]]]
    assert (abs(errors) < 4.5 * products.std(axis=1) / 400_000**0.5).all()


def kernels(name):
    """Centres `(2, M)`, and the density of the noise at an offset along one axis."""
    if name == "2spirals":

        def noise(offset):
            # Uniform noise in [0, 1/6] plus normal noise: a difference of distribution functions.
            return 6 * (norm.cdf(offset / 0.1) - norm.cdf((offset - 1 / 6) / 0.1))

        # The negative arm has the negative noise, and is shifted to have the same.
        return np.hstack([spiral(), -spiral() - 1 / 6]), noise
    centres, deviation = CURVES[name]
    return centres, norm(scale=deviation).pdf


def densities(name, x1, x2):
    """At the points of a grid, `(len(x1), len(x2))`."""
    centres, noise = kernels(name)
    parts = (noise(x[:, None] - centre) for x, centre in zip((x1, x2), centres, strict=True))
    return np.einsum("ik,jk->ij", *parts, optimize=True) / centres.shape[1]


PLANE = ("swissroll", "circles", "rings", "moons", "8gaussians", "2spirals")


@pytest.mark.parametrize("name", PLANE)
def test_samples_have_the_density(name):
    count, edges = 400_000, np.linspace(-6, 6, 601)
    middles = (edges[1:] + edges[:-1]) / 2
    expected = count * densities(name, middles, middles) * 0.02**2
    expected = expected.reshape(100, 6, 100, 6).sum((1, 3))
    samples = DENSITIES[name][0](np.random.default_rng(1), count)
    found = np.histogram2d(*samples.T, bins=edges[::6])[0]
    cells = expected > 5
    chi_squared = ((found - expected)[cells] ** 2 / expected[cells]).sum()
    assert abs(chi_squared - cells.sum()) < 4.5 * (2 * cells.sum()) ** 0.5
    assert found[~cells].sum() < 1.5 * expected[~cells].sum() + 10


@pytest.mark.parametrize("name", PLANE)
def test_entropies_are_integrals_over_the_plane(name):
    x, step = np.linspace(-6, 6, 601, retstep=True)
    p = densities(name, x, x)
    np.testing.assert_allclose(p.sum() * step**2, 1, atol=1e-6)
    entropy = -(p * np.log(np.maximum(p, 1e-300))).sum() * step**2
    np.testing.assert_allclose(load_dataset(f"toy2d/{name}").entropy, entropy, atol=1e-5)


@pytest.mark.parametrize("name", ["gaussian", "banana", "funnel"])
def test_entropies_in_closed_form(name):
    data = load_dataset(f"toy2d/{name}")
    assert (data.event_shape, data.train.dtype, data.train_labels) == ((2,), np.float32, None)
    x1, x2 = data.train.astype(float).T
    log_density = {
        "gaussian": lambda: norm.logpdf(x1, 0, 2**0.5) + norm.logpdf(x2, 0.6 * x1, 0.28**0.5),
        "banana": lambda: norm.logpdf(x1) + norm.logpdf(x2, x1**2, 0.3),
        "funnel": lambda: norm.logpdf(x1) + norm.logpdf(x2, 0, np.exp(x1 / 2)),
    }[name]()
    tolerance = 4 * log_density.std() / len(x1) ** 0.5
    np.testing.assert_allclose(data.entropy, -log_density.mean(), atol=tolerance)


def test_conditional():
    """Moments given c, by whitening; the entropy."""
    data = load_dataset("toy2d/conditional")
    assert (data.train_context.shape, data.train_context.dtype) == ((10_000, 1), np.float32)
    c = data.train_context[:, 0].astype(float)
    turn = np.exp(1j * np.pi * c)
    e = ((data.train @ [1, 1j]) - 2 * turn) / np.sqrt(turn)
    # A square root of a turn has two signs, which change no second moment.
    e1, e2 = e.real / (0.5 * np.exp(c)), e.imag / 0.25
    for values, expected in ((e1**2, 1), (e2**2, 1), (e1 * e2, 0), (c, 0), (c**2, 1 / 3)):
        assert abs(values.mean() - expected) < 4.5 * values.std() / 100
    log_density = norm.logpdf(e1) + norm.logpdf(e2) - np.log(0.125) - c
    tolerance = 4 * log_density.std() / 100
    np.testing.assert_allclose(data.entropy, -log_density.mean(), atol=tolerance)
    assert len(np.unique(c)) == 10_000


def test_checkerboard():
    data = load_dataset("toy2d/checkerboard")
    squares, counts = np.unique(np.floor(data.train / 2), axis=0, return_counts=True)
    assert len(squares) == 8
    assert (squares.sum(axis=1) % 2 == 0).all()
    assert (abs(data.train) <= 4).all()
    np.testing.assert_allclose(counts, 1250, rtol=0.15)
    assert data.entropy == np.log(32)


def test_arms_of_pinwheel():
    x = load_dataset("toy2d/pinwheel").train / 2
    # s is small beside r: an arm is near the angle -exp(r) / 4, up to fifths of a turn.
    turn = np.arctan2(x[:, 1], x[:, 0]) + 0.25 * np.exp(np.hypot(*x.T))
    assert np.exp(5j * turn).mean().real > 0.8
    arms = np.floor(2.5 * (turn / np.pi) + 0.5).astype(int) % 5
    np.testing.assert_allclose(np.bincount(arms), 2000, rtol=0.1)


@pytest.mark.parametrize("name", ["pinwheel", "line", "cos"])
def test_no_entropy(name):
    assert load_dataset(f"toy2d/{name}").entropy is None
