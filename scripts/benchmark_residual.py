"""Defines the cases of Residual Flows that `benchmark.py` times, their floors and their peers.

All have the same shapes, ActNorm, Adam, and the same estimator: two exact terms and roulette with
Geometric(0.5), the Neumann gradient, computed in the forward pass.

The floor is the products with the matrices of g that a step needs at 4 terms, their mean. These are
one forward, 5 of Jacobians, 2 for the gradients of both, and 2 gradients of kernels.
"""

import importlib.util

import benchmark_work as work
from benchmark_cases import Case

_BLOCKS, _WIDTH, _TOY_BATCH = 100, 128, 500
_IMAGE_BLOCKS, _IMAGE_WIDTH, _IMAGE_BATCH = 2, 64, 16
_SCALES = ((28, 28, 1), (14, 14, 4), (7, 7, 16))


def cases() -> dict[str, Case]:
    """Returns all cases by name."""
    toy, images = ("residual_toy_products",), ("residual_images_products",)
    result = {
        "residual_toy_products": Case(
            lambda: work.products(
                _TOY_BATCH, _WIDTH, with_kernel=16 * _BLOCKS, of_kernel=4 * _BLOCKS
            )
        ),
        "residual_images_products": Case(_convolutions),
    }
    for name, options in {
        "roulette": {},
        "roulette_without_early_gradients": {"backward_in_forward": False},
        "krylov": {"log_det": "krylov"},
        "brute_force": {"log_det": "brute_force"},
    }.items():
        result[f"residual_toy_{name}"] = Case(
            lambda options=options: _toy(**options), toy, ("residual_toy_normflows",)
        )
    for name, options in {"roulette": {}, "krylov": {"log_det": "krylov"}}.items():
        result[f"residual_images_{name}"] = Case(
            lambda options=options: _images(**options), images, ("residual_images_normflows",)
        )
    if importlib.util.find_spec("normflows"):
        result["residual_toy_normflows"] = Case(_normflows_toy, toy)
        result["residual_images_normflows"] = Case(_normflows_images, images)
    return result


def _toy(**options):
    import tensorflow as tf

    from snf_tf import models

    flow = models.residual_flow((2,), blocks=_BLOCKS, widths=(_WIDTH,) * 3, coeff=0.9, **options)
    flow.initialize(tf.random.normal((_TOY_BATCH, 2)))
    return work.training_step(flow, _TOY_BATCH)


def _images(**options):
    import numpy as np

    from snf_tf import models

    flow = models.residual_flow(
        _SCALES[0], blocks=_IMAGE_BLOCKS, widths=(_IMAGE_WIDTH,) * 2, **options
    )
    flow.initialize(np.random.randint(0, 256, (_IMAGE_BATCH, *_SCALES[0])))
    return work.training_step(flow, _IMAGE_BATCH)


def _convolutions():
    """Makes 8 convolutions and 2 gradients of kernels for each of all blocks."""
    import tensorflow as tf

    from snf_tf.ops.conv import conv2d, conv2d_kernel_gradient

    pairs = []
    for height, width, channels in _SCALES:
        sizes = [(channels, _IMAGE_WIDTH, 3), (_IMAGE_WIDTH, _IMAGE_WIDTH, 1)]
        for inputs, outputs, size in [*sizes, (_IMAGE_WIDTH, channels, 3)]:
            x = tf.random.normal((_IMAGE_BATCH, height, width, inputs))
            y = tf.random.normal((_IMAGE_BATCH, height, width, outputs))
            pairs.append((x, y, tf.random.normal((size, size, inputs, outputs))))

    @tf.function
    def step():
        found = []
        for x, y, kernel in pairs:
            for block in range(_IMAGE_BLOCKS):
                found += [conv2d(x + float(8 * block + i), kernel) for i in range(8)]
                found += [
                    conv2d_kernel_gradient(x + float(2 * block + i), y, kernel.shape)
                    for i in range(2)
                ]
        return tf.add_n([tf.reduce_max(one[0]) for one in found])

    return lambda: step().numpy()


def _normflows_toy():
    from normflows import flows, nets

    layers = []
    for _ in range(_BLOCKS):
        network = nets.LipschitzMLP([2, *[_WIDTH] * 3, 2], lipschitz_const=0.9, init_zeros=False)
        layers += [flows.Residual(network), flows.ActNorm(2)]
    return _normflows_step(layers, (2,), _TOY_BATCH)


def _normflows_images():
    import torch
    from normflows import flows, nets

    layers = []
    for height, width, channels in _SCALES:
        if layers:
            layers.append(torch.nn.PixelUnshuffle(2))
        for _ in range(_IMAGE_BLOCKS):
            sizes = [channels, _IMAGE_WIDTH, _IMAGE_WIDTH, channels]
            network = nets.LipschitzCNN(sizes, [3, 1, 3], lipschitz_const=0.98, init_zeros=False)
            layers += [flows.Residual(network), flows.ActNorm((channels, height, width))]
    return _normflows_step(layers, (1, 28, 28), _IMAGE_BATCH)


def _normflows_step(layers, shape, batch):
    """Makes a step as normflows' examples train, with 5 iterations for the norms in each."""
    import torch
    from normflows import utils

    model = torch.nn.ModuleList(layers)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    data = torch.randn(batch, *shape)

    def step():
        optimizer.zero_grad()
        x, total = data, 0.0
        for layer in model:
            if isinstance(layer, torch.nn.PixelUnshuffle):
                x = layer(x)
                continue
            x, log_det = layer.inverse(x)
            total = total + log_det
        loss = 0.5 * x.square().flatten(1).sum(1).mean() - total.mean()
        loss.backward()
        optimizer.step()
        utils.update_lipschitz(model, 5)
        return loss.item()

    return step
