"""Trains a flow by Keras."""

import itertools
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from snf_tf import _compat, ops
from snf_tf._checks import refuse
from snf_tf.flow import elements
from snf_tf.flow.checking import check_compile, check_fit, check_split, checked_callbacks
from snf_tf.flow.monitoring import LESS_IS_BETTER, FitMonitor

# Rows that are checked at once.
_SLICE = 1000


class FlowFitting(_compat.BuiltBeforeFit, keras.Model):
    """Adds `compile` and `fit` to `snf_tf.Flow`."""

    seed: int
    traced_version: int
    takes_labels: bool

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        loss: None = None,
        metrics: None = None,
        jit_compile: bool | str = "auto",
        steps_per_execution: int = 1,
        **kwargs: Any,
    ) -> None:
        """Configures training; as `keras.Model.compile`.

        Raises:
            ValueError: If a loss or metrics are given: a flow brings its own. If Keras cannot take
                an option. Under a strategy of several replicas, if jit_compile,
                steps_per_execution or gradient accumulation are asked for: Keras cannot do these
                there.
        """
        if loss is not None or metrics not in (None, [], (), {}):
            raise ValueError(
                f"A Flow brings its own loss and metrics. Received: loss={loss}, metrics={metrics}"
            )
        optimizer = check_compile(optimizer, jit_compile, steps_per_execution, kwargs)
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
            "gradient_accumulation_steps": bool(
                getattr(optimizer, "gradient_accumulation_steps", None)
            ),
        }
        _compat.forget_sums(optimizer)
        if self.distribute_strategy.num_replicas_in_sync == 1:
            return
        if any(refused.values()):
            names = ", ".join(name for name, given in refused.items() if given)
            raise ValueError(
                "Keras cannot do this on several devices: leave it out, or train on one device. "
                f"Received: {names}"
            )
        _compat.clip_after_sum(optimizer)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a loaded flow as it was when it was saved; called by Keras."""
        self.compile(
            **{name: keras.saving.deserialize_keras_object(value) for name, value in config.items()}
        )
        self.optimizer.build(self.trainable_variables)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        sample_weight: Any = None,
        class_weight: None = None,
        validation_data: Any = None,
        context: Any = None,
        callbacks: Any = None,
        shuffle: bool | None = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains the flow; as `keras.Model.fit`.

        The history has `surrogate`, also as `loss`. With validation data the history has the exact
        `val_nll`, also as `val_loss`, and `val_bits_per_dim`. Where inverses are learned,
        `inverse_error` is the largest of any layer.

        Args:
            x: An array, a `tf.data.Dataset`, a `keras.utils.PyDataset` or a generator. Elements of
                the last three are batches: x, `(x, context)`, or dicts of `x` and, where given,
                `context` and `sample_weight`.
            y: Must be None; but see `snf_tf.HybridFlow`.
            batch_size: Batch size where x is an array; by default 32.
            sample_weight: `(N,)`, where x is an array: factors of the examples' -log p(x), at
                least 0. A step minimises their sum over the number of rows, so that a factor of 2
                is an example that is there twice, and 0 none. Factors of mean 1 keep the scale of
                the loss. What layers add, such as penalties of inverses, counts rows.
            class_weight: Must be None.
            validation_data: The same kinds as x, but no generator, which an epoch would use up;
                arrays may be `(x, context)`.
            context: `(N, ...)`, where x is an array.
            callbacks: As in Keras.
            shuffle: Whether to shuffle arrays; by default True.
            **kwargs: As in `keras.Model.fit`.

        Raises:
            ValueError: If a layer waits for `flow.initialize`, or for a context to be built. If x
                has the wrong shape, or an array holds what the flow cannot take. If no layer takes
                the context, or labels are given. If validation_data is a generator.
            tf.errors.InvalidArgumentError: If a dataset holds what the flow cannot take, or the
                loss of a step is not finite.
            FloatingPointError: At the end of an epoch whose loss is not finite, with XLA.
        """
        if (y is not None and not self.takes_labels) or class_weight is not None:
            raise ValueError(
                "A Flow is fitted to x alone: leave out y and class_weight. Give labels that the "
                f"flow is conditioned on as context=. Received: y={type(y).__name__}, "
                f"class_weight={class_weight}"
            )
        kwargs = check_fit(batch_size, shuffle, kwargs)
        split = check_split(kwargs.pop("validation_split", 0), x, validation_data)
        if waiting := [leaf.name for leaf in self.leaves() if leaf.needs_initialization]:
            raise ValueError(
                f"Call flow.initialize(batch) first: {', '.join(waiting)} must be initialized by "
                "data."
            )
        if elements.is_stream(x):
            if not (context is None and sample_weight is None and y is None):
                raise ValueError(
                    "context, sample_weight and y go with arrays; a dataset has them in its "
                    f"elements, as a dict. Received: x={type(x).__name__}"
                )
            data = self._checked_stream(x)
        else:
            given = elements.as_arrays(x, context, sample_weight, y, self.takes_labels)
            arrays = self._checked_arrays(given)
            if split:
                # The last rows, before any shuffle, as in Keras.
                arrays, validation_data = elements.split(arrays, split)
            # Another order in every call, the same in a flow that was saved and loaded.
            calls = int(tf.convert_to_tensor(self.noise_calls))
            order = None if shuffle is False else self.seed + calls
            data = elements.array_batches(arrays, batch_size or 32, order)
        validation_data = elements.reusable("validation_data", validation_data)
        if validation_data is not None and not elements.is_stream(validation_data):
            # Keras would copy arrays.
            arrays = elements.as_arrays(validation_data, takes_labels=self.takes_labels)
            self.check_event(arrays.x)
            size = kwargs.get("validation_batch_size") or batch_size or 100
            validation_data = elements.array_batches(arrays, size)
        if self.traced_version != self.version:
            # Keras would go on with the step that was traced before the layers changed.
            self.train_function, self.traced_version = None, self.version
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = [FitMonitor(), *checked_callbacks(callbacks)]
        history = super().fit(
            data,
            validation_data=validation_data,
            callbacks=callbacks,
            # Data sets shuffle for themselves; Keras warns of its own default.
            shuffle=False,
            **kwargs,
        )
        if history.epoch and "loss" not in history.history:
            refuse("x", x, "data of one batch at least")
        return history

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Does a step as Keras does, but nothing of it where there is no batch; called by Keras.

        At the end of a stream of unknown length Keras asks for one more, and would count a step.
        """
        with tf.control_dependencies(tf.nest.flatten(data)):
            return super().train_step(data)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> tf.Tensor:
        """Adds the mean of `example_losses` to the losses of the layers; called by Keras."""
        given = elements.unpack(x, self.takes_labels)
        losses = self.example_losses(given, y_pred)
        if given.sample_weight is not None:
            losses *= tf.cast(given.sample_weight, losses.dtype)
        # Keras sums gradients over replicas. It divides added losses among replicas before, but not
        # the value that compute_loss returns.
        self.add_loss(ops.batch_mean(losses))
        loss = ops.finite_or_stop(super().compute_loss(x=x, y_pred=y_pred, training=training))
        rows, _ = ops.replica_rows(losses)
        if rows is None:
            return loss
        # Shards of unequal size count by their rows, as in the mean that Keras reports.
        return ops.scale_gradient(loss, tf.size(rows) * tf.shape(losses)[0] / tf.reduce_sum(rows))

    def example_losses(self, given: elements.Element, outputs: tuple[tf.Tensor, ...]) -> tf.Tensor:
        """Computes -log p(x) of the outputs of a training call, `(batch,)`."""
        z, log_det = outputs
        return -(self.base_log_prob(z, given.context) + log_det)

    def validation_loss(self, logs: Mapping[str, float]) -> float | None:
        """Returns what `val_loss` is: the nll of the validation data, where there are any."""
        names = ("val_nll", "val_nll_estimate", "val_nll_bound")
        return next((logs[name] for name in names if name in logs), None)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, tf.Tensor]:
        """Returns the logs of a step, `surrogate` among them; called by Keras."""
        logs = super().compute_metrics(x, y, y_pred, sample_weight)
        if isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
            # Keras averages over axis 0 there, which a scalar does not have.
            logs = {name: tf.reshape(value, [1]) for name, value in logs.items()}
        return logs

    def get_metrics_result(self) -> dict[str, tf.Tensor]:
        """Returns the means of the epoch so far; called by Keras."""
        metrics = super().metrics
        replica = tf.distribute.get_replica_context()
        several = replica is not None and replica.num_replicas_in_sync > 1
        logs = {}
        for name in ("loss", "accuracy") if self.takes_labels else ("loss",):
            mean = next(metric for metric in metrics if metric.name == name)
            if several:
                # A step reports what the first replica returns.
                sums = tf.stack([tf.convert_to_tensor(part) for part in (mean.total, mean.count)])
                total, count = tf.unstack(ops.replica_sum(sums))
                logs[name] = tf.math.divide_no_nan(total, count)
            else:
                logs[name] = mean.result()
        return {"surrogate": logs["loss"], **logs}

    @property
    def metrics(self) -> list:
        """Returns Keras' metrics, and the names of metrics of which less is better."""
        directions = _compat.directions(less=LESS_IS_BETTER, more=("accuracy",))
        return [*super().metrics, directions]

    def training_seed(self, x: tf.Tensor) -> tf.Tensor:
        """Returns a new row seed, for this replica's rows of the global batch."""
        return self.next_seed(self.seed, ops.replica_rows(x)[1])

    def _checked_stream(self, x):
        """Returns a stream of checked dicts: of tuples Keras would take contexts for targets."""
        if isinstance(x, tf.distribute.DistributedDataset):
            return x
        if isinstance(x, tf.data.Dataset):
            self._build_by(lambda: next(iter(x)))
            # In the pipeline: XLA would drop checks from the training step.
            return x.map(lambda *parts: self._checked(parts if len(parts) > 1 else parts[0]))
        if isinstance(x, keras.utils.PyDataset):
            self._build_by(lambda: x[0])
            return elements.CheckedPyDataset(x, self._checked)
        if (first := next(x, None)) is None:
            refuse("x", x, "data of one batch at least")
        self._build_by(lambda: first)
        # Keras takes tuples alone of a generator.
        return ((self._checked(element),) for element in itertools.chain([first], x))

    def _checked(self, element):
        x, context, weight, y = elements.unpack(element, self.takes_labels)
        x = self.check_data(x)
        y = self.check_labels(y, x, required=True)
        x = ops.require(tf.shape(x)[0] > 0, x, "x must have one row at least.")
        weight = self.check_weight(weight, x)
        return elements.Element(x, self.check_context(context, x), weight, y).as_dict()

    def _checked_arrays(self, arrays):
        self.check_event(arrays.x)
        self.check_labels(arrays.y, arrays.x, required=True)
        self.check_weight(arrays.sample_weight, arrays.x)
        for first in range(0, len(arrays.x), _SLICE):
            rows = slice(first, first + _SLICE)
            x = self.check_data(arrays.x[rows])
            self.check_context(None if arrays.context is None else arrays.context[rows], x)
        self._build_by(lambda: elements.Element(*(v if v is None else v[:1] for v in arrays)))
        return arrays

    def _build_by(self, first):
        """Builds networks that wait for a context, by a first element."""
        if self.unbuilt_parts():
            x, context, *_ = elements.unpack(first(), self.takes_labels)
            context = None if context is None else context[:1]
            self.base_log_prob(self(x[:1], context=context)[0], context)
        self.require_built("fit")
