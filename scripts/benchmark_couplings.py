"""Defines the cases of couplings and autoregressive flows that `benchmark.py` times, their floors
and the same flows of other libraries.

All are 5 transforms of 16 numbers, batches of 256. A spline coupling has 8 bins on [-3, 3], and a
residual network of one block of two layers, 128 wide, between two more layers; that of zuko has the
same layers without the shortcut, and its masks. An affine autoregressive flow (MAF) has masked
networks of two hidden layers, 128 wide. A step is one of Adam; a sample has as many rows.

Floors are products with the matrices of the networks, those of masked ones without their zeros'
saving: one forward, one of the gradient of the input and one of that of the kernel.
"""

import importlib.util

import benchmark_work as work
from benchmark_cases import Case

_FEATURES, _TRANSFORMS, _BATCH, _WIDTH, _BINS, _BOUND = 16, 5, 256, 128, 8, 3.0
# Numbers of parameters of a feature; splines have linear tails.
_SPLINE, _AFFINE = 3 * _BINS - 1, 2
_HALF = _FEATURES // 2
_COUPLING_SHAPES = ((_HALF, _WIDTH), (_WIDTH, _WIDTH), (_WIDTH, _WIDTH), (_WIDTH, _HALF * _SPLINE))
_MAF_SHAPES = ((_FEATURES, _WIDTH), (_WIDTH, _WIDTH), (_WIDTH, _FEATURES * _AFFINE))


def cases() -> dict[str, Case]:
    """Returns all cases by name, those of the installed libraries among them."""
    peers = [
        name
        for name in ("zuko", "nflows", "normflows")
        if importlib.util.find_spec("torch") and importlib.util.find_spec(name)
    ]
    result = {}
    for name, shapes, ours in (
        ("coupling", _COUPLING_SHAPES, _coupling),
        ("maf", _MAF_SHAPES, _maf),
    ):
        for kind, directions in (("step", 3), ("sample", 1)):
            case = f"{name}_{kind}"
            floor = f"{case}_products"
            result[floor] = Case(
                lambda shapes=shapes, directions=directions: _products(shapes, directions)
            )
            run = _step if kind == "step" else _sample
            of_peer = _peer_step if kind == "step" else _peer_sample
            against = tuple(f"{case}_{peer}" for peer in peers)
            result[case] = Case(lambda run=run, ours=ours: run(ours()), (floor,), against)
            for peer in peers:
                make = _PEERS[name, peer]
                result[f"{case}_{peer}"] = Case(
                    lambda of_peer=of_peer, make=make: of_peer(make()), (floor,)
                )
    return result


def _coupling():
    from snf_tf import Flow, layers, networks

    return Flow(
        [
            layers.Coupling(
                layers.RationalQuadratic(_BINS, _BOUND),
                layers.Alternate(flip=bool(index % 2)),
                networks.ResidualMLP(width=_WIDTH, blocks=1),
            )
            for index in range(_TRANSFORMS)
        ],
        event_shape=(_FEATURES,),
    )


def _maf():
    from snf_tf import Flow, layers, networks

    return Flow(
        [
            layers.Autoregressive(
                "affine",
                networks.MADE(None, (_WIDTH, _WIDTH), ("natural", "reversed")[index % 2]),
            )
            for index in range(_TRANSFORMS)
        ],
        event_shape=(_FEATURES,),
    )


def _step(flow):
    return work.training_step(flow, _BATCH)


def _sample(flow):
    return lambda: flow.sample(_BATCH, seed=0).numpy()


def _products(shapes, directions):
    import tensorflow as tf

    pairs = [(tf.random.normal((_BATCH, m)), tf.random.normal((m, n))) for m, n in shapes]

    @tf.function
    def step():
        results = []
        for index in range(_TRANSFORMS):
            for x, kernel in pairs:
                # Different x, or TensorFlow would do the product once.
                x = x + float(index)
                y = tf.matmul(x, kernel)
                results.append(y)
                if directions == 3:
                    results.append(tf.matmul(y, kernel, transpose_b=True))
                    results.append(tf.matmul(x, y, transpose_a=True))
        return [tf.reduce_max(y[0]) for y in results]

    return lambda: [value.numpy() for value in step()]


def _zuko_coupling():
    import zuko

    return zuko.flows.NSF(
        _FEATURES, transforms=_TRANSFORMS, bins=_BINS, passes=2, hidden_features=(_WIDTH,) * 3
    )


def _zuko_maf():
    import zuko

    return zuko.flows.MAF(_FEATURES, transforms=_TRANSFORMS, hidden_features=(_WIDTH,) * 2)


def _nflows(transforms):
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.transforms import CompositeTransform

    return Flow(CompositeTransform(transforms), StandardNormal((_FEATURES,)))


def _nflows_coupling():
    from nflows.nn.nets import ResidualNet
    from nflows.transforms import PiecewiseRationalQuadraticCouplingTransform
    from nflows.utils import create_alternating_binary_mask

    def network(inputs, outputs):
        return ResidualNet(inputs, outputs, _WIDTH, num_blocks=1)

    return _nflows(
        [
            PiecewiseRationalQuadraticCouplingTransform(
                create_alternating_binary_mask(_FEATURES, even=bool(index % 2)),
                network,
                num_bins=_BINS,
                tails="linear",
                tail_bound=_BOUND,
            )
            for index in range(_TRANSFORMS)
        ]
    )


def _nflows_maf():
    from nflows.transforms import MaskedAffineAutoregressiveTransform, ReversePermutation

    transforms = []
    for _ in range(_TRANSFORMS):
        network = MaskedAffineAutoregressiveTransform(
            _FEATURES, _WIDTH, num_blocks=1, use_residual_blocks=False
        )
        transforms += [network, ReversePermutation(_FEATURES)]
    return _nflows(transforms)


def _normflows(flows):
    import normflows

    return normflows.NormalizingFlow(normflows.distributions.DiagGaussian(_FEATURES), flows)


def _normflows_coupling():
    from normflows.flows import CoupledRationalQuadraticSpline

    return _normflows(
        [
            CoupledRationalQuadraticSpline(
                _FEATURES, 1, _WIDTH, num_bins=_BINS, reverse_mask=bool(index % 2)
            )
            for index in range(_TRANSFORMS)
        ]
    )


def _normflows_maf():
    from normflows.flows import MaskedAffineAutoregressive, Permute, Reverse

    flows = []
    for _ in range(_TRANSFORMS):
        network = MaskedAffineAutoregressive(
            _FEATURES, _WIDTH, num_blocks=1, use_residual_blocks=False
        )
        # Alone it is the flow that is fast in sampling (IAF).
        flows += [Reverse(network), Permute(_FEATURES, mode="swap")]
    return _normflows(flows)


_PEERS = {
    ("coupling", "zuko"): _zuko_coupling,
    ("coupling", "nflows"): _nflows_coupling,
    ("coupling", "normflows"): _normflows_coupling,
    ("maf", "zuko"): _zuko_maf,
    ("maf", "nflows"): _nflows_maf,
    ("maf", "normflows"): _normflows_maf,
}


def _peer_step(flow):
    import torch

    optimizer = torch.optim.Adam(flow.parameters(), 1e-4)
    x = torch.randn(_BATCH, _FEATURES)

    def step():
        optimizer.zero_grad()
        # A flow of zuko is a function that returns a distribution.
        log_prob = flow.log_prob(x) if hasattr(flow, "log_prob") else flow().log_prob(x)
        loss = -log_prob.mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _peer_sample(flow):
    import torch

    def sample():
        with torch.no_grad():
            if not hasattr(flow, "sample"):
                return flow().sample((_BATCH,)).numpy()
            x = flow.sample(_BATCH)
            # Those of normflows come with their log-densities.
            return (x[0] if isinstance(x, tuple) else x).numpy()

    return sample
