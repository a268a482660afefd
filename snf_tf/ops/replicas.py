"""Which rows of the global batch a replica of a strategy has."""

import tensorflow as tf


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
    rows = replica.all_reduce(tf.distribute.ReduceOp.SUM, mine)
    return rows, tf.reduce_sum(rows[:index])


def scale_gradient(value: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Returns a value; its gradient is multiplied by a factor.

    Example:
        >>> x = tf.Variable(2.0)
        >>> with tf.GradientTape() as tape:
        ...     y = snf_tf.ops.scale_gradient(x * x, 10.0)
        >>> float(y), float(tape.gradient(y, x))
        (4.0, 40.0)
    """

    @tf.custom_gradient
    def apply(value):
        return value, lambda upstream: upstream * tf.cast(factor, upstream.dtype)

    return apply(value)
