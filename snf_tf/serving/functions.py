"""The traced functions of an exported flow."""

import functools
from typing import Any

import tensorflow as tf

from snf_tf import ops
from snf_tf.flow.estimation import bound, estimate
from snf_tf.flow.likelihood import constant_log_dets, exact_log_prob
from snf_tf.serving import arguments

_N, _SEED, _FIRST_ROW, _DRAWS = (
    tf.TensorSpec((), tf.int64, name) for name in ("n", "seed", "first_row", "draws")
)
_traced = functools.partial(tf.function, autograph=False)


class Functions(tf.Module):
    """The traced functions of `Endpoints`, which a SavedModel holds."""

    def __init__(self, flow: Any) -> None:
        super().__init__(name=flow.name)
        flow.prepare()
        self._variables = [weight.value for weight in flow.weights]
        # A layer's weights are among the flow's.
        self._base = flow.base if isinstance(flow.base, tf.Module) else None
        constant = tf.constant(constant_log_dets(flow).numpy())
        dtype, shape = tf.as_dtype(flow.log_det_dtype), flow.event_shape
        batch, latents = tf.TensorSpec(None, dtype, "x"), tf.TensorSpec(None, dtype, "z")
        temperature = tf.TensorSpec((), dtype, "temperature")
        self._contexts = _contexts(flow)
        # One more argument, or none.
        given = [tf.TensorSpec(None, kind, "context") for kind in self._contexts[:1]]
        if flow.context_classes is not None:
            self.context_classes = tf.Variable(flow.context_classes, trainable=False)

        def context_of(context, rows):
            """Checks a context that goes with rows."""
            if context is None:
                return None
            return flow.check_context(_of_shape(context, flow.context_shape, "context"), rows)

        def log_prob_of(x, seed, context):
            return tf.cast(exact_log_prob(flow, x, seed, constant, context), dtype)

        def estimates_of(x, seed, context, draws):
            found = estimate(flow, x, context, seed, draws)
            return {"mean": found.mean, "standard_error": found.standard_error}

        def bounds_of(x, seed, context, draws):
            return bound(flow, x, context, seed, draws)

        def latents_of(x, seed, context):
            return tf.cast(flow.forward(x, context, seed=seed)[0], dtype)

        def classes_of(x, seed, context):
            return flow.class_log_probs(x, context, seed=seed)

        def samples(exact):
            # A signature: without one TensorFlow traces anew for every Python number.
            @_traced(input_signature=[_N, _SEED, temperature, *given])
            def method(n, seed, temperature=1.0, context=None):
                n = _require(n >= 1, n, "n must be at least 1.")
                temperature = _require(
                    (temperature >= 0) & tf.math.is_finite(temperature),
                    temperature,
                    "temperature must be a finite number, and not negative.",
                )
                if context is not None:
                    context = _of_shape(context, flow.context_shape, "context")
                return flow.sample(n, context, exact, temperature, seed)

            return method

        # Traced once; the methods around take arguments of several dtypes.
        def checked(function, *more):
            @_traced(input_signature=[batch, _SEED, _FIRST_ROW, *more, *given])
            def found(x, seed, first_row, *rest):
                draws, context = rest[: len(more)], (*rest[len(more) :], None)[0]
                x = flow.check_data(_of_shape(x, shape, "x"))
                draws = [_require(k >= 1, k, "draws must be at least 1.") for k in draws]
                row_seed = ops.row_seed(seed, first_row=first_row)
                return function(x, row_seed, context_of(context, x), *draws)

            def cast_and_found(x, context, **counts):
                wrong = arguments.refusal(self._contexts, x, context, **counts)
                if wrong is not None:
                    return wrong
                numbers = [tf.cast(count, tf.int64) for count in counts.values()]
                contexts = [tf.cast(context, spec.dtype) for spec in given]
                return found(tf.cast(x, dtype), *numbers, *contexts)

            return cast_and_found

        def on_rows(function):
            compute = checked(function)

            @_traced
            def method(x, seed=0, first_row=0, context=None):
                return compute(x, context, seed=seed, first_row=first_row)

            return method

        def by_draws(function, default):
            compute = checked(function, _DRAWS)

            @_traced
            def method(x, seed=0, first_row=0, draws=default, context=None):
                return compute(x, context, seed=seed, first_row=first_row, draws=draws)

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
        data = tf.TensorSpec(None, self._data_dtype, "x"), _SEED, _FIRST_ROW
        draws = () if is_exact else (_DRAWS,)
        contexts = [{"context": tf.TensorSpec(None, c, "context")} for c in self._contexts] or [{}]
        for method in methods:
            has_draws = method is density and not is_exact
            right = [*arguments.right(self._contexts)]
            if has_draws:
                right += arguments.right(self._contexts, draws=tf.int64)
            # TensorFlow calls the first that fits: scalars of any shape come last.
            for specs in (*right, *arguments.wrong(self._contexts, has_draws)):
                method.get_concrete_function(**specs)
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
