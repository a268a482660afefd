"""The methods of a flow as functions of float32 arrays alone, for LiteRT and ONNX.

Both formats draw no numbers from a given seed. Hence noise is an argument: `sample` takes standard
normal numbers, and x is what a flow of integers sees, x + u with u uniform in [0, 1).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NoReturn

import numpy as np
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import refuse
from snf_tf.flow import Flow
from snf_tf.flow.likelihood import constant_log_dets
from snf_tf.layers.bijection import Step, follow

METHODS = ("sample", "encode", "log_prob", "decode", "decode_approximate")
# Of what a file does, by method: NumPy arrays by name to one array.
Loaded = Mapping[str, Callable[..., np.ndarray]]


class Portable:
    """Holds functions of a flow, traced for LiteRT and ONNX, and the weights that they use.

    Args:
        flow: A flow in float32, built and initialized.
        methods: Some of `METHODS`.

    Attributes:
        functions: name -> `tf.function` with an input signature, which returns a dict of one array.
        variables: The weights.

    Raises:
        ValueError: If methods are unknown, or the flow has no such method.
    """

    def __init__(self, flow: Flow, methods: Sequence[str]) -> None:
        _check(flow, methods)
        flow.prepare()
        self._flow = flow
        self.variables = [weight.value for weight in flow.weights]
        of_method = {
            "sample": (self._decoded(exact=False), "noise", "x"),
            "decode": (self._decoded(exact=True), "z", "x"),
            "decode_approximate": (self._decoded(exact=False), "z", "x"),
            "encode": (self._latents, "x", "z"),
            "log_prob": (self._log_prob(), "x", "log_prob"),
        }
        self.functions = {method: self._function(*of_method[method]) for method in methods}

    def differences(self, loaded: Loaded, tolerance: float, reason: str) -> dict[str, float]:
        """Computes the largest difference of every function from what a file computes, on 4 rows.

        Args:
            loaded: The file's functions.
            tolerance: What is allowed, relative to the largest number.
            reason: Why a difference may be larger, for the message.

        Raises:
            RuntimeError: If a difference is larger, or the flow has no finite number.
        """
        given, found = self._examples(4), {}
        for method, function in self.functions.items():
            arguments = {spec.name: given[spec.name] for spec in function.input_signature}
            (right,) = (value.numpy() for value in function(*arguments.values()).values())
            # A learned inverse may leave the range of floats, for some rows.
            finite = np.isfinite(right)
            if not finite.any():
                raise RuntimeError(
                    f"{method} of the flow must be finite, to be compared with the file's: train "
                    "the flow, or leave the method out. Received: no finite number on 4 rows"
                )
            difference = np.abs(loaded[method](**arguments) - right)[finite]
            found[method] = float(np.max(difference, initial=0.0))
            if not found[method] <= tolerance * (1 + np.max(np.abs(right[finite]), initial=0.0)):
                raise RuntimeError(
                    f"The converted {method} differs from the flow by {found[method]:.2g}: "
                    f"{reason}. Nothing was written"
                )
        return found

    def _function(self, method, given, result):
        shape = self._flow.event_shape if given == "x" else self._flow.latent_shape
        signature = [tf.TensorSpec((None, *shape), tf.float32, given)]
        if self._flow.context_shape is not None:
            kind = tf.float32 if self._flow.context_classes is None else tf.int32
            signature.append(tf.TensorSpec((None, *self._flow.context_shape), kind, "context"))

        def function(array, context=None):
            with ops.portable_graphs():
                return {result: method(array, context)}

        return tf.function(function, input_signature=signature, autograph=False)

    def _latents(self, x, context=None, visit: Callable[[Step], None] = lambda step: None):
        for bijection in self._flow.bijections_after_noise():
            x = tf.reshape(x, (-1, *bijection.event_shape))
            x = follow(bijection.steps(x, context), visit)
        return tf.reshape(x, (-1, *self._flow.latent_shape))

    def _log_prob(self):
        constant = float(constant_log_dets(self._flow))

        def method(x, context=None):
            log_dets = []

            def add(step):
                if not step.layer.log_det_is_constant:
                    log_dets.append(step.log_det)

            z = self._latents(x, context, add)
            return sum(log_dets, self._flow.base_log_prob(z, context) + constant)

        return method

    def _decoded(self, exact):
        return lambda z, context=None: self._flow.inverse(z, context=context, exact=exact)

    def _examples(self, count):
        flow, random = self._flow, np.random.default_rng(0)
        context = None
        if flow.context_shape is not None:
            context = random.standard_normal((count, *flow.context_shape)).astype("float32")
            if flow.context_classes is not None:
                context = np.arange(count, dtype="int32") % flow.context_classes
        noise = random.standard_normal((count, *flow.latent_shape)).astype("float32")
        x = np.asarray(flow.sample(count, context=context, exact=False, seed=0), "float32")
        z = self._latents(x, context).numpy()
        return {"noise": noise, "z": z, "x": x, "context": context}


def refuse_method(form: str, portable: Portable, method: str, lacking: str) -> NoReturn:
    """Raises the ValueError of a method that a format cannot hold.

    Args:
        form: Name of the format.
        portable: The functions to convert.
        method: The method.
        lacking: What the format has not.
    """
    raise ValueError(
        f"{form} has no {lacking}, which {method} of this flow needs: leave {method} out of the "
        f"methods, or export a SavedModel. Received: methods={', '.join(portable.functions)}"
    ) from None


def _check(flow, methods):
    is_some = isinstance(methods, Collection) and not isinstance(methods, str) and methods
    if not is_some or not all(method in METHODS for method in methods):
        refuse("methods", methods, f"some of {', '.join(METHODS)}")
    if flow.log_det_dtype != "float32":
        raise ValueError(
            "LiteRT and ONNX take flows in float32; a SavedModel takes any. "
            f"Received: a flow in {flow.log_det_dtype}"
        )
    flow.bijections_after_noise()
    if "log_prob" in methods:
        flow.require_exact("log_prob")
    if "sample" in methods and flow.base is not None:
        raise ValueError(
            "In LiteRT and ONNX, sample maps standard normal noise to data, and the base of this "
            "flow needs an operation that draws from a seed, StatelessRandomNormal or the like: "
            "take decode_approximate in the place of sample, and give it draws of the base. "
            f"Received: base={flow.base!r}"
        )
