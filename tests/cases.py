"""Every layer with the shapes that the shared tests run it at. A new layer joins them by being
listed here.
"""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from snf_tf import Flow, layers, networks
from tests.given_context import GivenContext

tfb = tfp.bijectors


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer to be tested.

    Attributes:
        make: Its constructor.
        event_shape: Shape of one x.
        draw: Draws inputs of a given shape.
        weight: Draws a trainable weight of a given shape.
        jit: Whether XLA has kernels for the exact call on every device.
    """

    make: Callable[[], layers.FlowLayer]
    event_shape: tuple[int, ...]
    draw: Callable = lambda shape: 3.0 * np.random.randn(*shape)
    weight: Callable = lambda *shape: np.random.randn(*shape)
    jit: bool = True

    def inputs(self, batch=3):
        """A batch of float64 inputs."""
        return tf.constant(self.draw((batch, *self.event_shape)), tf.float64)

    def build(self):
        """The layer, with random weights far from their initial values."""
        layer = self.make()
        layer.build((None, *self.event_shape))
        layer.initialize(self.inputs())
        for weight in layer.trainable_weights:
            weight.assign(self.weight(*weight.shape))
        return layer


def _small(*shape):
    return 0.1 * np.random.randn(*shape)


def _dominated_by_the_pixel_itself(*shape):
    """Of autoregressive kernels: others have an inverse that grows from pixel to pixel."""
    weight = 0.3 * np.random.randn(*shape)
    if len(shape) == 4:
        weight[[0, -1], [0, -1]] += 2 * np.eye(shape[2])
    return weight


def _integers(shape):
    return np.random.randint(0, 256, shape).astype(float)


@keras.saving.register_keras_serializable("tests")
def affine_bijector():
    """With two variables, and a constant Jacobian."""
    scale = tfp.util.TransformedVariable(
        tf.eye(3, dtype=tf.float64), tfb.FillScaleTriL(diag_shift=None)
    )
    return tfb.Chain(
        [tfb.Shift(tf.Variable([1.0, 2.0, 3.0], dtype=tf.float64)), tfb.ScaleMatvecTriL(scale)]
    )


@keras.saving.register_keras_serializable("tests")
def spline_bijector():
    """Element-wise, with a variable that TFP does not show."""
    heights = tf.Variable([0.1, -0.2, 0.3], dtype=tf.float64)
    sizes = [
        tfp.util.DeferredTensor(v, lambda v: 8 * tf.nn.softmax(v))
        for v in (tf.zeros(3, tf.float64), heights)
    ]
    return tfb.RationalQuadraticSpline(*sizes, knot_slopes=tf.ones(2, tf.float64), range_min=-4)


@keras.saving.register_keras_serializable("tests")
def softplus_bijector():
    """Without variables."""
    return tfb.Softplus()


def inner_flow():
    """With a learned inverse, a layer to be initialized, and a squeeze."""
    return Flow(
        [layers.ActNorm(), layers.Squeeze(), layers.SelfNormalizingConv2D(1)], event_shape=(2, 4, 2)
    )


CASES = {
    "SelfNormalizingDense": Case(layers.SelfNormalizingDense, (7,), jit=False),
    "SelfNormalizingDense-projected": Case(
        lambda: layers.SelfNormalizingDense(inverse_method="projected"), (7,), jit=False
    ),
    "SelfNormalizingDense-newton_schulz": Case(
        lambda: layers.SelfNormalizingDense(inverse_method="newton_schulz"), (7,), jit=False
    ),
    "ExactDense": Case(layers.ExactDense, (7,), jit=False),
    "LULinear": Case(lambda: layers.LULinear("orthogonal"), (7,)),
    "RelativeGradientDense": Case(layers.RelativeGradientDense, (7,), jit=False),
    "SelfNormalizingConv2D-1x1": Case(
        lambda: layers.SelfNormalizingConv2D(1), (4, 3, 5), jit=False
    ),
    "SelfNormalizingConv2D-3x3": Case(
        lambda: layers.SelfNormalizingConv2D(3), (4, 6, 2), jit=False
    ),
    "SelfNormalizingConv2D-3x3-7x7": Case(
        lambda: layers.SelfNormalizingConv2D(3, 7), (2, 3, 2), jit=False
    ),
    "SelfNormalizingConv2D-5x1-1x3": Case(
        lambda: layers.SelfNormalizingConv2D((5, 1), (1, 3)), (4, 4, 2), jit=False
    ),
    "SelfNormalizingConv2D-least_squares": Case(
        lambda: layers.SelfNormalizingConv2D(
            3, 5, inverse_method=layers.LeastSquares(check_every=7)
        ),
        (4, 5, 2),
        jit=False,
    ),
    "ExactConv2D": Case(lambda: layers.ExactConv2D(3), (5, 4, 3), jit=False),
    "InvertibleConv1x1": Case(layers.InvertibleConv1x1, (3, 4, 5), jit=False),
    "InvertibleConv1x1-plu": Case(lambda: layers.InvertibleConv1x1("plu"), (3, 4, 5)),
    "HouseholderConv1x1": Case(layers.HouseholderConv1x1, (3, 4, 5)),
    "HouseholderConv1x1-2": Case(lambda: layers.HouseholderConv1x1(2), (3, 4, 5)),
    "EmergingConv2D": Case(layers.EmergingConv2D, (4, 5, 3), weight=_dominated_by_the_pixel_itself),
    "EmergingConv2D-5": Case(
        lambda: layers.EmergingConv2D(5), (2, 6, 2), weight=_dominated_by_the_pixel_itself
    ),
    "ConvolutionExponential": Case(lambda: layers.ConvolutionExponential(3), (4, 3, 2)),
    "ConvolutionExponential-norm-3": Case(
        lambda: layers.ConvolutionExponential((1, 5), bound=3.0), (2, 3, 4)
    ),
    "ActNorm": Case(layers.ActNorm, (3, 2, 4)),
    "ActNorm-vectors": Case(layers.ActNorm, (6,)),
    "AffineCoupling": Case(lambda: layers.AffineCoupling(width=7), (3, 2, 4), weight=_small),
    "AffineCoupling-tanh": Case(lambda: layers.AffineCoupling(width=7, scale="tanh"), (6,)),
    "AffineCoupling-exp": Case(
        lambda: layers.AffineCoupling(keras.layers.Dense(4, activation="tanh"), scale="exp"),
        (3, 2, 4),
        weight=_small,
    ),
    "Coupling-checkerboard": Case(
        lambda: layers.Coupling(mask=layers.Checkerboard(flip=True), width=5),
        (3, 4, 2),
        weight=_small,
    ),
    "Coupling-flipped": Case(
        lambda: layers.Coupling(mask=layers.Channels(flip=True), width=5), (5,), weight=_small
    ),
    "Coupling-additive": Case(lambda: layers.Coupling("additive", width=5), (2, 3, 3)),
    "Coupling-rational_quadratic": Case(
        lambda: layers.Coupling(
            layers.RationalQuadratic(3, bound=2.0),
            "alternate",
            networks.ResidualMLP(width=4, blocks=1),
        ),
        (5,),
    ),
    "Coupling-circular": Case(
        lambda: layers.Coupling(
            layers.CircularRationalQuadratic(3), layers.RandomPermutation(1, flip=True), width=5
        ),
        (5,),
        weight=_small,
    ),
    "Coupling-logistic_mixture": Case(
        lambda: layers.Coupling(
            layers.LogisticMixture(3),
            layers.Stripes(flip=True),
            networks.GatedConvNetwork(width=4, blocks=1, heads=2),
        ),
        (4, 3, 2),
        weight=lambda *shape: 0.3 * np.random.randn(*shape),
    ),
    "Autoregressive": Case(lambda: layers.Autoregressive(widths=(12, 12)), (5,), weight=_small),
    "Autoregressive-inverse": Case(
        lambda: layers.Autoregressive(layers.Affine("tanh"), direction="inverse", order="random"),
        (6,),
        weight=_small,
    ),
    "Autoregressive-additive": Case(
        lambda: layers.Autoregressive(
            "additive", networks.MADE(1, (9, 9), "reversed", residual=True)
        ),
        (4,),
    ),
    "Bounded": Case(
        lambda: layers.Bounded(-1.0, 2.5), (3, 2), lambda shape: np.random.uniform(-0.9, 2.4, shape)
    ),
    "Bounded-low": Case(
        lambda: layers.Bounded(low=1.0), (5,), lambda shape: 1.0 + np.random.gamma(1.0, size=shape)
    ),
    "Bounded-mixed": Case(
        lambda: layers.Bounded([0.0, None, -1.0, None], [2.0, None, None, 1.5]),
        (2, 4),
        lambda shape: np.random.uniform(0.1, 1.4, shape),
    ),
    "Bounded-none": Case(layers.Bounded, (3,)),
    "FactorOut": Case(
        lambda: layers.FactorOut(layers.AffineCoupling(width=3)), (3, 2, 4), weight=_small
    ),
    "FactorOut-unconditional": Case(
        lambda: layers.FactorOut(inner_flow(), conditional=False), (2, 4, 4), jit=False
    ),
    "FactorOut-context": Case(
        lambda: GivenContext(
            layers.FactorOut(
                layers.AffineCoupling(width=3, context_shape=(2,)), context_shape=(2,)
            ),
            [0.5, -2.0],
        ),
        (3, 2, 4),
        weight=_small,
    ),
    "FactorOut-labels": Case(
        lambda: GivenContext(layers.FactorOut(layers.SmoothTanh(), context_classes=3), 2),
        (2, 3, 4),
        weight=_small,
    ),
    "Coupling-labels": Case(
        lambda: GivenContext(
            layers.Coupling("affine", "alternate", networks.ResidualMLP(4), context_classes=3), 1
        ),
        (5,),
        weight=_small,
    ),
    "LeakyReLU": Case(layers.LeakyReLU, (4, 3)),
    "SmoothLeakyReLU": Case(layers.SmoothLeakyReLU, (4, 3)),
    "SmoothLeakyReLU-0.01": Case(lambda: layers.SmoothLeakyReLU(0.01), (11,)),
    "SmoothLeakyReLU-3": Case(lambda: layers.SmoothLeakyReLU(3.0), (11,)),
    "SmoothTanh": Case(layers.SmoothTanh, (2, 2, 3)),
    "SmoothTanh-steep": Case(lambda: layers.SmoothTanh(alpha=10.0, beta=0.01), (11,)),
    "SplineActivation": Case(
        layers.SplineActivation, (3, 2, 2), draw=lambda shape: np.random.uniform(-12, 12, shape)
    ),
    "SplineActivation-8": Case(lambda: layers.SplineActivation(bins=8, bound=3.0), (6,)),
    "ResidualBlock": Case(
        lambda: layers.ResidualBlock(networks.LipschitzNetwork((8, 8))), (3,), jit=False
    ),
    "ResidualBlock-krylov": Case(
        lambda: layers.ResidualBlock(networks.LipschitzNetwork((8,)), layers.Krylov(3)), (2,)
    ),
    "ResidualBlock-images": Case(
        lambda: layers.ResidualBlock(
            networks.LipschitzNetwork((4, 4), kernel_sizes=(3, 1, 3)), layers.TruncatedSeries(5)
        ),
        (4, 3, 2),
        jit=False,
    ),
    "ResidualBlock-brute-force": Case(
        lambda: layers.ResidualBlock(networks.LipschitzDenseNet(2, 3), "brute_force"),
        (2,),
    ),
    "ResidualBlock-monotone": Case(
        lambda: layers.ResidualBlock(
            networks.LipschitzNetwork((6,)), monotone=True, probe="normal"
        ),
        (2,),
    ),
    "SelfNormalizingPair": Case(
        lambda: layers.SelfNormalizingPair(
            networks.ResidualNetwork((5,)), networks.ResidualNetwork((5,))
        ),
        (3,),
        weight=_small,
        jit=False,
    ),
    "SelfNormalizingPair-images": Case(
        lambda: layers.SelfNormalizingPair(
            networks.ResidualNetwork((4,), 1, (3, 3)),
            networks.ResidualNetwork((4,), 1, (3, 3)),
            layers.RussianRoulette(exact_terms=1),
            penalty="geco",
            jacobian_penalty=0.1,
            noise=0.1,
            prior_weight=0.1,
        ),
        (3, 4, 2),
        weight=_small,
        jit=False,
    ),
    "SelfNormalizingPair-attention": Case(
        lambda: layers.SelfNormalizingPair(
            networks.AttentionNetwork(2, 4, 2), networks.AttentionNetwork(2, 4, 2), "krylov"
        ),
        (2, 4, 1),
        weight=_small,
        jit=False,
    ),
    "SelfNormalizingResidualBlock": Case(
        lambda: layers.SelfNormalizingResidualBlock(keras.layers.Dense(3, "tanh")),
        (3,),
        weight=_small,
        jit=False,
    ),
    "Squeeze": Case(layers.Squeeze, (4, 6, 3)),
    "Permute": Case(lambda: layers.Permute(seed=1), (2, 5)),
    "Standardize": Case(
        layers.Standardize, (6,), draw=lambda shape: 5 + 9 * np.random.randn(*shape)
    ),
    "Standardize-images": Case(layers.Standardize, (3, 2, 4)),
    "Flatten": Case(layers.Flatten, (2, 3, 4)),
    "Dequantize": Case(layers.Dequantize, (3, 3, 2), draw=_integers),
    "VariationalDequantize": Case(
        lambda: layers.VariationalDequantize(
            layers.Autoregressive(widths=(6, 6), context_shape=(4,)), bins=4
        ),
        (4,),
        draw=lambda shape: np.random.randint(0, 4, shape).astype(float),
    ),
    "VariationalDequantize-images": Case(
        lambda: layers.VariationalDequantize(
            Flow([layers.ActNorm(), layers.SmoothTanh()], event_shape=(2, 3, 1))
        ),
        (2, 3, 1),
        draw=_integers,
    ),
    "Scale": Case(lambda: layers.Scale(-0.3), (3, 5)),
    "FromBijector-affine": Case(lambda: layers.FromBijector(affine_bijector), (3,), jit=False),
    "FromBijector-spline": Case(lambda: layers.FromBijector(spline_bijector), (4, 3), jit=False),
    "FromBijector-softplus": Case(
        lambda: layers.FromBijector(softplus_bijector),
        (2, 3),
        draw=lambda shape: np.random.uniform(0.1, 3, shape),
    ),
    "Logit": Case(layers.Logit, (3, 5), draw=lambda shape: np.random.uniform(0, 1, shape)),
}


# Layers that have another case, or share most of their code with one.
_VARIANTS = (
    "HouseholderConv1x1-2",
    "EmergingConv2D-5",
    "ConvolutionExponential-norm-3",
    "SelfNormalizingConv2D-5x1-1x3",
    "AffineCoupling-exp",
    "AffineCoupling-tanh",
    "Coupling-checkerboard",
    "Coupling-circular",
    "Autoregressive-additive",
    "Bounded-none",
    "Bounded-low",
    "FactorOut-unconditional",
    "SmoothLeakyReLU-3",
    "SmoothTanh-steep",
    "SplineActivation-8",
    "ResidualBlock-images",
    "ResidualBlock-krylov",
    "ResidualBlock-brute-force",
    "ResidualBlock-monotone",
    "SelfNormalizingPair-attention",
    "SelfNormalizingPair-images",
    "VariationalDequantize-images",
    "Standardize-images",
)


def parameters(chosen: Callable[[layers.FlowLayer], bool] = lambda layer: True) -> list:
    """Names of the cases whose layers are chosen; those of variants are slow tests."""
    return [
        pytest.param(name, marks=[pytest.mark.slow] if name in _VARIANTS else [])
        for name, case in CASES.items()
        if chosen(case.make())
    ]
