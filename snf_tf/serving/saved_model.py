"""Flows as SavedModels, which need nothing but TensorFlow."""

import os
from typing import Any

import tensorflow as tf

from snf_tf._array_checks import check_array
from snf_tf._checks import check_instance, check_scalar, check_seed_tensor
from snf_tf.flow import Flow
from snf_tf.serving import arguments
from snf_tf.serving.exporting import appearing, require_ready
from snf_tf.serving.functions import Functions


def export(flow: Flow, directory: str | os.PathLike) -> None:
    """Writes a flow, as it is now, as a SavedModel with the methods of `Endpoints`.

    `tf.saved_model.load(directory)` loads the SavedModel wherever TensorFlow is installed. For
    servers every method is a signature, too.

    Args:
        flow: A Flow.
        directory: Where to write the SavedModel. The directory must not exist yet; it appears when
            all has been written.

    Raises:
        FileExistsError: If the directory exists.

    Example:
        >>> import tempfile
        >>> flow = snf_tf.Flow([snf_tf.layers.SelfNormalizingDense()], event_shape=(2,))
        >>> directory = tempfile.mkdtemp() + "/flow"
        >>> snf_tf.serving.export(flow, directory)
        >>> model = tf.saved_model.load(directory)
        >>> model.sample(n=3, seed=0).shape, model.log_prob(tf.zeros((5, 2))).shape
        (TensorShape([3, 2]), TensorShape([5]))
    """
    require_ready(flow)
    with appearing("directory", directory, "The directory of a SavedModel") as unfinished:
        Endpoints(flow).save(str(unfinished))


def context_kind(model: Any) -> str | None:
    """Returns what a model takes beside x: "label", "context" or None.

    Args:
        model: `Endpoints`, or a loaded SavedModel.
    """
    if isinstance(model, Endpoints):
        takes_context, classes = model.takes_context, model.context_classes
    else:
        takes_context = "context" in model.signatures["decode"].structured_input_signature[1]
        classes = getattr(model, "context_classes", None)
    return None if not takes_context else "context" if classes is None else "label"


class Endpoints:
    """Holds the methods of an exported flow, with the weights that the flow has now.

    A flow that takes a context takes it in all methods as `context=`, a row an example. One row
    goes to all samples. Labels are int32 or int64; those of `sample` and `decode` of a loaded
    SavedModel int64.

    - `sample(n, seed, temperature=1.0)`: `(n,) + event_shape`, by the approximate inverses that
      layers keep.
    - `sample_exact(n, seed, temperature=1.0)`: the same by the exact inverse.
    - `log_prob(x, seed=0, first_row=0)`: `(batch,)`, exact, in nats. Row i gets the noise of (seed,
      first_row + i).
    - `estimate_log_prob(x, seed=0, first_row=0, draws=8)`, in the place of log_prob where the flow
      can only estimate: a dict of `mean` and `standard_error`, `(batch,)` each.
    - `log_prob_bound(x, seed=0, first_row=0, draws=1)`, in its place where noise has a learned
      density: `(batch,)`.
    - `encode(x, seed=0, first_row=0)`: latents `(batch, D)`.
    - `classify(x, seed=0, first_row=0)`, of a `snf_tf.HybridFlow`: log p(y|x), `(batch, classes)`.
    - `decode(z)`: data, by the exact inverse; `decode_approximate(z)`: by the kept inverses.

    All agree with the flow's methods of the same seed. Log-determinants that do not depend on the
    data are computed when the object is made (SNF Eq. 7). After a change of weights make another
    one.

    A loaded SavedModel has the same methods. Its x is uint8, int32, int64, float32 or float64, of
    any batch size; seeds and other integers are int64 or int32. `sample`, `sample_exact` and the
    decoders have one signature, int64 and the flow's dtype: Python numbers are converted without
    tracing. TensorFlow traces `log_prob` and `encode` anew for every new Python seed: give
    `tf.constant(seed, tf.int64)`.

    Attributes:
        takes_context: Whether methods take `context=`.
        context_classes: Of a flow whose context is labels, the number of classes; otherwise None. A
            SavedModel has this attribute, a variable, only where there is a number.

    Raises:
        tf.errors.InvalidArgumentError: In every method, if an argument has the wrong shape or
            values. In the methods of x of a loaded SavedModel, if one argument has the wrong dtype:
            strings, a seed of 1.5.
        TypeError: In the other methods of a loaded SavedModel, by TensorFlow, which names the
            signature, if an argument has the wrong dtype. It takes a bool for a number and rounds
            NumPy's fractions down, and refuses what is no tensor, such as 1j or an object, in words
            of its own.
        ValueError: Here, if an argument is of no such kind; if a context is not given where one is
            due, or given where none is.
    """

    def __init__(self, flow: Flow) -> None:
        self._functions = Functions(check_instance("flow", flow, Flow, "a snf_tf.Flow"))
        if flow.log_det_kind == "exact":
            self.log_prob = self._log_prob
        elif flow.log_det_kind == "estimate":
            self.estimate_log_prob = self._estimate_log_prob
        else:
            self.log_prob_bound = self._log_prob_bound
        if flow.takes_labels:
            self.classify = self._classify
        self._dtype = tf.as_dtype(flow.log_det_dtype)
        self.context_classes = flow.context_classes
        self.takes_context = flow.context_shape is not None
        self._context_dtype = self._dtype if flow.context_classes is None else tf.int64

    def sample(self, n: Any, seed: Any, temperature: Any = 1.0, context: Any = None) -> tf.Tensor:
        return self._functions.sample(*self._draw(n, seed, temperature, context))

    def sample_exact(
        self, n: Any, seed: Any, temperature: Any = 1.0, context: Any = None
    ) -> tf.Tensor:
        return self._functions.sample_exact(*self._draw(n, seed, temperature, context))

    def _log_prob(
        self, x: Any, seed: Any = 0, first_row: Any = 0, context: Any = None
    ) -> tf.Tensor:
        return self._functions.log_prob(*self._rows(x, seed, first_row), **self._of(context))

    def _estimate_log_prob(
        self, x: Any, seed: Any = 0, first_row: Any = 0, draws: Any = 8, context: Any = None
    ) -> dict[str, tf.Tensor]:
        given = *self._rows(x, seed, first_row), _count("draws", draws)
        return self._functions.estimate_log_prob(*given, **self._of(context))

    def _log_prob_bound(
        self, x: Any, seed: Any = 0, first_row: Any = 0, draws: Any = 1, context: Any = None
    ) -> tf.Tensor:
        given = *self._rows(x, seed, first_row), _count("draws", draws)
        return self._functions.log_prob_bound(*given, **self._of(context))

    def _classify(
        self, x: Any, seed: Any = 0, first_row: Any = 0, context: Any = None
    ) -> tf.Tensor:
        return self._functions.classify(*self._rows(x, seed, first_row), **self._of(context))

    def encode(self, x: Any, seed: Any = 0, first_row: Any = 0, context: Any = None) -> tf.Tensor:
        return self._functions.encode(*self._rows(x, seed, first_row), **self._of(context))

    def decode(self, z: Any, context: Any = None) -> tf.Tensor:
        return self._functions.decode(self._latents(z), *self._of(context).values())

    def decode_approximate(self, z: Any, context: Any = None) -> tf.Tensor:
        given = self._of(context).values()
        return self._functions.decode_approximate(self._latents(z), *given)

    def save(self, directory: str) -> None:
        """Writes the SavedModel."""
        # A served flow has no use for gradients, which would make it several times as large.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(self._functions, directory, self._functions.signatures(), options)

    def _draw(self, n, seed, temperature, context):
        temperature = check_scalar("temperature", temperature, self._dtype)
        return _count("n", n), check_seed_tensor(seed), temperature, *self._of(context).values()

    def _rows(self, x, seed, first_row):
        x = check_array("x", x)
        x = x if x.dtype in arguments.DATA else tf.cast(x, self._dtype)
        return x, check_seed_tensor(seed), _count("first_row", first_row)

    def _latents(self, z):
        return tf.cast(check_array("z", z), self._dtype)

    def _of(self, context):
        if (context is not None) != self.takes_context:
            takes = "takes no context" if context is not None else "takes a context: give context="
            raise ValueError(f"This flow {takes}. Received: context={context!r}")
        if context is None:
            return {}
        context = check_array("context", context)
        if self.context_classes is not None and not context.dtype.is_integer:
            raise ValueError(
                "The context of this flow is labels, integers. "
                f"Received: a context of dtype {context.dtype.name}"
            )
        return {"context": tf.cast(context, self._context_dtype)}


def _count(name, number):
    """Returns a count as an int64 tensor: TensorFlow traces anew for Python numbers."""
    return check_scalar(name, number, tf.int64)
