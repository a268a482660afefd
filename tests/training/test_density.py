"""The picture of a flow on the plane."""

import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers
from snf_tf.training.density import density_figure


class Shift(layers.FlowLayer):
    def call(self, x, context=None, training=False):
        return x - tf.constant([2.0, -1.0]), self.repeat(0.0, x)

    def call_inverse(self, z, context=None, exact=True):
        return z + tf.constant([2.0, -1.0])


class EstimatedShift(Shift):
    log_det_kind = "estimate"


DATA = np.random.RandomState(0).normal([2.0, -1.0], size=(3000, 2)).astype("float32")


@pytest.mark.parametrize(
    ("layer", "title"), [(Shift, "density"), (EstimatedShift, "density (estimate)")]
)
def test_the_density_lies_where_data_and_samples_do(layer, title):
    figure = density_figure(snf_tf.Flow([layer()], event_shape=(2,)), DATA)
    data, samples, density = figure.axes
    assert density.get_title() == title
    low, high = DATA.min(axis=0), DATA.max(axis=0)
    for axes in figure.axes:
        np.testing.assert_allclose(axes.get_xlim(), (low[0], high[0]), rtol=1e-6)
        np.testing.assert_allclose(axes.get_ylim(), (low[1], high[1]), rtol=1e-6)
    np.testing.assert_array_equal(data.collections[0].get_offsets(), DATA)
    points = np.asarray(samples.collections[0].get_offsets())
    np.testing.assert_allclose(points.mean(axis=0), [2.0, -1.0], atol=0.1)
    values = density.images[0].get_array()
    assert density.images[0].origin == "lower"
    row, column = np.unravel_index(values.argmax(), values.shape)
    cell = (high - low) / values.shape[::-1]
    np.testing.assert_allclose(
        low + cell * (np.array([column, row]) + 0.5), [2.0, -1.0], atol=cell.max()
    )
    assert values.sum() * cell.prod() == pytest.approx(1.0, abs=0.01)
