"""Changes training images at random."""

import gin
import tensorflow as tf

from snf_tf._checks import check_flag, check_integer


@gin.configurable
def flip_and_shift(
    images: tf.Tensor, seed: tf.Tensor, flip: bool = True, shift: int = 1
) -> tf.Tensor:
    """Mirrors every image with probability 1/2, and shifts it along both axes (SNF A.3).

    A shift is a random crop of the image, padded by reflection. The crops of hybrid models are
    `shift=4`, with `flip=False` for SVHN; density estimation has flips alone, `shift=0` (RF App.
    E).

    Args:
        images: `(batch, H, W, C)`.
        seed: Two integers; the same seed gives the same result.
        flip: Whether to mirror images, left to right.
        shift: Largest shift in pixels; the image is continued by reflection at its border.

    Raises:
        ValueError: If flip is no bool, or shift no integer of at least 0.

    Example:
        >>> flip_and_shift(tf.zeros((5, 8, 8, 3)), seed=[0, 1]).shape
        TensorShape([5, 8, 8, 3])
    """
    check_flag("flip", flip)
    check_integer("shift", shift, 0)
    if flip:
        images = tf.image.stateless_random_flip_left_right(images, seed)
    if shift:
        batch, height, width = tf.unstack(tf.shape(images)[:3])
        padded = tf.pad(images, [[0, 0], [shift, shift], [shift, shift], [0, 0]], mode="REFLECT")
        # With the seed of the flips, shifts would depend on flips.
        seed = tf.random.experimental.stateless_fold_in(seed, 1)
        rows, columns = tf.unstack(
            tf.random.stateless_uniform((2, batch, 1), seed, maxval=2 * shift + 1, dtype=tf.int32)
        )
        padded = tf.gather(padded, rows + tf.range(height), axis=1, batch_dims=1)
        images = tf.gather(padded, columns + tf.range(width), axis=2, batch_dims=1)
    return images
