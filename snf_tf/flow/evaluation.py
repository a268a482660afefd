"""Computes exact likelihoods and latents of whole data sets, in the places of Keras' methods."""

from typing import Any

import numpy as np

from snf_tf._checks import check_integer
from snf_tf.flow import elements
from snf_tf.flow.checking import check_verbose
from snf_tf.flow.inference import FlowInference
from snf_tf.flow.likelihood import evaluate, predict


class FlowEvaluation(FlowInference):
    """Adds `evaluate` and `predict` to `snf_tf.Flow`."""

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        steps: int | None = None,
        sample_weight: Any = None,
        context: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> dict[str, float]:
        """Computes exact likelihoods over a whole dataset, partial batches and all.

        Log-determinants that do not depend on the data are computed once (SNF Eq. 7). Row i of the
        dataset gets the noise of (seed, i), whatever the batch size.

        The replicas of a strategy divide the rows of a batch, and every row counts once. Of several
        workers all call this, with the same data.

        Args:
            x: As in `fit`.
            y: Must be None; but see `snf_tf.HybridFlow`.
            batch_size: Batch size where x is an array; by default 100.
            steps: Number of batches; all by default.
            sample_weight: As in `fit`; the means are weighted by it.
            context: As in `fit`.
            seed: Seed of the noise, an integer; None is 0.
            **kwargs: Not used; Keras hands more.

        Returns:
            A dict of floats. `nll`: mean of -log_prob over all rows, in nats. `bits_per_dim`. Where
            a layer can only estimate its log-determinant, these are `nll_estimate` and
            `bits_per_dim_estimate`, with `_standard_error` of each over rows and probes; where
            noise has a learned density, `nll_bound` and `bits_per_dim_bound`, the same. Where a
            layer keeps an approximate inverse, `reconstruction_error`: the squared error of x
            reconstructed from z, summed over layers, averaged over rows.

        Raises:
            ValueError: If the dataset is empty, the flow does not accept x, or y is given.
        """
        if y is not None and not self.takes_labels:
            raise ValueError(
                "A Flow is evaluated on x alone: leave out y. Give labels that the flow is "
                f"conditioned on as context=. Received: y={type(y).__name__}"
            )
        # Keras hands these, and no others.
        known = {"verbose", "callbacks", "return_dict", "_use_cached_eval_dataset"}
        if unknown := sorted(set(kwargs) - known):
            raise ValueError(
                f"evaluate takes no {', '.join(unknown)}. Received: {', '.join(map(str, kwargs))}"
            )
        check_verbose(kwargs.get("verbose", 0))
        data = self._evaluation_batches(x, context, sample_weight, batch_size, steps, y)
        return evaluate(self, data, seed)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = 0,
        steps: int | None = None,
        callbacks: Any = None,
        context: Any = None,
        seed: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
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
        check_verbose(verbose)
        data = self._evaluation_batches(x, context, None, batch_size, steps)
        return predict(self, data, seed)

    def _evaluation_batches(self, x, context, sample_weight, batch_size, steps, y=None):
        check_integer("steps", steps, 1, optional=True)
        check_integer("batch_size", batch_size, 1, optional=True)
        if elements.is_stream(x):
            if y is not None:
                raise ValueError(
                    "y goes with arrays; a dataset has labels in its elements, (x, y). "
                    f"Received: x={type(x).__name__}"
                )
            return elements.iterate(x, steps)
        arrays = elements.as_arrays(x, context, sample_weight, y, self.takes_labels)
        self.check_event(arrays.x)
        return elements.array_batches(arrays, batch_size or 100).take(steps or -1)
