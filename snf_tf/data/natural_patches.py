"""Cuts 32 x 32 patches from the two photographs that come with scikit-learn."""

import numpy as np

from snf_tf.data.sources import Sources, Splits

_SIZE, _STRIDE = 32, 8
# Columns of the photographs, which are 640 wide: no pixel is in two splits.
_STRIPS = ((0, 512), (512, 576), (576, 640))


def natural_patches() -> Splits:
    """Cuts the patches of each split from its strip of the photographs: 6100/500/500.

    The corners of the patches are multiples of 8 pixels.
    """
    from sklearn.datasets import load_sample_images

    photographs = load_sample_images().images
    train, validation, test = (
        np.concatenate([_patches(photograph[:, first:end]) for photograph in photographs])
        for first, end in _STRIPS
    )
    return train, validation, test


def _patches(image: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(image, (_SIZE, _SIZE), axis=(0, 1))[
        ::_STRIDE, ::_STRIDE
    ]
    return np.ascontiguousarray(windows.transpose(0, 1, 3, 4, 2)).reshape(
        -1, _SIZE, _SIZE, image.shape[2]
    )


NATURAL_PATCHES = Sources(embedded=natural_patches)
