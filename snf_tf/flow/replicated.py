"""Sums over the rows of a batch, divided among the replicas of a strategy."""

from collections.abc import Callable

import tensorflow as tf


def sum_over_replicas(
    strategy: tf.distribute.Strategy,
    sums: Callable[..., tf.Tensor],
    seed: tf.Tensor,
    weight: tf.Tensor,
    *parts: tf.Tensor | None,
) -> tf.Tensor:
    """Computes sums over the rows of a batch; every replica computes those of its share.

    Every row is counted once, and has the noise that it has on one device. Where the rows do not
    fill the last shares, these are filled by rows of weight 0. With several workers all call this
    with the same batch, and get the same sums.

    Args:
        strategy: Of the flow; to be called in a graph, outside of its replicas.
        sums: Takes seed, weight and parts of some rows, and returns their sums, a vector. A weight
            of 0 must leave a row out.
        seed: The row seed of the batch, `(3,)`.
        weight: `(batch,)`, factors of the rows.
        *parts: `(batch, ...)` each, or None.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return sums(seed, weight, *parts)
    count = tf.shape(weight)[0]
    share = (count + replicas - 1) // replicas

    def sums_of_replica():
        first = tf.distribute.get_replica_context().replica_id_in_sync_group * share
        places = first + tf.range(share)
        rows = tf.minimum(places, count - 1)
        own_seed = seed + tf.cast(tf.stack([0, 0, first]), tf.int64)
        own_weight = tf.where(places < count, tf.gather(weight, rows), 0.0)
        return sums(own_seed, own_weight, *(p if p is None else tf.gather(p, rows) for p in parts))

    return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(sums_of_replica), axis=None)
