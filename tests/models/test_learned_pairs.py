"""The model of pairs: vectors, images as vectors, images."""

import functools

import numpy as np
import pytest

from snf_tf import layers, models, networks

DENSE = functools.partial(networks.ResidualNetwork, (6,))


@pytest.mark.parametrize(
    ("shape", "network", "options"),
    [
        ((3,), DENSE, {}),
        ((4, 4, 1), DENSE, {"bins": 17}),
        pytest.param(
            (4, 4, 1),
            functools.partial(networks.AttentionNetwork, 2, 4, 2),
            {"flatten": False, "penalty": "geco"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_learned_pairs(shape, network, options):
    flow = models.learned_pairs(shape, 2, network, log_det="russian_roulette", **options)
    x = np.random.RandomState(0).randint(0, 17, (50, *shape)).astype("float32")
    flow.initialize(x)
    flow.compile("adam")
    history = flow.fit(x, batch_size=25, epochs=1, verbose=0).history
    assert np.isfinite(history["surrogate"]).all()
    assert flow.log_det_kind == "exact"
    assert sum(isinstance(leaf, layers.SelfNormalizingPair) for leaf in flow.leaves()) == 2
    decoded = flow.decode(flow.encode(x[:5]))
    # Of images the integers, without their noise.
    target = np.floor(decoded) if flow.dequantizes else decoded
    np.testing.assert_allclose(target, x[:5], atol=1e-3)


def test_mistakes():
    with pytest.raises(ValueError, match="pairs must be an integer"):
        models.learned_pairs(pairs=0)
