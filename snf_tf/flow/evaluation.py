"""Exact likelihoods and latents of whole data sets, in the places of Keras' methods."""

import itertools

from snf_tf.flow import elements
from snf_tf.flow.inference import FlowInference
from snf_tf.flow.likelihood import evaluate, predict


class FlowEvaluation(FlowInference):
    """The `evaluate` and `predict` of `snf_tf.Flow`."""

    def evaluate(
        self,
        x=None,
        y=None,
        batch_size=None,
        steps=None,
        sample_weight=None,
        context=None,
        seed=None,
        **kwargs,
    ):
        """Computes exact likelihoods over a whole dataset, partial batches and all.

        Log-determinants that do not depend on the data are computed once (SNF Eq. 7). The noise of
        row i of the dataset is that of (seed, i), whatever the batch size: the result is the mean
        of `log_prob` over all rows.

        Args:
            x: As in `fit`.
            y: Must be None.
            batch_size: Batch size where x is an array; by default 100.
            steps: Number of batches; all by default.
            sample_weight: As in `fit`; the means are weighted by it.
            context: As in `fit`.
            seed: Seed of the noise, an integer; None is 0.
            **kwargs: Not used; Keras hands more.

        Returns:
            A dict of floats. `nll`: mean of -log_prob, in nats. `bits_per_dim`. Where a layer keeps
            an approximate inverse, `reconstruction_error`: the sum over layers of the squared error
            of x reconstructed from z, a mean over the dataset.

        Raises:
            ValueError: If the dataset is empty, x is not such as the flow takes, or y is given.
        """
        if y is not None:
            raise ValueError(
                "A Flow is evaluated on x alone: leave out y. What it is conditioned on is given "
                f"as context=. Received: y={type(y).__name__}"
            )
        data = self._evaluation_batches(x, context, sample_weight, batch_size)
        return evaluate(self, itertools.islice(data, steps), seed)

    def predict(
        self, x, batch_size=None, verbose=0, steps=None, callbacks=None, context=None, seed=None
    ):
        """Computes latents and exact log-densities of a whole dataset.

        Row i of the dataset gets the noise of (seed, i), whatever the batch size.

        Args:
            x: As in `fit`.
            batch_size: Batch size where x is an array; by default 100.
            verbose: Not used; Keras has it.
            steps: Number of batches; all by default.
            callbacks: Not used; Keras has it.
            context: As in `fit`.
            seed: Seed of the noise, an integer; None is 0.

        Returns:
            `(z, log_prob)`, arrays of shape `(N, D)` and `(N,)`; log_prob is in nats.

        Raises:
            ValueError: As in `evaluate`.
        """
        data = self._evaluation_batches(x, context, None, batch_size)
        return predict(self, itertools.islice(data, steps), seed)

    def _evaluation_batches(self, x, context, sample_weight, batch_size):
        if elements.is_stream(x):
            return elements.iterate(x)
        arrays = elements.as_arrays(x, context, sample_weight)
        self.check_event(arrays.x)
        return elements.array_batches(arrays, batch_size or 100)
