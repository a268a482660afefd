"""Flows on tables: linear maps and couplings by turns, as in neural spline flows."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import gin

from snf_tf import layers, networks
from snf_tf._checks import check_array_seed, check_choice, check_shape, check_sizes, refuse
from snf_tf.flow import Flow
from snf_tf.models.conditional import class_base, context_options
from snf_tf.models.mixing import Maker, make_layers

_MIXING: Mapping[str, Maker] = {
    "lu": layers.LULinear,
    "exact": layers.ExactDense,
    # The columns of a table are nearly collinear: the error of reconstruction alone teaches no
    # inverse.
    "self_normalizing": functools.partial(
        layers.SelfNormalizingDense, inverse_method=layers.LearnedInverse(jacobian_penalty=10.0)
    ),
    "projected": functools.partial(layers.SelfNormalizingDense, inverse_method="projected"),
    # The couplings permute by their masks, and do not scale all they should.
    "permute": layers.ActNorm,
}
# Transform, and whether it is autoregressive.
_COUPLINGS: Mapping[str, tuple[str, bool]] = {
    "rational_quadratic": ("rational_quadratic", False),
    "affine": ("affine", False),
    "additive": ("additive", False),
    "autoregressive": ("affine", True),
    "autoregressive_rational_quadratic": ("rational_quadratic", True),
}


@gin.configurable
def tabular(
    event_shape: tuple[int, ...] = (6,),
    blocks: int = 5,
    coupling: str = "rational_quadratic",
    mixing: str | Maker = "lu",
    width: int = 128,
    residual_blocks: int = 2,
    bins: int = 8,
    bound: float = 3.0,
    conditional_on: str | None = None,
    classes: int = 2,
    context_shape: Sequence[int] | None = None,
    seed: int = 0,
    **options: Any,
) -> Flow:
    """Builds a flow on vectors, such as the rows of a table (Durkan et al. 2019).

    The data may be in any units: Standardize comes first, and likelihoods are in these units. Then
    `blocks` times mixing and coupling, and mixing once more. A coupling changes one random half of
    the features, the next one the other half. Data must initialize the flow:
    `flow.initialize(x)`, with many examples.

    Args:
        event_shape: `(D,)`, D at least 2.
        blocks: Number of couplings.
        coupling: "rational_quadratic" (neural spline flows), "affine" (Real NVP), "additive"
            (NICE), "autoregressive" (MAF, Papamakarios et al. 2017) or
            "autoregressive_rational_quadratic". The last two are fast in likelihoods and slow in
            sampling. All affine scales are bounded.
        mixing: "lu", "exact", "self_normalizing" (with a Jacobian penalty of 10), "projected", or
            "permute" (ActNorm: features meet by the random halves alone), or a function that makes
            a layer.
        width: Hidden units of the couplings' networks.
        residual_blocks: Residual blocks of each of them, of two layers.
        bins: Bins of the splines.
        bound: The splines are the identity outside [-bound, bound], in standard deviations.
        conditional_on: "label": couplings get one-hot vectors, and the base has a mean and a
            deviation for every class. "context": couplings get the context. None: the flow takes
            no context.
        classes: Number of classes of labels.
        context_shape: Shape of one context: alone, it stands for `conditional_on="context"`.
        seed: Of the halves, the orders, and the noise in training.
        **options: Arguments of mixing, such as `inverse_method` of
            `snf_tf.layers.SelfNormalizingDense`.

    Returns:
        A Flow.

    Raises:
        ValueError: If an argument is unknown, event_shape is not `(D,)`, or a context has no
            shape.

    Example:
        >>> flow = snf_tf.models.tabular((4,), blocks=2, width=16)
        >>> flow.initialize(np.random.normal(50.0, 10.0, (100, 4)).astype("float32"))
        >>> flow.sample(3).shape
        TensorShape([3, 4])
    """
    check_choice("coupling", coupling, _COUPLINGS)
    check_sizes(blocks=blocks, width=width, residual_blocks=residual_blocks)
    seed = check_array_seed(seed)
    event_shape = check_shape("event_shape", event_shape, ranks=(1,))
    if event_shape[0] < 2:
        refuse("event_shape", event_shape, "(D,) with D at least 2")
    if conditional_on is None and context_shape is not None:
        conditional_on = "context"
    context = context_options(conditional_on, classes, context_shape)
    name, is_autoregressive = _COUPLINGS[coupling]
    transform = {
        # Also where another is taken: it checks bins and bound.
        "rational_quadratic": layers.RationalQuadratic(bins, bound),
        "affine": layers.Affine("tanh"),
        "additive": layers.Additive(),
    }[name]

    def mix():
        return make_layers(mixing, _MIXING, "mixing", **options)

    def couple(index):
        # Of two couplings the second changes what the first has left.
        turn = index % 2
        if is_autoregressive:
            widths = (width,) * (1 + 2 * residual_blocks)
            order = ("natural", "reversed")[turn]
            network = networks.MADE(None, widths, order, residual=True)
            return layers.Autoregressive(transform, network, **context)
        mask = layers.RandomPermutation(seed + index // 2, flip=bool(turn))
        network = networks.ResidualMLP(width=width, blocks=residual_blocks)
        return layers.Coupling(transform, mask, network, **context)

    bijections = [layers.Standardize()]
    for index in range(blocks):
        bijections += [*mix(), couple(index)]
    base = class_base(conditional_on, classes)
    return Flow([*bijections, *mix()], event_shape, base=base, seed=seed)
