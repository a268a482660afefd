"""Which rows of the global batch a replica of a strategy has."""

import tensorflow as tf

from snf_tf.ops.custom_gradient import custom_gradient, released


def replica_rows(x: tf.Tensor) -> tuple[tf.Tensor | None, tf.Tensor | int]:
    """Finds the rows of the global batch that the replicas have.

    Args:
        x: The rows of this replica, `(batch, ...)`.

    Returns:
        How many rows each replica has, `(replicas,)`, None with one replica; and the number of the
        first row of this one.

    Example:
        >>> snf_tf.ops.replica_rows(tf.zeros((3, 2)))
        (None, 0)
    """
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return None, 0
    index = replica.replica_id_in_sync_group
    mine = tf.one_hot(index, replica.num_replicas_in_sync, dtype=tf.int32) * tf.shape(x)[0]
    rows = replica_sum(mine)
    return rows, tf.reduce_sum(rows[:index])


def replica_sum(value: tf.Tensor) -> tf.Tensor:
    """Sums the values of all replicas; with one, or none, the value is the sum.

    Example:
        >>> float(snf_tf.ops.replica_sum(tf.constant(2.0)))
        2.0
    """
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return value
    return released(replica.all_reduce)(tf.distribute.ReduceOp.SUM, value)


def global_batch_mean(values: tf.Tensor) -> tf.Tensor:
    """Computes the mean of `(batch,)` values over the rows of all replicas; 0 if there are none.

    Example:
        >>> float(snf_tf.ops.global_batch_mean(tf.constant([1.0, 3.0])))
        2.0
    """
    sums = replica_sum(
        tf.stack([tf.reduce_sum(values), tf.cast(tf.shape(values)[0], values.dtype)])
    )
    return tf.math.divide_no_nan(sums[0], sums[1])


def scale_gradient(value: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Returns a value; its gradient is multiplied by a factor.

    Example:
        >>> x = tf.Variable(2.0)
        >>> with tf.GradientTape() as tape:
        ...     y = snf_tf.ops.scale_gradient(x * x, 10.0)
        >>> float(y), float(tape.gradient(y, x))
        (4.0, 40.0)
    """

    @custom_gradient
    def apply(value):
        return value, lambda upstream: upstream * tf.cast(factor, upstream.dtype)

    return apply(value)
