"""Grids of images."""

import numpy as np

from snf_tf.training.plotting import tile


def test_tile():
    images = np.arange(5 * 2 * 3).reshape(5, 2, 3, 1)
    grid = tile(images, columns=2)
    assert grid.shape == (6, 6, 1)
    np.testing.assert_array_equal(grid[:2, 3:], images[1])
    np.testing.assert_array_equal(grid[4:, :3], images[4])
    np.testing.assert_array_equal(grid[4:, 3:], 0)
