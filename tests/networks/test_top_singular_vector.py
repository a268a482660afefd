"""Singular vectors that certify dense layers."""

import numpy as np
import pytest
import tensorflow as tf

from snf_tf import networks


@pytest.mark.parametrize("shape", [(60, 4), (4, 60), (7, 7)])
def test_the_norm_is_reached(shape):
    layer = networks.SpectralDense(shape[1])
    layer.build((None, shape[0]))
    kernel = np.random.RandomState(0).randn(*shape)
    v = layer._top_singular_vector(tf.constant(kernel))
    assert np.linalg.norm(v) == pytest.approx(1.0)
    assert np.linalg.norm(v @ kernel) == pytest.approx(np.linalg.norm(kernel, 2), rel=1e-12)


def test_a_kernel_of_zeros_is_certified():
    layer = networks.SpectralDense(2)
    layer.build((None, 5))
    layer.kernel.assign(tf.zeros((5, 2)))
    layer.certify()
    assert layer.lipschitz_bound() == 0.0
