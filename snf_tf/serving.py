"""A flow as a TensorFlow SavedModel, which is loaded and used with nothing but TensorFlow."""

import itertools
import os
import shutil
from pathlib import Path

import tensorflow as tf

from snf_tf import ops
from snf_tf.flow import Flow
from snf_tf.flow.likelihood import constant_log_dets, exact_log_prob

_NUMBERS = (tf.uint8, tf.int32, tf.int64, tf.float32, tf.float64)
# Of counts and seeds; Python's integers become the first.
_COUNTS = (tf.int64, tf.int32)
_SEED, _FIRST_ROW = (tf.TensorSpec((), tf.int64, name) for name in ("seed", "first_row"))


def export(flow: Flow, directory: str | os.PathLike) -> None:
    """Writes a flow, as it is now, as a SavedModel with the methods of `Endpoints`.

    It is loaded by `tf.saved_model.load(directory)` wherever TensorFlow is installed; for servers
    every method is a signature, too.

    Args:
        flow: A Flow.
        directory: Where to write it; it must not exist yet, and does only when all of it has been
            written.

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
    directory = Path(directory)
    if directory.exists():
        raise FileExistsError(
            f"The directory of a SavedModel must not exist yet. Received: directory={directory}"
        )
    unfinished = directory.with_name(f".{directory.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    endpoints = Endpoints(flow)
    directory.parent.mkdir(parents=True, exist_ok=True)
    # A served flow has no use for gradients, which would make it several times as large.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(endpoints, str(unfinished), endpoints.signatures(), options)
    os.replace(unfinished, directory)


class Endpoints(tf.Module):
    """The methods of an exported flow; with the weights that the flow has now.

    - `sample(n, seed, temperature=1.0)`: `(n,) + event_shape`, by the learned inverse where there
        is one.
    - `sample_exact(n, seed, temperature=1.0)`: the same by the exact inverse.
    - `log_prob(x, seed=0, first_row=0)`: `(batch,)`, exact, in nats. Row i gets the noise of (seed,
        first_row + i).
    - `encode(x, seed=0, first_row=0)`: latents `(batch, D)`.
    - `decode(z)`: data, by the exact inverse.

    All agree with the flow's methods of the same seed. x may be uint8, int32, int64, float32 or
    float64, of any batch size. Log-determinants that do not depend on the data were computed when
    the object was made (SNF Eq. 7): after a change of weights make another one.

    Raises:
        tf.errors.InvalidArgumentError: In every method, if an argument has the wrong shape or
        values.
    """

    def __init__(self, flow: Flow):
        super().__init__(name=flow.name)
        self._variables = [weight.value for weight in flow.weights]
        self._base = flow.base
        constant = tf.constant(constant_log_dets(flow).numpy())
        dtype, shape = tf.as_dtype(flow.log_det_dtype), flow.event_shape
        batch, latents = tf.TensorSpec((None, *shape), dtype), tf.TensorSpec(None, dtype, "z")
        number, temperature = (
            tf.TensorSpec((), tf.int64, "n"),
            tf.TensorSpec((), dtype, "temperature"),
        )
        row_seed = tf.TensorSpec((3,), tf.int64)

        # Traced once; the methods around them take data of every dtype.

        @tf.function(input_signature=[batch, row_seed])
        def log_prob_of(x, seed):
            return tf.cast(exact_log_prob(flow, flow.check_data(x), seed, constant), dtype)

        @tf.function(input_signature=[batch, row_seed])
        def latents_of(x, seed):
            return tf.cast(flow(x, seed=seed)[0], dtype)

        def samples(exact):
            @tf.function(input_signature=[number, _SEED, temperature])
            def draw(n, seed, temperature):
                n = _require(n >= 1, n, "n must be at least 1.")
                temperature = _require(
                    temperature >= 0, temperature, "temperature must be a number, and not negative."
                )
                return flow.sample(n, exact=exact, temperature=temperature, seed=seed)

            @tf.function
            def method(n, seed, temperature=1.0):
                return draw(tf.cast(n, tf.int64), tf.cast(seed, tf.int64), temperature)

            return method

        def on_rows(function):
            @tf.function
            def method(x, seed=0, first_row=0):
                return function(
                    tf.cast(_of_shape(x, shape, "x"), dtype),
                    ops.row_seed(seed, first_row=first_row),
                )

            return method

        @tf.function(input_signature=[latents])
        def decode(z):
            z = _of_shape(z, flow.latent_shape, "z")
            return flow.decode(
                ops.require(tf.reduce_all(tf.math.is_finite(z)), z, "z must be finite.")
            )

        self.sample, self.sample_exact, self.decode = (
            samples(exact=False),
            samples(exact=True),
            decode,
        )
        self.log_prob, self.encode = on_rows(log_prob_of), on_rows(latents_of)
        self._dtype = dtype
        self._data_dtype = dtype if flow.is_bijection else tf.uint8

    def signatures(self) -> dict:
        """Traces every method for every dtype that it takes, and returns those for servers.

        There x is uint8 where the flow takes images, all arguments are needed, and results have
        names.
        """
        temperature = tf.TensorSpec((), self._dtype, "temperature")
        for seed in _COUNTS:
            seed = tf.TensorSpec((), seed, "seed")
            for method, kind in itertools.product((self.log_prob, self.encode), _NUMBERS):
                method.get_concrete_function(tf.TensorSpec(None, kind, "x"), seed, _FIRST_ROW)
            for method, kind in itertools.product((self.sample, self.sample_exact), _COUNTS):
                method.get_concrete_function(tf.TensorSpec((), kind, "n"), seed, temperature)
        data = tf.TensorSpec(None, self._data_dtype, "x"), _SEED, _FIRST_ROW
        draw = tf.TensorSpec((), tf.int64, "n"), _SEED, temperature
        log_prob = self.log_prob.get_concrete_function(*data)
        return {
            "serving_default": log_prob,
            "log_prob": log_prob,
            "encode": self.encode.get_concrete_function(*data),
            "sample": self.sample.get_concrete_function(*draw),
            "sample_exact": self.sample_exact.get_concrete_function(*draw),
            "decode": self.decode.get_concrete_function(),
        }


def _of_shape(x, event_shape, name):
    """x, found to be of shape `(batch,) + event_shape` when the graph runs: its signature takes any
    shape, to refuse in words.
    """
    # Hides the shape that x is called with, of which TensorFlow would complain in its own words.
    x = tf.compat.v1.placeholder_with_default(x, None)
    expected = ", ".join(map(str, event_shape))
    received = tf.strings.reduce_join(tf.strings.as_string(tf.shape(x)), separator=", ")
    right = tf.strings.regex_full_match(received, rf"\d+, {expected}")
    message = f"{name} must be of shape (batch, {expected})."
    with tf.control_dependencies(
        [tf.raw_ops.Assert(condition=right, data=[message, "Received: shape", received])]
    ):
        return tf.ensure_shape(x, (None, *event_shape))


def _require(valid, value, message):
    with tf.control_dependencies(
        [tf.raw_ops.Assert(condition=valid, data=[message, "Received:", value])]
    ):
        return tf.identity(value)
