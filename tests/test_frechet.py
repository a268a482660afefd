"""The Frechet distance against SciPy's square root of matrices."""

import keras
import numpy as np
import pytest
from scipy import linalg

from snf_tf.frechet import Moments, feature_moments, frechet_distance


@pytest.fixture(scope="module")
def features():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(6, 3, activation="softplus"),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )


@pytest.mark.parametrize("counts", [(50, 70), (20, 30)])
def test_distance_of_images(features, counts):
    random = np.random.default_rng(0)
    images = [
        random.integers(0, high, (n, 8, 8, 3)) for high, n in zip((256, 128), counts, strict=True)
    ]
    found = frechet_distance(*(feature_moments(features, x, batch_size=16) for x in images))
    values = [features.predict(x, verbose=0).astype("float64") for x in images]
    means = [value.mean(axis=0) for value in values]
    covariances = [np.cov(value, rowvar=False) for value in values]
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = np.sum((means[0] - means[1]) ** 2)
    expected += np.trace(covariances[0] + covariances[1] - 2 * root)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)


def test_a_distance_to_itself_is_zero():
    covariance = np.cov(np.random.default_rng(1).normal(size=(5, 20)))
    moments = Moments(np.arange(5.0), covariance)
    assert abs(frechet_distance(moments, moments)) < 1e-12


def test_refusals(features):
    with pytest.raises(ValueError, match="two at least"):
        feature_moments(features, np.zeros((1, 8, 8, 3)))
    with pytest.raises(ValueError, match="must be finite"):
        feature_moments(features, np.full((3, 8, 8, 3), np.nan))
    with pytest.raises(ValueError, match="as many features"):
        frechet_distance(Moments(np.zeros(2), np.eye(2)), Moments(np.zeros(3), np.eye(3)))
