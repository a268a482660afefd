"""The traced functions of an exported flow."""

import functools
import itertools
from typing import Any

import tensorflow as tf

from snf_tf import ops
from snf_tf.flow.estimation import bound, estimate
from snf_tf.flow.likelihood import constant_log_dets, exact_log_prob

_NUMBERS = (tf.uint8, tf.int32, tf.int64, tf.float32, tf.float64)
# Of counts and seeds; Python's integers become the first.
_COUNTS = (tf.int64, tf.int32)
_traced = functools.partial(tf.function, autograph=False)
_SEED, _FIRST_ROW = (tf.TensorSpec((), tf.int64, name) for name in ("seed", "first_row"))


class Functions(tf.Module):
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
        self._contexts = _contexts(flow)
        # One more argument, or none.
        given = [tf.TensorSpec(None, kind, "context") for kind in self._contexts[:1]]
        checked = [tf.TensorSpec((None, *flow.context_shape), spec.dtype) for spec in given]
        if flow.context_classes is not None:
            self.context_classes = tf.Variable(flow.context_classes, trainable=False)

        def context_of(context, rows):
            """Checks a context that goes with rows."""
            if context is None:
                return None
            context = tf.cast(_of_shape(context, flow.context_shape, "context"), given[0].dtype)
            return flow.check_context(context, rows)

        # Traced once; the methods around them take data of every dtype.

        @_traced(input_signature=[batch, row_seed, *checked])
        def log_prob_of(x, seed, context=None):
            log_prob = exact_log_prob(flow, flow.check_data(x), seed, constant, context)
            return tf.cast(log_prob, dtype)

        @_traced(input_signature=[batch, row_seed, tf.TensorSpec((), tf.int64), *checked])
        def estimates_of(x, seed, draws, context=None):
            found = estimate(flow, flow.check_data(x), context, seed, draws)
            return {"mean": found.mean, "standard_error": found.standard_error}

        @_traced(input_signature=[batch, row_seed, tf.TensorSpec((), tf.int64), *checked])
        def bounds_of(x, seed, draws, context=None):
            return bound(flow, flow.check_data(x), context, seed, draws)

        @_traced(input_signature=[batch, row_seed, *checked])
        def latents_of(x, seed, context=None):
            return tf.cast(flow.forward(flow.check_data(x), context, seed=seed)[0], dtype)

        @_traced(input_signature=[batch, row_seed, *checked])
        def classes_of(x, seed, context=None):
            return flow.class_log_probs(flow.check_data(x), context, seed=seed)

        def samples(exact):
            # A signature: without one TensorFlow traces anew for every Python number.
            @_traced(input_signature=[number, _SEED, temperature, *given])
            def method(n, seed, temperature=1.0, context=None):
                n = _require(n >= 1, n, "n must be at least 1.")
                temperature = _require(
                    temperature >= 0,
                    temperature,
                    "temperature must be a number, and not negative.",
                )
                if context is not None:
                    context = _of_shape(context, flow.context_shape, "context")
                return flow.sample(n, context, exact, temperature, seed)

            return method

        def on_rows(function):
            @_traced()
            def method(x, seed=0, first_row=0, context=None):
                x = tf.cast(_of_shape(x, shape, "x"), dtype)
                row_seed = ops.row_seed(seed, first_row=first_row)
                return function(x, row_seed, *_given(context_of(context, x)))

            return method

        def by_draws(function, default):
            @_traced()
            def method(x, seed=0, first_row=0, draws=default, context=None):
                x = tf.cast(_of_shape(x, shape, "x"), dtype)
                draws = _require(draws >= 1, tf.cast(draws, tf.int64), "draws must be at least 1.")
                row_seed = ops.row_seed(seed, first_row=first_row)
                return function(x, row_seed, draws, *_given(context_of(context, x)))

            return method

        def decoded(exact):
            @_traced(input_signature=[latents, *given])
            def method(z, context=None):
                z = _of_shape(z, flow.latent_shape, "z")
                z = ops.require(tf.reduce_all(tf.math.is_finite(z)), z, "z must be finite.")
                return flow.decode(z, context_of(context, z), exact)

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
        self._data_dtype = tf.uint8 if flow.dequantizes else dtype

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
        contexts = [{"context": tf.TensorSpec(None, c, "context")} for c in self._contexts] or [{}]
        for seed, method, kind, context in itertools.product(_COUNTS, methods, _NUMBERS, contexts):
            seed = tf.TensorSpec((), seed, "seed")
            x = tf.TensorSpec(None, kind, "x")
            method.get_concrete_function(x, seed, _FIRST_ROW, **context)
        data = tf.TensorSpec(None, self._data_dtype, "x"), _SEED, _FIRST_ROW
        draws = () if is_exact else (tf.TensorSpec((), tf.int64, "draws"),)
        if not is_exact:
            for kind, context in itertools.product(_NUMBERS, contexts):
                x = tf.TensorSpec(None, kind, "x")
                density.get_concrete_function(x, *data[1:], *draws, **context)
        densities = density.get_concrete_function(*data, *draws, **contexts[0])
        served = {name: m.get_concrete_function(*data, **contexts[0]) for name, m in maps.items()}
        return {
            "serving_default": densities,
            name: densities,
            **served,
            "sample": self.sample.get_concrete_function(),
            "sample_exact": self.sample_exact.get_concrete_function(),
            "decode": self.decode.get_concrete_function(),
            "decode_approximate": self.decode_approximate.get_concrete_function(),
        }


def _contexts(flow: Any) -> tuple[tf.DType, ...]:
    """Returns the dtypes of a context that every call takes, the signatures' first; or none."""
    if flow.context_shape is None:
        return ()
    if flow.context_classes is not None:
        return tf.int64, tf.int32
    dtype = tf.as_dtype(flow.log_det_dtype)
    return dtype, tf.float32 if dtype == tf.float64 else tf.float64


def _given(context: tf.Tensor | None) -> tuple[tf.Tensor, ...]:
    return () if context is None else (context,)


def _of_shape(x, event_shape, name):
    """Returns x after checking its shape, `(batch,) + event_shape`, when the graph runs.

    The signature takes any shape, so that the refusal is in words.
    """
    # Hides the shape of x: TensorFlow would refuse a wrong one in its own words.
    x = tf.compat.v1.placeholder_with_default(x, None)
    expected = "".join(f", {size}" for size in event_shape)
    received = tf.strings.reduce_join(tf.strings.as_string(tf.shape(x)), separator=", ")
    right = tf.strings.regex_full_match(received, rf"\d+{expected}")
    message = f"{name} must be of shape (batch{expected or ','})."
    with tf.control_dependencies(
        [tf.raw_ops.Assert(condition=right, data=[message, "Received: shape", received])]
    ):
        return tf.ensure_shape(x, (None, *event_shape))


def _require(valid, value, message):
    with tf.control_dependencies(
        [tf.raw_ops.Assert(condition=valid, data=[message, "Received:", value])]
    ):
        return tf.identity(value)
