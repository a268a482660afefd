"""How Keras trains and evaluates a flow."""

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf.flow.likelihood import evaluate, split_context


class FlowFitting(keras.Model):
    """The `compile`, `fit` and `evaluate` of `snf_tf.Flow`, which gives it `check_data` and all
    else that is called here.
    """

    def compile(
        self,
        optimizer="adam",
        loss=None,
        metrics=None,
        jit_compile="auto",
        steps_per_execution=1,
        **kwargs,
    ):
        """Configures training; as `keras.Model.compile`.

        Raises:
            ValueError: If a loss or metrics are given, which a flow brings itself; or, under a
                strategy of several replicas, what Keras cannot do there: jit_compile,
                steps_per_execution, clipping, gradient accumulation.
        """
        if loss is not None or metrics is not None:
            raise ValueError(
                f"A Flow brings its own loss and metrics. Received: loss={loss}, metrics={metrics}"
            )
        super().compile(
            optimizer=optimizer,
            jit_compile=jit_compile,
            steps_per_execution=steps_per_execution,
            **kwargs,
        )
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        refused = {
            "jit_compile=True": jit_compile is True,
            f"steps_per_execution={steps_per_execution}": steps_per_execution > 1,
            # Keras clips the gradients of every replica before it sums them.
            "clipping of gradients": any(
                getattr(optimizer, name, None) is not None
                for name in ("global_clipnorm", "clipnorm", "clipvalue")
            ),
            "gradient_accumulation_steps": bool(
                getattr(optimizer, "gradient_accumulation_steps", None)
            ),
        }
        if self.distribute_strategy.num_replicas_in_sync > 1 and any(refused.values()):
            names = ", ".join(name for name, given in refused.items() if given)
            raise ValueError(
                f"Keras cannot do this on several devices: leave it out, or train on one device. "
                f"Received: {names}"
            )

    def compile_from_config(self, config):
        """Compiles a loaded flow as it was when it was saved; called by Keras."""
        self.compile(
            **{name: keras.saving.deserialize_keras_object(value) for name, value in config.items()}
        )
        self.optimizer.build(self.trainable_variables)

    def fit(
        self, x=None, y=None, sample_weight=None, class_weight=None, validation_data=None, **kwargs
    ):
        """Trains; as `keras.Model.fit`, on a dataset of batches x or `(x, context)`, or on an array
        x.

        Raises:
            ValueError: If a layer waits for `flow.initialize`, x has the wrong shape, or an array
                holds what the flow cannot take, or labels or weights are given.
                tf.errors.InvalidArgumentError, if a dataset holds what the flow cannot take.
        """
        if any(given is not None for given in (y, sample_weight, class_weight)):
            raise ValueError(
                "A Flow is fitted to x alone: leave out y, sample_weight and class_weight. A "
                "context goes into the dataset, as (x, "
                "context)."
            )
        waiting = [leaf.name for leaf in self.leaves() if leaf.needs_initialization]
        if waiting:
            raise ValueError(
                f"Call flow.initialize(batch) first: {', '.join(waiting)} must be initialized by "
                f"data."
            )
        if isinstance(x, tf.data.Dataset | tf.distribute.DistributedDataset):
            # A dataset shuffles for itself; Keras warns of its own default.
            kwargs.setdefault("shuffle", False)
        if isinstance(x, tf.data.Dataset):
            # Values are checked in the pipeline: XLA would drop checks from the training step.
            x = x.map(self._checked)
        elif not isinstance(x, tf.distribute.DistributedDataset):
            x = self._check_array(x)
        return super().fit(x, validation_data=validation_data, **kwargs)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # A Flow is built when it is made. To find that out, Keras would take a batch from the
        # iterator under a strategy, and lose it; with several workers it fails.
        if not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Adds the mean of -log p(x) to the losses of the layers; called by Keras."""
        z, log_det = y_pred
        # Keras divides what is added here among replicas, whose gradients it sums; what
        # compute_loss returns it does not divide.
        self.add_loss(-ops.batch_mean(self.base_log_prob(z) + log_det))
        loss = ops.finite_or_stop(super().compute_loss(x=x, y_pred=y_pred, training=training))
        rows, _ = _replica_rows(z)
        # Means over shards of unequal size: each counts by its rows.
        return (
            loss
            if rows is None
            else loss * tf.cast(tf.size(rows) * tf.shape(z)[0] / tf.reduce_sum(rows), loss.dtype)
        )

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Calls the training loss by its name, `surrogate`; called by Keras."""
        logs = super().compute_metrics(x, y, y_pred, sample_weight)
        if isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
            # Keras averages over axis 0 there, which a scalar does not have.
            logs = {name: tf.reshape(value, [1]) for name, value in logs.items()}
        return {"surrogate" if name == "loss" else name: value for name, value in logs.items()}

    def evaluate(
        self, x=None, y=None, batch_size=None, steps=None, sample_weight=None, seed=None, **kwargs
    ):
        """Computes exact likelihoods over a whole dataset, partial batches and all.

        Log-determinants that do not depend on the data are computed once (SNF Eq. 7). The noise of
        row i of the dataset is that of (seed, i), whatever the batch size: the result is the mean
        of `log_prob` over all rows.

        Args:
            x: A dataset of batches x or `(x, context)`, or an array.
            y: Must be None.
            batch_size: Batch size where x is an array; by default 100.
            steps: Number of batches; all by default.
            sample_weight: Must be None.
            seed: Seed of the noise, an integer; None is 0.
            **kwargs: Not used; Keras hands more.

        Returns:
            A dict of floats. `nll`: mean of -log_prob, in nats. `bits_per_dim`. Where a layer has a
            learned inverse, `reconstruction_error`: the sum over layers of the squared error of x
            reconstructed from z, a mean over the dataset.

        Raises:
            ValueError: If the dataset is empty, x is not such as the flow takes, or y or weights
                are given.
        """
        if y is not None or sample_weight is not None:
            raise ValueError(
                "A Flow is evaluated on x alone: leave out y and sample_weight. A context goes "
                "into the dataset, as (x, context)."
            )
        if not isinstance(x, tf.data.Dataset):
            x = tf.data.Dataset.from_tensor_slices(self._check_array(x)).batch(batch_size or 100)
        return evaluate(self, x.take(-1 if steps is None else steps), seed)

    def training_seed(self, x):
        """The row seed of this training step and of this replica's rows of the global batch."""
        optimizer = getattr(self, "optimizer", None)
        _, first_row = _replica_rows(x)
        # Not `iterations`, which stands still while gradients are accumulated, nor that of an
        # optimizer that scales the loss.
        step = (
            0 if optimizer is None else getattr(optimizer, "inner_optimizer", optimizer)._iterations
        )
        return ops.row_seed(self.seed, step, first_row)

    def _checked(self, *element):
        """Checks an element of a dataset, and hides a context from Keras, which would take it for
        targets.
        """
        x, context = split_context(element)
        x = self.check_data(x)
        return x if context is None else ((x, context),)

    def _check_array(self, x):
        try:
            x = tf.convert_to_tensor(x)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"A Flow takes a tf.data.Dataset of batches x or (x, context), or one array x. "
                f"Received: {type(x).__name__}"
            ) from error
        return self.check_data(x)


def _replica_rows(x):
    """The rows of the global batch: how many each replica has, None with one replica; and which is
    the first of this one.
    """
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return None, 0
    index = replica.replica_id_in_sync_group
    mine = tf.one_hot(index, replica.num_replicas_in_sync, dtype=tf.int32) * tf.shape(x)[0]
    rows = replica.all_reduce(tf.distribute.ReduceOp.SUM, mine)
    return rows, tf.reduce_sum(rows[:index])
