"""The base density and bits/dim."""

import numpy as np
import scipy.stats
import tensorflow as tf

from snf_tf import ops


def test_standard_normal():
    z = np.random.randn(4, 3)
    np.testing.assert_allclose(
        ops.standard_normal_log_prob(tf.constant(z)), scipy.stats.norm.logpdf(z).sum(1), rtol=1e-12
    )


def test_uniform_images_have_8_bits_per_dim():
    assert abs(ops.bits_per_dim(10 * np.log(256), dims=10) - 8) < 1e-12
