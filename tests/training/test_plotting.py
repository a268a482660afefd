"""Grids of images."""

import numpy as np
import pytest
from matplotlib.image import imread

import snf_tf
from snf_tf import layers
from snf_tf.training.plotting import pixel_values, plot_images, save_grid, tile


def test_tile():
    images = np.arange(5 * 2 * 3).reshape(5, 2, 3, 1)
    grid = tile(images, columns=2)
    assert grid.shape == (6, 6, 1)
    np.testing.assert_array_equal(grid[:2, 3:], images[1])
    np.testing.assert_array_equal(grid[4:, :3], images[4])
    np.testing.assert_array_equal(grid[4:, 3:], 0)


@pytest.mark.parametrize("bins", [256, 32])
def test_the_largest_value_is_white(tmp_path, bins):
    flow = snf_tf.Flow([layers.Dequantize(bins), layers.Scale(1 / bins)], event_shape=(1, 1, 1))
    assert pixel_values(flow) == bins
    image = np.array([0, 1, bins / 2, bins - 1]).reshape(4, 1, 1, 1) + 0.9
    save_grid(tmp_path / "grid.png", image, columns=2, values=pixel_values(flow))
    pixels = np.round(255 * imread(tmp_path / "grid.png")[:, :, 0])
    shades = 255 / (bins - 1) * np.array([0, 1, bins / 2, bins - 1])
    np.testing.assert_allclose(pixels.ravel(), np.round(shades))
    plot_images(tmp_path / "panel.png", {"white": np.full_like(image, bins - 1)}, values=bins)
    assert imread(tmp_path / "panel.png")[300, 240, :3].min() == 1.0


def test_vectors_and_splines_have_no_bins_of_pixels():
    flow = snf_tf.Flow([layers.SplineActivation(bins=5)], event_shape=(4, 4, 1))
    assert pixel_values(flow) == 256
