"""Defines the cases of self normalizing pairs that `benchmark.py` times, and their floors.

All are flows of 8 maps on 64 dimensions with ActNorm and Adam. Each map has a residual network
64-128-128-64, and a pair has another one for the inverse g. Estimators have two exact terms and
roulette with Geometric(0.5), 4 terms in the mean, or 4 products.

Floors are products with the matrices of the networks. Of f: one forward, 5 of Jacobians, 2 for the
gradients of both, and 2 gradients of kernels. A pair has as many of its g, but for one gradient of
each kind. The paper's gradient has no terms, and both of its halves cost alike.
"""

import benchmark_work as work
from benchmark_cases import Case

_MAPS, _SIZE, _WIDTH, _BATCH = 8, 64, 128, 100
# One pass through a network is as many products of (width, width).
_PASS = 2


def cases() -> dict[str, Case]:
    """Returns all cases by name."""
    result = {}
    for name, with_kernel, of_kernel in (
        ("residual", 8, 2),
        ("corrected", 15, 3),
        ("uncorrected", 10, 4),
    ):
        result[f"pairs_{name}_products"] = Case(
            lambda with_kernel=with_kernel, of_kernel=of_kernel: work.products(
                _BATCH, _WIDTH, _MAPS * _PASS * with_kernel, _MAPS * _PASS * of_kernel
            )
        )
    for log_det, floor in (
        ("learned_inverse", "uncorrected"),
        ("russian_roulette", "corrected"),
        ("krylov", "corrected"),
    ):
        result[f"pairs_{log_det}"] = Case(
            lambda log_det=log_det: _step(_pairs(log_det)),
            (f"pairs_{floor}_products",),
            ("pairs_residual_flow",),
        )
    result["pairs_residual_flow"] = Case(
        lambda: _step(_residual_flow()), ("pairs_residual_products",)
    )
    return result


def _pairs(log_det):
    import functools

    from snf_tf import models, networks

    network = functools.partial(networks.ResidualNetwork, (_WIDTH, _WIDTH))
    return models.learned_pairs((_SIZE,), _MAPS, network, log_det=log_det)


def _residual_flow():
    from snf_tf import models

    return models.residual_flow((_SIZE,), blocks=_MAPS, widths=(_WIDTH, _WIDTH))


def _step(flow):
    import tensorflow as tf

    flow.initialize(tf.random.normal((_BATCH, _SIZE)))
    return work.training_step(flow, _BATCH)
