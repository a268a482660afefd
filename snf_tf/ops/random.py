"""Stateless random numbers for the rows of a batch.

A row's numbers are a function of (seed, step, row of the global batch) alone: a batch that is cut
into pieces, over devices or over time, gets the numbers of the whole. They come from one
counter-based stream (Philox, Salmon et al. 2011) for each (seed, step), in which every row has its
own range of counters.
"""

import tensorflow as tf

from snf_tf._checks import check_seed_tensor

_PHILOX = 1
# For each dtype: the integers its numbers are made of, how many a counter gives (128 bits), and the
# bits that a mantissa holds.
_INTEGERS = {tf.float32: (tf.uint32, 4, 24), tf.float64: (tf.uint64, 2, 53)}
# 2^64 over the golden ratio, an odd number: its multiples spread evenly over the 64-bit integers.
_WEYL = 0x9E3779B97F4A7C15


def row_seed(
    seed: int | tf.Tensor | None, step: int | tf.Tensor = 0, first_row: int | tf.Tensor = 0
) -> tf.Tensor:
    """Packs `[seed, step, first_row]` into an int64 tensor of shape (3,), the form in which seeds
    are handed to layers.

    Args:
        seed: An integer; None means 0. A tensor of shape (3,) is returned as it is.
        step: The training step.
        first_row: Row of the global batch that the first row of the batch at hand is.
    """
    if isinstance(seed, tf.Tensor) and seed.shape == (3,):
        return seed
    start = check_seed_tensor(0 if seed is None else seed)
    return tf.stack([start, *(tf.cast(number, tf.int64) for number in (step, first_row))])


def fold_in(seed: tf.Tensor, number: int) -> tf.Tensor:
    """Derives from a row seed another one, independent of it; for each `number` its own.

    Folding in twice gives another stream than folding in once, whatever the numbers: the sum is
    mixed as in SplitMix64 (Steele et al. 2014).

    Example:
        >>> seed = snf_tf.ops.row_seed(3)
        >>> nested = snf_tf.ops.fold_in(snf_tf.ops.fold_in(seed, 0), 0)
        >>> bool(tf.reduce_all(nested == snf_tf.ops.fold_in(seed, 1)))
        False
    """
    mixed = tf.bitcast(seed[0], tf.uint64) + tf.constant((number + 1) * _WEYL % 2**64, tf.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        mixed = tf.bitwise.bitwise_xor(mixed, tf.bitwise.right_shift(mixed, _unsigned(shift)))
        mixed *= _unsigned(factor)
    return tf.concat([tf.bitcast(mixed, tf.int64)[None], seed[1:]], axis=0)


def _unsigned(number):
    return tf.constant(number, tf.uint64)


def uniform_rows(seed: tf.Tensor, shape: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draws numbers in [0, 1), row by row.

    Args:
        seed: A row seed of shape (3,).
        shape: `(batch,) + event_shape`.
        dtype: float32 or float64.

    Returns:
        A tensor of that shape; row i is a function of seed, step and `first_row + i`.
    """
    dtype = tf.as_dtype(dtype)
    integer, per_counter, precision = _INTEGERS[dtype]
    rows, size = shape[0], tf.reduce_prod(shape[1:])
    counters = (size + per_counter - 1) // per_counter
    # Key, counter and floats are made here: TensorFlow's own ways differ with and without XLA.
    seed, step, first_row = tf.unstack(tf.bitcast(seed, tf.uint64))
    counter = tf.stack([first_row * tf.cast(counters, tf.uint64), step])
    integers = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=[rows, counters * per_counter],
        key=seed[None],
        counter=counter,
        alg=_PHILOX,
        dtype=integer,
    )
    highest = tf.bitwise.right_shift(integers, tf.constant(8 * integer.size - precision, integer))
    return tf.reshape((tf.cast(highest, dtype) * 2.0**-precision)[:, :size], shape)


def normal_rows(seed: tf.Tensor, shape: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draws standard normal numbers, row by row; arguments are those of `uniform_rows`."""
    precision = _INTEGERS[tf.as_dtype(dtype)][2]
    # Half a unit more, since the quantile of 0 is infinite. So is that of 1, to which the largest
    # number rounds then: once in 2^24 draws of float32.
    uniform = uniform_rows(seed, shape, dtype) + 2.0 ** -(precision + 1)
    return tf.math.ndtri(tf.minimum(uniform, 1.0 - 2.0**-precision))


def rademacher_rows(seed: tf.Tensor, shape: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draws signs, -1 or 1, row by row; arguments are those of `uniform_rows`."""
    half = tf.constant(0.5, dtype)
    return tf.where(
        uniform_rows(seed, shape, dtype) < half, -tf.ones((), dtype), tf.ones((), dtype)
    )
