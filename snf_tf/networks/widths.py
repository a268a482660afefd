"""The sizes that describe a network of several layers."""

from collections.abc import Sequence

from snf_tf._checks import check_shape, refuse


def checked_widths(
    widths: Sequence[int], kernel_sizes: Sequence[int] | None, odd: bool = False
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Returns the widths of hidden layers, and the kernel sizes of all layers, if they convolve.

    Args:
        widths: One integer a hidden layer.
        kernel_sizes: One more; None of dense layers.
        odd: Whether kernel sizes must be odd.

    Raises:
        ValueError: If they are something else.
    """
    hidden = check_shape("widths", widths)
    if kernel_sizes is None:
        return hidden, None
    sizes = check_shape("kernel_sizes", kernel_sizes)
    if len(sizes) != len(hidden) + 1:
        raise ValueError(
            "kernel_sizes must have one size more than there are widths. "
            f"Received: kernel_sizes={kernel_sizes!r}, widths={hidden}"
        )
    if odd and not all(size % 2 for size in sizes):
        refuse("kernel_sizes", kernel_sizes, "odd integers")
    return hidden, sizes
