"""Cuts square patches from the two photographs that come with scikit-learn."""

import functools

import numpy as np

from snf_tf.data.sources import Sources
from snf_tf.data.splits import Split, Splits

# The areas of each split: photograph, first column, end. The photographs are 640 wide, and no pixel
# is in two splits.
_STRIPS = tuple(
    tuple((photograph, first, end) for photograph in (0, 1))
    for first, end in ((0, 512), (512, 576), (576, 640))
)
_HALVES = (((0, 0, 640),), ((1, 0, 320),), ((1, 320, 640),))
_WIDEST_IN_STRIPS = 64


def natural_patches(size: int = 32, bits: int = 8, labels: bool = False) -> Splits:
    """Cuts the patches of each split from its areas of the photographs: 6100/500/500 of size 32.

    The corners of the patches are multiples of a quarter of the size. The areas are strips of both
    photographs. Patches wider than 64 come from one photograph for training, and from the halves of
    the other one.

    Args:
        size: Width and height in pixels, 320 at most.
        bits: Of a value: the values are integers in `0..2**bits - 1`.
        labels: Whether there are labels: the number of a patch's photograph, 0 or 1.
    """
    from sklearn.datasets import load_sample_images

    photographs = load_sample_images().images

    def split(areas: tuple[tuple[int, int, int], ...]) -> Split:
        parts = [_patches(photographs[number][:, first:end], size) for number, first, end in areas]
        numbers = np.repeat([number for number, _, _ in areas], [len(part) for part in parts])
        examples = np.concatenate(parts) // 2 ** (8 - bits)
        return Split(examples, numbers.astype(np.int32) if labels else None)

    train, validation, test = _STRIPS if size <= _WIDEST_IN_STRIPS else _HALVES
    return split(train), split(validation), split(test)


def _patches(image: np.ndarray, size: int) -> np.ndarray:
    stride = size // 4
    windows = np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(0, 1))[
        ::stride, ::stride
    ]
    return np.ascontiguousarray(windows.transpose(0, 1, 3, 4, 2)).reshape(
        -1, size, size, image.shape[2]
    )


NATURAL_PATCHES = Sources(embedded=functools.partial(natural_patches, labels=True), classes=2)
