"""The Frechet distance of images, by the features of any Keras model (Heusel et al. 2017)."""

from typing import NamedTuple

import keras
import numpy as np

from snf_tf._checks import check_integer


class Moments(NamedTuple):
    """Moments of features.

    Attributes:
        mean: `(F,)`, float64.
        covariance: `(F, F)`, float64, of the sample: divided by N - 1.
    """

    mean: np.ndarray
    covariance: np.ndarray


def feature_moments(
    features: keras.Model | keras.layers.Layer, images: np.ndarray, batch_size: int = 100
) -> Moments:
    """Computes mean and covariance of the features of images.

    Args:
        features: Maps images to `(batch, F)`, or to more axes, which are flattened. It prepares
            pixels as it needs them.
        images: `(N, H, W, C)`, N at least 2; anything that slices give arrays of.
        batch_size: Images at once.

    Raises:
        ValueError: If there are fewer than two images, or a feature is not finite.

    Example:
        >>> features = keras.layers.GlobalAveragePooling2D()
        >>> feature_moments(features, np.ones((5, 4, 4, 3), "float32")).mean
        array([1., 1., 1.])
    """
    check_integer("batch_size", batch_size, at_least=1)
    if len(images) < 2:
        raise ValueError(
            "images must be two at least, to have a covariance. "
            f"Received: images of length {len(images)}"
        )
    parts = []
    for first in range(0, len(images), batch_size):
        batch = images[first : first + batch_size]
        values = keras.ops.convert_to_numpy(features(batch, training=False))
        parts.append(values.reshape(len(batch), -1).astype("float64"))
    found = np.concatenate(parts)
    if not np.isfinite(found).all():
        raise ValueError(
            "Features must be finite: look at the images, and at the model. "
            f"Received: {np.sum(~np.isfinite(found))} that are not"
        )
    mean = found.mean(axis=0)
    centred = found - mean
    return Moments(mean, centred.T @ centred / (len(found) - 1))


def frechet_distance(one: Moments, other: Moments) -> float:
    """Computes the squared Frechet distance of two normals,
    `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`.

    With the features of InceptionV3 it is the FID of images. Distances by other features, or of
    other numbers of images, do not compare with it.

    Args:
        one: Moments of the features of one set of images.
        other: Those of another set.

    Raises:
        ValueError: If the two have different numbers of features.

    Example:
        >>> one = Moments(np.zeros(2), np.eye(2))
        >>> frechet_distance(one, Moments(np.ones(2), 4 * np.eye(2)))
        4.0
    """
    if one.mean.shape != other.mean.shape:
        raise ValueError(
            "Moments must be of as many features, those of one model. "
            f"Received: {one.mean.shape[0]} and {other.mean.shape[0]}"
        )
    # The eigenvalues of C1 C2 are those of the symmetric R C2 R, with R the square root of C1.
    values, vectors = np.linalg.eigh(one.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ other.covariance @ root)
    trace = np.trace(one.covariance) + np.trace(other.covariance)
    trace -= 2 * np.sum(np.sqrt(np.maximum(product, 0)))
    return float(np.sum((one.mean - other.mean) ** 2) + trace)
