"""Exports a flow as a SavedModel, which is loaded and used with nothing but TensorFlow."""

import itertools
import os
import shutil
from pathlib import Path
from typing import Any

import tensorflow as tf

from snf_tf import ops
from snf_tf.flow import Flow
from snf_tf.flow.estimation import bound, estimate
from snf_tf.flow.likelihood import constant_log_dets, exact_log_prob

_NUMBERS = (tf.uint8, tf.int32, tf.int64, tf.float32, tf.float64)
# Of counts and seeds; Python's integers become the first.
_COUNTS = (tf.int64, tf.int32)
_SEED, _FIRST_ROW = (tf.TensorSpec((), tf.int64, name) for name in ("seed", "first_row"))


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
    flow.require_built("export")
    if waiting := [leaf.name for leaf in flow.leaves() if leaf.needs_initialization]:
        raise ValueError(
            "export takes a flow that is initialized: call flow.initialize(batch). "
            f"Received: {', '.join(waiting)} wait for data"
        )
    directory = Path(directory)
    if directory.exists():
        raise FileExistsError(
            f"The directory of a SavedModel must not exist yet. Received: directory={directory}"
        )
    unfinished = directory.with_name(f".{directory.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    endpoints = Endpoints(flow)
    directory.parent.mkdir(parents=True, exist_ok=True)
    endpoints.save(str(unfinished))
    os.replace(unfinished, directory)


class Endpoints:
    """Holds the methods of an exported flow, with the weights that the flow has now.

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

    All agree with the flow's methods of the same seed. x may be uint8, int32, int64, float32 or
    float64, of any batch size. Log-determinants that do not depend on the data are computed when
    the object is made (SNF Eq. 7). After a change of weights make another one.

    A loaded SavedModel has the same methods. Its `sample` and `sample_exact` take Python numbers,
    or int64 tensors, without tracing. TensorFlow traces its `log_prob` and `encode` anew for every
    new Python seed: give `tf.constant(seed, tf.int64)`.

    Raises:
        tf.errors.InvalidArgumentError: In every method, if an argument has the wrong shape or
            values.
    """

    def __init__(self, flow: Flow):
        self._functions = _Functions(flow)
        if flow.log_det_kind == "exact":
            self.log_prob = self._log_prob
        elif flow.log_det_kind == "estimate":
            self.estimate_log_prob = self._estimate_log_prob
        else:
            self.log_prob_bound = self._log_prob_bound
        if flow.takes_labels:
            self.classify = self._classify
        self._dtype = tf.as_dtype(flow.log_det_dtype)

    def sample(self, n, seed, temperature=1.0) -> tf.Tensor:
        return self._functions.sample(*self._draw(n, seed, temperature))

    def sample_exact(self, n, seed, temperature=1.0) -> tf.Tensor:
        return self._functions.sample_exact(*self._draw(n, seed, temperature))

    def _log_prob(self, x, seed=0, first_row=0) -> tf.Tensor:
        return self._functions.log_prob(tf.convert_to_tensor(x), _count(seed), _count(first_row))

    def _estimate_log_prob(self, x, seed=0, first_row=0, draws=8) -> dict[str, tf.Tensor]:
        numbers = (_count(number) for number in (seed, first_row, draws))
        return self._functions.estimate_log_prob(tf.convert_to_tensor(x), *numbers)

    def _log_prob_bound(self, x, seed=0, first_row=0, draws=1) -> tf.Tensor:
        numbers = (_count(number) for number in (seed, first_row, draws))
        return self._functions.log_prob_bound(tf.convert_to_tensor(x), *numbers)

    def _classify(self, x, seed=0, first_row=0) -> tf.Tensor:
        return self._functions.classify(tf.convert_to_tensor(x), _count(seed), _count(first_row))

    def encode(self, x, seed=0, first_row=0) -> tf.Tensor:
        return self._functions.encode(tf.convert_to_tensor(x), _count(seed), _count(first_row))

    def decode(self, z) -> tf.Tensor:
        return self._functions.decode(tf.cast(z, self._dtype))

    def decode_approximate(self, z) -> tf.Tensor:
        return self._functions.decode_approximate(tf.cast(z, self._dtype))

    def save(self, directory: str) -> None:
        """Writes the SavedModel."""
        # A served flow has no use for gradients, which would make it several times as large.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(self._functions, directory, self._functions.signatures(), options)

    def _draw(self, n, seed, temperature):
        return _count(n), _count(seed), tf.cast(temperature, self._dtype)


class _Functions(tf.Module):
    """The traced functions of `Endpoints`, which a SavedModel holds."""

    def __init__(self, flow: Any):
        super().__init__(name=flow.name)
        flow.prepare()
        self._variables = [weight.value for weight in flow.weights]
        # A layer's weights are among the flow's.
        self._base = flow.base if isinstance(flow.base, tf.Module) else None
        constant = tf.constant(constant_log_dets(flow).numpy())
        dtype, shape = tf.as_dtype(flow.log_det_dtype), flow.event_shape
        batch, latents = tf.TensorSpec((None, *shape), dtype), tf.TensorSpec(None, dtype, "z")
        number = tf.TensorSpec((), tf.int64, "n")
        temperature = tf.TensorSpec((), dtype, "temperature")
        row_seed = tf.TensorSpec((3,), tf.int64)

        # Traced once; the methods around them take data of every dtype.

        @tf.function(input_signature=[batch, row_seed])
        def log_prob_of(x, seed):
            return tf.cast(exact_log_prob(flow, flow.check_data(x), seed, constant), dtype)

        @tf.function(input_signature=[batch, row_seed, tf.TensorSpec((), tf.int64)])
        def estimates_of(x, seed, draws):
            found = estimate(flow, flow.check_data(x), None, seed, draws)
            return {"mean": found.mean, "standard_error": found.standard_error}

        @tf.function(input_signature=[batch, row_seed, tf.TensorSpec((), tf.int64)])
        def bounds_of(x, seed, draws):
            return bound(flow, flow.check_data(x), None, seed, draws)

        @tf.function(input_signature=[batch, row_seed])
        def latents_of(x, seed):
            return tf.cast(flow.forward(flow.check_data(x), seed=seed)[0], dtype)

        @tf.function(input_signature=[batch, row_seed])
        def classes_of(x, seed):
            return flow.class_log_probs(flow.check_data(x), seed=seed)

        def samples(exact):
            # A signature: without one TensorFlow traces anew for every Python number.
            @tf.function(input_signature=[number, _SEED, temperature])
            def method(n, seed, temperature=1.0):
                n = _require(n >= 1, n, "n must be at least 1.")
                temperature = _require(
                    temperature >= 0,
                    temperature,
                    "temperature must be a number, and not negative.",
                )
                return flow.sample(n, exact=exact, temperature=temperature, seed=seed)

            return method

        def on_rows(function):
            @tf.function
            def method(x, seed=0, first_row=0):
                x = tf.cast(_of_shape(x, shape, "x"), dtype)
                return function(x, ops.row_seed(seed, first_row=first_row))

            return method

        def by_draws(function, default):
            @tf.function
            def method(x, seed=0, first_row=0, draws=default):
                x = tf.cast(_of_shape(x, shape, "x"), dtype)
                draws = _require(draws >= 1, tf.cast(draws, tf.int64), "draws must be at least 1.")
                return function(x, ops.row_seed(seed, first_row=first_row), draws)

            return method

        def decoded(exact):
            @tf.function(input_signature=[latents])
            def method(z):
                z = _of_shape(z, flow.latent_shape, "z")
                z = ops.require(tf.reduce_all(tf.math.is_finite(z)), z, "z must be finite.")
                return flow.decode(z, exact=exact)

            return method

        self.sample, self.sample_exact = samples(exact=False), samples(exact=True)
        self.encode = on_rows(latents_of)
        if flow.takes_labels:
            self.classify = on_rows(classes_of)
        if flow.log_det_kind == "exact":
            self.log_prob = on_rows(log_prob_of)
        elif flow.log_det_kind == "estimate":
            self.estimate_log_prob = by_draws(estimates_of, 8)
        else:
            flow.require_no_estimate("log_prob_bound")
            self.log_prob_bound = by_draws(bounds_of, 1)
        self.decode, self.decode_approximate = decoded(exact=True), decoded(exact=False)
        self._dtype = dtype
        self._data_dtype = dtype if flow.is_bijection else tf.uint8

    def signatures(self) -> dict:
        """Traces every method for every dtype, and returns the signatures for servers.

        In signatures x is uint8 where the flow takes images, and every argument must be given.
        """
        names = ("log_prob", "estimate_log_prob", "log_prob_bound")
        name = next(name for name in names if hasattr(self, name))
        density, is_exact = getattr(self, name), name == "log_prob"
        maps = {"encode": self.encode}
        if hasattr(self, "classify"):
            maps["classify"] = self.classify
        methods = (density, *maps.values())
        for seed, method, kind in itertools.product(_COUNTS, methods, _NUMBERS):
            seed = tf.TensorSpec((), seed, "seed")
            method.get_concrete_function(tf.TensorSpec(None, kind, "x"), seed, _FIRST_ROW)
        data = tf.TensorSpec(None, self._data_dtype, "x"), _SEED, _FIRST_ROW
        draws = () if is_exact else (tf.TensorSpec((), tf.int64, "draws"),)
        if not is_exact:
            for kind in _NUMBERS:
                density.get_concrete_function(tf.TensorSpec(None, kind, "x"), *data[1:], *draws)
        densities = density.get_concrete_function(*data, *draws)
        return {
            "serving_default": densities,
            name: densities,
            **{name: method.get_concrete_function(*data) for name, method in maps.items()},
            "sample": self.sample.get_concrete_function(),
            "sample_exact": self.sample_exact.get_concrete_function(),
            "decode": self.decode.get_concrete_function(),
            "decode_approximate": self.decode_approximate.get_concrete_function(),
        }


def _count(number):
    """Returns a count or a seed as an int64 tensor: TensorFlow traces anew for Python numbers."""
    return tf.cast(number, tf.int64) if tf.is_tensor(number) else tf.constant(number, tf.int64)


def _of_shape(x, event_shape, name):
    """Returns x after checking its shape, `(batch,) + event_shape`, when the graph runs.

    The signature takes any shape, so that the refusal is in words.
    """
    # Hides the shape of x: TensorFlow would refuse a wrong one in its own words.
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
