"""How Keras trains and evaluates a flow."""

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf.evaluation import evaluate


class FlowTrainer(keras.Model):
    """The `fit` and `evaluate` of `snf_tf.Flow`, which gives it `log_prob` and all else that is called here."""

    def fit(self, x=None, *args, **kwargs):
        """Trains; as `keras.Model.fit`, on a dataset of batches x or `(x, context)`, or on an array x.

        Raises:
            ValueError: If x has the wrong shape, or an array holds what the flow cannot take.
        """
        if not isinstance(x, tf.data.Dataset):
            x = self.check_data(x)
        else:
            # A dataset shuffles for itself; Keras warns of its own default.
            kwargs.setdefault("shuffle", False)
        return super().fit(_join_context(x), *args, **kwargs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Adds the mean of -log p(x) to the losses of the layers; called by Keras."""
        if y is not None or sample_weight is not None or self._compile_loss is not None:
            raise ValueError(
                "A Flow is trained on x alone and brings its own loss: compile it without loss=, and fit it to x, without y or "
                "sample_weight; a context goes into the dataset, as (x, context)."
            )
        z, log_det = y_pred
        # Keras divides what is added here among replicas, whose gradients it sums; what compute_loss returns it does not divide.
        self.add_loss(-tf.reduce_mean(self.base_log_prob(z) + log_det))
        return super().compute_loss(x=x, y_pred=y_pred, training=training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Calls the training loss by its name, `surrogate`; called by Keras."""
        logs = super().compute_metrics(x, y, y_pred, sample_weight)
        return {"surrogate" if name == "loss" else name: value for name, value in logs.items()}

    def evaluate(self, x=None, y=None, batch_size=None, verbose="auto", steps=None, return_dict=True, seed=None, **kwargs):
        """Computes exact likelihoods over a whole dataset, partial batches and all.

        Log-determinants that do not depend on the data are computed once (SNF Eq. 7). The noise of row i of the dataset is that of
        (seed, i), whatever the batch size: the result is the mean of `log_prob` over all rows.

        Args:
            x: A dataset of batches x or `(x, context)`, or an array.
            y: Not used.
            batch_size: Batch size where x is an array; by default 100.
            verbose: Not used.
            steps: Number of batches; all by default.
            return_dict: Not used; the result is a dict.
            seed: Seed of the noise, an integer; None is 0.
            **kwargs: Not used; Keras hands more.

        Returns:
            A dict of floats. `nll`: mean of -log_prob, in nats. `bits_per_dim`. Where a layer has a learned inverse,
            `reconstruction_error`: the sum over layers of the squared error of x reconstructed from z, a mean over the dataset.

        Raises:
            ValueError: If the dataset is empty.
        """
        if not isinstance(x, tf.data.Dataset):
            x = tf.data.Dataset.from_tensor_slices(self.check_data(x)).batch(batch_size or 100)
        return evaluate(self, _join_context(x).take(-1 if steps is None else steps), seed)

    def training_seed(self, x):
        """The row seed of this training step and of this replica's rows of the global batch."""
        optimizer = getattr(self, "optimizer", None)
        replica = tf.distribute.get_replica_context()
        first_row = tf.shape(x)[0] * replica.replica_id_in_sync_group if replica else 0
        return ops.row_seed(self.seed, 0 if optimizer is None else optimizer.iterations, first_row)


def _join_context(x):
    """Maps the elements `(x, context)` of a dataset to `((x, context),)`, which Keras does not take for inputs and targets."""
    if isinstance(x, tf.data.Dataset) and isinstance(x.element_spec, tuple) and len(x.element_spec) == 2:
        return x.map(lambda x, context: ((x, context),))
    return x
