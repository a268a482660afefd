"""Defines the cases of other libraries that `benchmark.py` times, where they are installed.

The layers are those that a user would pick for the same work. All are trained by PyTorch's Adam, at
the shapes, batch and dtype of `benchmark_cases.py`.
"""

import importlib.util

from benchmark_cases import DENSE_BATCH, DIMENSIONS, GLOW_STEP, GLOW_WIDTH, Case


def cases(batch: int) -> dict[str, Case]:
    """Returns all cases of the installed libraries by name."""
    result = {}
    for size in DIMENSIONS:
        floor = (f"dense_{size}_two_products", f"dense_{size}_adam_bytes")
        for name, (library, make) in _LINEAR.items():
            if _installed(library):
                result[f"dense_{size}_{name}"] = _case(
                    lambda make=make, size=size: _step(*make(size), (size,), DENSE_BATCH), floor
                )
    if _installed("normflows"):
        result["glow_step_normflows"] = _case(
            lambda: _step(*_normflows_glow_step(), _glow_shape(), batch)
        )
    if _installed("nflows"):
        result["spline_nflows"] = _case(lambda: _gradient_step(_nflows_spline(), batch))
    return result


def _case(make, floor=()):
    """Returns a case that PyTorch runs on its GPU, if it finds one."""

    def make_on_device():
        import torch

        # The default is left alone without a GPU: setting it slows each of PyTorch's calls.
        if torch.cuda.is_available():
            torch.set_default_device("cuda")
        return make()

    return Case(make_on_device, floor)


def _installed(library):
    return all(importlib.util.find_spec(name) for name in ("torch", library))


def _nflows_full(size):
    from nflows.transforms import NaiveLinear

    layer = NaiveLinear(size)
    return layer, layer.parameters()


def _nflows_lu(size):
    from nflows.transforms import LULinear

    layer = LULinear(size)
    return layer, layer.parameters()


def _normflows_full(size):
    from normflows.flows import InvertibleAffine

    layer = InvertibleAffine(size, use_lu=False)
    return layer.inverse, layer.parameters()


def _normflows_lu(size):
    from normflows.flows import InvertibleAffine

    layer = InvertibleAffine(size)
    return layer.inverse, layer.parameters()


def _zuko_lu(size):
    import torch
    from zuko.transforms import LULinearTransform

    weights = torch.nn.Parameter(torch.eye(size) + 0.01 * torch.randn(size, size) / size**0.5)
    return lambda x: LULinearTransform(weights).call_and_ladj(x), [weights]


_LINEAR = {
    "nflows_full": ("nflows", _nflows_full),
    "nflows_lu": ("nflows", _nflows_lu),
    "normflows_full": ("normflows", _normflows_full),
    "normflows_lu": ("normflows", _normflows_lu),
    "zuko_lu": ("zuko", _zuko_lu),
}


def _normflows_glow_step():
    from normflows.flows import GlowBlock

    layer = GlowBlock(GLOW_STEP[2], GLOW_WIDTH, net_actnorm=False)
    return layer.inverse, layer.parameters()


def _glow_shape():
    """Returns the shape of PyTorch's images: channels first."""
    height, width, channels = GLOW_STEP
    return channels, height, width


def _nflows_spline():
    from nflows.transforms.nonlinearities import PiecewiseRationalQuadraticCDF

    return PiecewiseRationalQuadraticCDF((784,), num_bins=5, tails="linear", tail_bound=10.0)


def _step(transform, parameters, shape, batch):
    import torch

    optimizer = torch.optim.Adam(parameters, 1e-4)
    x = torch.randn(batch, *shape)

    def step():
        optimizer.zero_grad()
        z, log_det = transform(x)
        loss = 0.5 * z.square().flatten(1).sum(1).mean() - log_det.mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _gradient_step(layer, batch):
    import torch

    x = torch.randn(batch, 784, requires_grad=True)

    def step():
        layer.zero_grad()
        x.grad = None
        z, log_det = layer(x)
        (z.sum() - log_det.sum()).backward()
        return x.grad.max().item()

    return step
