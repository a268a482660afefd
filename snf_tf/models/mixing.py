"""The layers that mix channels and pixels, by name, where the papers compare them."""

import keras

from snf_tf import layers
from snf_tf.models.select import select


def mixing_layers(
    name: str,
    kernel_size=3,
    inverse_kernel_size=None,
    reconstruction_weight: float | None = None,
    inverse_method="learned",
    orthogonal: bool = False,
) -> list[layers.FlowLayer]:
    """Makes the layers of one mixing step.

    Args:
        name: "self_normalizing", "exact": convolutions of kernel_size. "conv1x1", "plu",
            "householder": 1 x 1 convolutions. "emerging", "exponential": a 1 x 1 convolution and
            one of kernel_size, as in the published runs of SNF.
        kernel_size: An odd integer, or two; for "emerging" one integer of at least 3.
        inverse_kernel_size: Of the learned inverse; by default kernel_size.
        reconstruction_weight, inverse_method: For "self_normalizing", as in
            `snf_tf.layers.SelfNormalizingConv2D`.
        orthogonal: Whether 1 x 1 kernels that are given by kernel_size start as random orthogonal
            matrices (SNF A.3, Glow).

    Raises:
        ValueError: If the name is unknown, or a size does not fit.
    """
    if name in ("conv1x1", "plu", "householder") and kernel_size not in (1, (1, 1)):
        raise ValueError(f"{name} is a 1 x 1 convolution. Received: kernel_size={kernel_size}")
    if name != "self_normalizing" and inverse_kernel_size is not None:
        raise ValueError(
            f"{name} has no learned inverse. Received: inverse_kernel_size={inverse_kernel_size}"
        )
    if name != "self_normalizing" and inverse_method != "learned":
        raise ValueError(f"{name} keeps no inverse. Received: inverse_method={inverse_method!r}")
    initializer = (
        keras.initializers.Orthogonal() if orthogonal and kernel_size in (1, (1, 1)) else None
    )
    options = {"kernel_size": kernel_size, "kernel_initializer": initializer}
    make = {
        "self_normalizing": lambda: [
            layers.SelfNormalizingConv2D(
                inverse_kernel_size=inverse_kernel_size,
                reconstruction_weight=reconstruction_weight,
                inverse_method=inverse_method,
                **options,
            )
        ],
        "exact": lambda: [layers.ExactConv2D(**options)],
        "conv1x1": lambda: [layers.InvertibleConv1x1()],
        "plu": lambda: [layers.InvertibleConv1x1("plu")],
        "householder": lambda: [layers.HouseholderConv1x1()],
        "emerging": lambda: [layers.InvertibleConv1x1(), layers.EmergingConv2D(kernel_size)],
        "exponential": lambda: [
            layers.InvertibleConv1x1(),
            layers.ConvolutionExponential(kernel_size),
        ],
    }
    return select(name, make, "mixing")()
