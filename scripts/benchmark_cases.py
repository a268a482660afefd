"""Defines the cases of this library that `benchmark.py` times, and their floors."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import benchmark_work as work

DIMENSIONS = (128, 512, 1024, 2048, 4096)
_PEERS = ("nflows_full", "nflows_lu", "normflows_full", "normflows_lu", "zuko_lu")
DENSE_BATCH = 128
# As steps_per_execution.
STEPS = 16
GLOW_WIDTH = 64
GLOW_STEP = (14, 14, 4)
_IMAGES = ((28, 28, 1), (14, 14, 4), (7, 7, 16), (16, 16, 12), (32, 32, 3))
_CONVOLUTIONS = ((28, 28, 1),) * 3 + ((14, 14, 4),) * 3 + ((7, 7, 16),) * 3


class Case(NamedTuple):
    """A piece of work that is timed.

    Attributes:
        make: Returns the function whose calls are timed; a call ends when its work is done.
        floor: Names of the cases whose times add up to what this one cannot avoid.
        against: Names of cases that do the same work in another way.
        steps: Training steps in a call; times are told of one.
    """

    make: Callable[[], Callable[[], object]]
    floor: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    steps: int = 1


def cases(batch: int) -> dict[str, Case]:
    """Returns all cases by name."""
    models = _fully_connected(batch) | _convolutional(batch) | _glow(batch)
    return models | _dense() | _splines(batch) | _sampling() | _banded(batch)


def device() -> str:
    import os

    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return gpus[0].name if gpus else f"{os.cpu_count()} CPU cores"


def _fully_connected(batch):
    """Returns the cases of the 2-layer model on 784 dimensions.

    A self normalizing step needs 12 products of (batch, D, D), 6 a layer (SNF Eqs. 10, 11 and the
    penalty).
    """
    from snf_tf import models

    floor = ("fc_products", "fc_adam_bytes")
    result = {
        "fc_products": Case(lambda: work.products(batch, 784, with_kernel=8, of_kernel=4)),
        "fc_adam_bytes": Case(lambda: work.adam_bytes(4 * 784**2 + 2 * 784)),
    }
    for linear in ("self_normalizing", "relative", "exact"):
        make = functools.partial(models.fully_connected, linear=linear)
        result[f"fc_{linear}"] = Case(
            lambda make=make: work.training_step(make(), batch), floor, ("fc_exact",)
        )
    for method in ("projected", "newton_schulz"):
        make = functools.partial(models.fully_connected, inverse_method=method)
        against = ("fc_self_normalizing", "fc_exact")
        result[f"fc_{method}"] = Case(
            lambda make=make: work.training_step(make(), batch), floor, against
        )
    return result


def _convolutional(batch):
    """Returns the cases of the 9-layer model.

    A self normalizing step needs 6 convolutions a layer, and the splines.
    """
    from snf_tf import layers, models, ops

    class DenseExactConv2D(layers.ExactConv2D):
        """The paper's exact baseline: log-determinants by LU of the dense matrix."""

        def call(self, x, context=None, training=False):
            z = ops.affine_conv2d(x, self.kernel, self.bias)
            return z, self.repeat(ops.conv2d_log_det_dense(self.kernel, self.event_shape), x)

    def dense():
        flow = models.convolutional(linear="exact")
        for bijection in flow.bijections:
            if isinstance(bijection, layers.ExactConv2D):
                bijection.__class__ = DenseExactConv2D
        return flow

    result = {"conv_convolutions": Case(lambda: work.convolutions(_CONVOLUTIONS, batch, 6))}
    for name, make in {
        "conv_self_normalizing": models.convolutional,
        "conv_least_squares": functools.partial(
            models.convolutional, inverse_method="least_squares"
        ),
        "conv_exact": functools.partial(models.convolutional, linear="exact"),
        "conv_exact_by_dense_matrix": dense,
    }.items():
        against = ("conv_exact", "conv_exact_by_dense_matrix")
        result[name] = Case(
            lambda make=make: work.training_step(make(), batch), ("conv_convolutions",), against
        )
    return result


def _glow(batch):
    """Returns the cases of Glow 2L-16K with couplings of width 64, and of one step of flow.

    The floor is the convolutions of Glow's step, forward and backward, in one graph. The one step
    of flow is on 14 x 14 x 4 images.
    """
    from snf_tf import Flow, layers, models

    def initialized(flow):
        import numpy as np

        flow.initialize(np.random.RandomState(0).randint(0, 256, (batch, *flow.event_shape)))
        return flow

    def glow(mixing):
        return initialized(models.glow(mixing=mixing, coupling_width=GLOW_WIDTH))

    def convolutions():
        inputs = []
        for layer in models.glow(coupling_width=GLOW_WIDTH).leaves():
            if isinstance(layer, layers.SelfNormalizingConv2D):
                inputs += 2 * [(layer.event_shape, layer.kernel.value)]
            if isinstance(layer, layers.AffineCoupling):
                for part in getattr(layer.conditioner, "layers", [layer.conditioner]):
                    kernel = getattr(part, "convolution", part).kernel.value
                    inputs.append(((*layer.event_shape[:2], kernel.shape[2]), kernel))
        return work.convolutions_and_gradients(inputs, batch)

    def one_step():
        parts = [
            layers.ActNorm(),
            layers.InvertibleConv1x1(),
            layers.AffineCoupling(width=GLOW_WIDTH),
        ]
        return initialized(Flow(parts, event_shape=GLOW_STEP))

    floor = ("glow_convolutions",)
    return {
        "glow_convolutions": Case(convolutions),
        "glow_self_normalizing": Case(
            lambda: work.training_step(glow("self_normalizing"), batch), floor, ("glow_conv1x1",)
        ),
        "glow_conv1x1": Case(lambda: work.training_step(glow("conv1x1"), batch), floor),
        "glow_step": Case(
            lambda: work.training_step(one_step(), batch), against=("glow_step_normflows",)
        ),
    }


def _dense():
    """Returns the cases of one dense layer, trained by Adam.

    `benchmark_peers.py` has the same work by other libraries. The first layer of a flow needs no
    gradient of its input. Then a self normalizing step needs 5 products, and an exact one 2 beside
    an inverse. A step with a closed-form inverse needs 2 beside the update of the inverse.
    """
    from snf_tf import Flow, layers

    result = {}
    for size in DIMENSIONS:
        prefix = f"dense_{size}_"
        parts = {
            "products": lambda size=size: work.products(DENSE_BATCH, size, 3, 2),
            "two_products": lambda size=size: work.products(DENSE_BATCH, size, 1, 1),
            "inverse": lambda size=size: work.inverse(size),
            "adam_bytes": lambda size=size: work.adam_bytes(size**2),
            "adam_bytes_twice": lambda size=size: work.adam_bytes(2 * size**2),
        }
        result |= {prefix + name: Case(make) for name, make in parts.items()}
        for name, layer, floor in (
            ("self_normalizing", layers.SelfNormalizingDense, ("products", "adam_bytes_twice")),
            (
                "projected",
                functools.partial(layers.SelfNormalizingDense, inverse_method="projected"),
                ("two_products", "adam_bytes"),
            ),
            (
                "newton_schulz",
                functools.partial(layers.SelfNormalizingDense, inverse_method="newton_schulz"),
                ("two_products", "adam_bytes"),
            ),
            ("exact", layers.ExactDense, ("two_products", "inverse", "adam_bytes")),
        ):

            def make(layer=layer, size=size, steps=1):
                flow = Flow([layer()], event_shape=(size,))
                return work.training_step(flow, DENSE_BATCH, steps)

            against = ("exact", *_PEERS)
            if name in ("projected", "newton_schulz"):
                against = ("self_normalizing", *against)
            result[prefix + name] = Case(
                make,
                tuple(prefix + part for part in floor),
                tuple(prefix + other for other in against),
            )
            # Of small layers Keras' call of a step is half of the time.
            if size == DIMENSIONS[0]:
                result[f"{prefix}{name}_{STEPS}_steps"] = result[prefix + name]._replace(
                    make=functools.partial(make, steps=STEPS), steps=STEPS
                )
    return result


def _splines(batch):
    """Returns splines of 784 elements, forward and backward, against those of TFP and nflows."""
    from snf_tf import layers

    def of_tfp():
        import tensorflow as tf
        import tensorflow_probability as tfp

        from snf_tf import ops

        weights = [tf.Variable(0.01 * tf.random.normal((784, count))) for count in (5, 5, 4)]

        def spline(x):
            knots_x, knots_y, slopes = ops.spline_knots(*weights, 10.0)
            sizes = [tf.transpose(knots[1:] - knots[:-1]) for knots in (knots_x, knots_y)]
            bijector = tfp.bijectors.RationalQuadraticSpline(
                *sizes, tf.transpose(slopes[1:-1]), range_min=-10.0
            )
            return bijector.forward(x), bijector.forward_log_det_jacobian(x, event_ndims=1)

        return work.gradient_step(spline, weights, batch)

    def ours():
        layer = layers.SplineActivation(5, 10.0)
        layer.build((None, 784))
        return work.gradient_step(
            layer, [weight.value for weight in layer.trainable_weights], batch
        )

    return {
        "spline": Case(ours, against=("spline_tfp", "spline_nflows")),
        "spline_tfp": Case(of_tfp),
    }


def _sampling():
    from snf_tf import models

    result = {}
    for n in (1, 100):
        result[f"sample_fc_products_{n}"] = Case(
            lambda n=n: work.products(n, 784, with_kernel=2, of_kernel=0)
        )
        result[f"sample_conv_convolutions_{n}"] = Case(
            lambda n=n: work.convolutions(_CONVOLUTIONS, n, 1)
        )
        for name, model, floor in (
            ("fc", models.fully_connected, f"sample_fc_products_{n}"),
            ("conv", models.convolutional, f"sample_conv_convolutions_{n}"),
        ):
            for inverse in ("learned", "exact"):

                def make(model=model, n=n, exact=inverse == "exact"):
                    flow = model()
                    return lambda: flow.sample(n, exact=exact, seed=0).numpy()

                result[f"sample_{name}_{inverse}_{n}"] = Case(make, (floor,))
    return result


def _banded(batch):
    """Returns log-dets, gradients and solves of convolutions, against the dense matrix."""
    from snf_tf import ops

    result = {}
    for image in _IMAGES:
        size = "x".join(map(str, image))
        for suffix, log_det, solve in (
            ("", ops.conv2d_log_det, ops.conv2d_solve),
            ("_dense", ops.conv2d_log_det_dense, ops.conv2d_solve_dense),
        ):
            value = functools.partial(work.log_det, log_det, image)
            for name, make in {
                f"log_det_{size}": value,
                f"log_det_gradient_{size}": functools.partial(value, gradient=True),
                f"solve_{size}": functools.partial(work.solve, solve, image, batch),
            }.items():
                result[name + suffix] = Case(make, against=(f"{name}_dense",))
    return result
