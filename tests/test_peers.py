"""What docs/tutorials/coming_from.md says of directions and signs, against the libraries."""

import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers

torch = pytest.importorskip("torch")

KERNEL = np.array([[2.0, 0.5], [0.0, 3.0]], "float32")
X = np.array([[1.0, -1.0], [0.5, 2.0]], "float32")


def ours():
    """z = x K, with a standard normal."""
    flow = snf_tf.Flow([layers.ExactDense()], event_shape=(2,))
    flow.bijections[0].kernel.assign(KERNEL)
    return flow


def test_nflows():
    flows = pytest.importorskip("nflows.flows")
    from nflows.distributions.normal import StandardNormal
    from nflows.transforms.linear import NaiveLinear
    from nflows.transforms.lu import LULinear

    transform = NaiveLinear(2, orthogonal_initialization=False)
    transform._weight.data = torch.tensor(KERNEL.T)
    flow = flows.Flow(transform, StandardNormal([2]))
    z, log_det = transform(torch.tensor(X))
    ours_z, ours_log_det = ours()(X)
    np.testing.assert_allclose(z.detach(), ours_z, atol=1e-6)
    np.testing.assert_allclose(log_det.detach(), ours_log_det, atol=1e-6)
    noise = flow.transform_to_noise(torch.tensor(X)).detach()
    np.testing.assert_allclose(noise, ours().encode(X), atol=1e-6)
    log_prob = flow.log_prob(torch.tensor(X)).detach()
    np.testing.assert_allclose(log_prob, ours().log_prob(X), atol=1e-5)
    flow = flows.Flow(LULinear(2), StandardNormal([2]))
    noise = flow.transform_to_noise(torch.tensor(X))
    np.testing.assert_allclose(flow._transform.inverse(noise)[0].detach(), X, atol=1e-6)


def test_zuko():
    zuko = pytest.importorskip("zuko")
    flow = zuko.flows.MAF(2, hidden_features=(8,))
    x = torch.tensor(X)
    z, ladj = flow().transform.call_and_ladj(x)
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    np.testing.assert_allclose(flow().log_prob(x).detach(), (normal + ladj).detach(), atol=1e-5)
    np.testing.assert_allclose(flow().transform.inv(z).detach(), X, atol=1e-5)
    assert flow().sample((3,)).shape == (3, 2)


def test_normflows():
    normflows = pytest.importorskip("normflows")
    flow = normflows.NormalizingFlow(
        normflows.distributions.DiagGaussian(2, trainable=False),
        [normflows.flows.LULinearPermute(2), normflows.flows.ActNorm(2)],
    )
    x = torch.tensor(X)
    flow.log_prob(x)  # Sets the ActNorm, the last one of the list and the first on the data.
    z = torch.tensor(X)
    for part in reversed(flow.flows):
        z, _ = part.inverse(z)
    np.testing.assert_allclose(flow.inverse(x).detach(), z.detach(), atol=1e-6)
    np.testing.assert_allclose(flow.forward(z).detach(), X, atol=1e-5)
    _, of_x_by_z = flow.forward_and_log_det(z)
    normal = tf.reduce_sum(-0.5 * z.detach().numpy() ** 2 - 0.5 * np.log(2 * np.pi), axis=1)
    np.testing.assert_allclose(flow.log_prob(x).detach(), normal - of_x_by_z.detach(), atol=1e-5)
    np.testing.assert_allclose(flow.forward_kld(x).detach(), -flow.log_prob(x).mean().detach())
    samples, log_prob = flow.sample(3)
    assert (samples.shape, log_prob.shape) == ((3, 2), (3,))


def test_names():
    """The names in the page's table are names of the libraries."""
    import tensorflow_probability as tfp

    for name in ("MaskedAutoregressiveFlow", "RealNVP", "RationalQuadraticSpline", "FFJORD"):
        assert hasattr(tfp.bijectors, name)
    assert hasattr(tfp.bijectors, "ScaleMatvecLU")
    transforms = pytest.importorskip("nflows.transforms")
    for name in ("MaskedAffineAutoregressiveTransform", "AffineCouplingTransform", "LULinear"):
        assert hasattr(transforms, name)
    assert hasattr(transforms, "PiecewiseRationalQuadraticCouplingTransform")
    assert hasattr(transforms, "ActNorm")
    zuko = pytest.importorskip("zuko")
    assert all(hasattr(zuko.flows, name) for name in ("MAF", "NICE", "NSF", "NCSF", "CNF"))
    assert hasattr(zuko.transforms, "LULinearTransform")
    normflows = pytest.importorskip("normflows")
    for name in ("MaskedAffineAutoregressive", "AffineCouplingBlock", "LULinearPermute", "ActNorm"):
        assert hasattr(normflows.flows, name)
    for name in ("CoupledRationalQuadraticSpline", "Residual"):
        assert hasattr(normflows.flows, name)
