"""Tests the contract of a bijection, for a layer of your own."""

import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from snf_tf._array_checks import check_array, refuse_array
from snf_tf._checks import check_instance
from snf_tf.layers.bijection import Bijection
from snf_tf.layers.flow_layer import FlowLayer

_Check = Callable[[FlowLayer, tf.Tensor, dict], Iterator[str]]


def check_bijection(layer: FlowLayer, x: tf.Tensor, context: tf.Tensor | None = None) -> None:
    """Checks that a layer keeps the contract of `snf_tf.layers.Bijection`.

    Checks on x:

    - shapes and dtypes, wrong shapes, an empty batch;
    - the round trip in both directions, and the approximate inverse;
    - log_det against the autodiff Jacobians of the call and of the inverse; the constant log_det;
    - graphs, seeds, what is said of the context, the config, and a file of weights.

    Tolerances follow the layer's `log_det_dtype`: check a float64 layer for the sharpest result.

    Args:
        layer: A layer. Where needed, x builds and initializes the layer.
        x: A batch of at least 2 inputs, `(batch,) + event_shape`; small events, since Jacobians are
            computed whole.
        context: As in the layer's call.

    Raises:
        ValueError: If layer is no layer, or x no batch of real numbers.
        AssertionError: With all that is wrong, a line each.

    Example:
        >>> layer = snf_tf.layers.SplineActivation()
        >>> snf_tf.testing.check_bijection(layer, tf.random.normal((3, 4)))
    """
    check_instance("layer", layer, Bijection, "a layer of snf_tf.layers or a Flow")
    x = check_array("x", x, layer.log_det_dtype)
    if not (len(x.shape) > 1 and x.shape[0]):
        refuse_array("x", x, "a batch of one input at least, (batch,) + event_shape")
    if not tf.reduce_all(tf.math.is_finite(tf.cast(x, tf.float64))):
        refuse_array("x", x, "finite")
    if not layer.built:
        layer.build((None, *x.shape[1:]))
    if layer.needs_initialization:
        layer.initialize(x, context)
    if x.dtype.is_floating:
        x = tf.cast(x, layer.log_det_dtype)
    problems: list[str] = []
    for check in _CHECKS:
        try:
            problems += check(layer, x, {"context": context})
        except Exception as error:
            problems.append(f"{check.__name__.strip('_')}: {type(error).__name__}: {error}")
    if problems:
        lines = "\n".join(f"- {problem}" for problem in problems)
        raise AssertionError(f"{type(layer).__name__} does not keep the contract:\n{lines}")


def _tolerance(layer):
    return 1e-7 if layer.log_det_dtype == "float64" else 2e-3


def _difference(a, b):
    """Returns the largest error of a, relative where b is larger than 1; infinite for NaN."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        return math.inf
    error = np.max(np.abs(a - b) / np.maximum(np.abs(b), 1), initial=0)
    return math.inf if np.isnan(error) else error


def _shapes(layer, x, given):
    for training in (False, True):
        z, log_det = layer(x, training=training, **given)
        if tuple(z.shape) != (len(x), *layer.latent_shape):
            yield (
                f"z must have the shape (batch,) + latent_shape = {(len(x), *layer.latent_shape)}. "
                f"Received: {tuple(z.shape)}, with training={training}"
            )
        if tuple(log_det.shape) != (len(x),):
            yield (
                f"log_det must have the shape (batch,) = {(len(x),)}: sum it over the event. "
                f"Received: {tuple(log_det.shape)}, with training={training}"
            )
        if log_det.dtype != layer.log_det_dtype:
            yield f"log_det must be {layer.log_det_dtype}. Received: {log_det.dtype.name}"
    shapes = layer.compute_output_shape((None, *layer.event_shape))
    if shapes != ((None, *layer.latent_shape), (None,)):
        yield f"compute_output_shape must give the shapes of (z, log_det). Received: {shapes}"


def _round_trip(layer, x, given):
    z, _ = layer(x, **given)
    back = layer.inverse(z, **given)
    if not layer.is_bijection:
        return
    error = _difference(back, x)
    if not error < _tolerance(layer):
        yield f"inverse(z) must return x. It is off by {error:.2g}"
    error = _difference(layer(back, **given)[0], z)
    if not error < _tolerance(layer):
        yield f"layer(inverse(z)) must return z. It is off by {error:.2g}"


def _log_det(layer, x, given):
    x = layer.widen(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        z, log_det = layer(x, **given)
    size = math.prod(layer.event_shape)
    if math.prod(layer.latent_shape) != size:
        yield f"x and z must have as many numbers. Received: {layer.event_shape} and {z.shape[1:]}"
        return
    jacobian = tape.batch_jacobian(z, x, unconnected_gradients="zero")
    expected = tf.linalg.slogdet(tf.reshape(jacobian, (-1, size, size)))[1]
    error = _difference(log_det, expected)
    if layer.log_det_kind == "exact" and not error < _tolerance(layer):
        yield (
            "log_det must be log|det| of the Jacobian of z, in nats. "
            f"Received: {np.array(log_det)[:3]}, where autodiff gives {expected.numpy()[:3]}"
        )


def _inverse_log_det(layer, x, given):
    z, log_det = layer(x, **given)
    z = layer.widen(z)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(z)
        back = layer.inverse(z, **given)
    size = math.prod(layer.event_shape)
    jacobian = tape.batch_jacobian(back, z, experimental_use_pfor=False)
    found = tf.linalg.slogdet(tf.reshape(jacobian, (-1, size, size)))[1]
    error = _difference(found, -log_det)
    if layer.log_det_kind == "exact" and not error < 10 * _tolerance(layer):
        yield (
            "log|det| of the Jacobian of inverse must be -log_det. "
            f"Received: {found.numpy()[:3]}, where the call gives {np.array(log_det)[:3]}"
        )


def _constant(layer, x, given):
    constant = layer.constant_log_det()
    if not layer.log_det_is_constant:
        if constant is not None:
            yield "constant_log_det() must return None where log_det_is_constant is False"
        return
    if constant is None or tuple(constant.shape) != ():
        yield f"constant_log_det() must return a scalar. Received: {constant!r}"
        return
    log_det = np.array(layer(x, **given)[1])
    if not _difference(log_det, np.full(len(x), constant)) < _tolerance(layer):
        yield (
            "log_det_is_constant says that every log_det is constant_log_det(). "
            f"Received: {log_det[:3]}, and constant_log_det() = {float(constant)}"
        )


def _graph(layer, x, given):
    for training in (False, True):
        # The scope drops what the call assigns: both calls start from the same state.
        with keras.StatelessScope():
            expected = layer(x, training=training, **_with_seed(layer, given))
        function = tf.function(
            lambda x, t=training: layer(x, training=t, **_with_seed(layer, given))
        )
        before = layer.get_weights()
        for name, value, reference in zip(("z", "log_det"), function(x), expected, strict=True):
            if not _difference(value, reference) < _tolerance(layer):
                yield f"{name} in a tf.function differs from eager code, with training={training}"
        layer.set_weights(before)
    z, _ = layer(x, **given)
    for exact in (True, False):
        inverse = tf.function(lambda z, e=exact: layer.inverse(z, exact=e, **given))
        if not _difference(inverse(z), layer.inverse(z, exact=exact, **given)) < _tolerance(layer):
            yield f"inverse in a tf.function differs from eager code, with exact={exact}"


def _with_seed(layer, given):
    return given | ({"seed": 1} if layer.takes_seed else {})


def _seeds(layer, x, given):
    if not any(leaf.takes_seed for leaf in layer.leaves()):
        return
    for training in (False, True):
        found = []
        for seed in (1, 1, 2):
            # The scope drops what a call assigns: all calls start from the same state.
            weights = [weight.value for weight in layer.trainable_weights]
            with keras.StatelessScope(), tf.GradientTape() as tape:
                z, log_det = layer(x, training=training, seed=seed, **given)
            # Of some log-determinants the gradient alone is random.
            gradients = tape.gradient(log_det, weights, unconnected_gradients="zero")
            found.append((z, log_det, *gradients))
        one, same, other = found
        if any(_difference(a, b) for a, b in zip(one, same, strict=True)):
            yield f"The same seed must give the same numbers, with training={training}"
        differs = any(_difference(a, b) for a, b in zip(one, other, strict=True))
        if not differs and (training or not layer.is_bijection):
            yield (
                "takes_seed says that the call is random, but seeds 1 and 2 give the same numbers: "
                f"the seed is ignored, with training={training}"
            )


def _empty_batch(layer, x, given):
    if given["context"] is not None:
        given = {"context": given["context"][:0]}
    z, log_det = layer(x[:0], **given)
    if tuple(log_det.shape) != (0,) or tuple(layer.inverse(z, **given).shape) != x[:0].shape:
        yield "An empty batch must give an empty batch, in both directions"


def _wrong_shapes(layer, x, given):
    calls = {"the call": (layer, x), "inverse": (layer.inverse, layer(x, **given)[0])}
    for name, (function, value) in calls.items():
        wrong = tf.concat([value, value[..., :1]], axis=-1)
        try:
            function(wrong, **given)
        except ValueError:
            continue
        yield f"{name} must refuse a wrong shape by a ValueError. Accepted: {tuple(wrong.shape)}"


def _context(layer, x, given):
    if given["context"] is None or layer.context_shape is not None:
        return
    try:
        layer(x)
    except Exception as error:
        yield (
            "A layer that needs a context must say so by the attribute context_shape, such as "
            f"(2,): without a context its call fails. Received: context_shape=None, and {error}"
        )


def _approximate_inverse(layer, x, given):
    z, _ = layer(x, **given)
    exact, other = (layer.inverse(z, exact=exact, **given) for exact in (True, False))
    if _difference(exact, other) and not layer.has_approximate_inverse:
        yield "inverse(z, exact=False) differs: has_approximate_inverse must be True"


def _saving(layer, x, given):
    copy = type(layer).from_config(layer.get_config())
    copy.build((None, *layer.event_shape))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "layer.weights.h5"
        for target, method in ((layer, "save_weights"), (copy, "load_weights")):
            model = keras.Sequential([target])
            model.build((None, *layer.event_shape))
            getattr(model, method)(path)
    for name, value, reference in zip(
        ("z", "log_det"), copy(x, **given), layer(x, **given), strict=True
    ):
        if _difference(value, reference):
            yield (
                f"A layer made by get_config, with the weights of a file, gives another {name}: "
                "does get_config hold every argument, and is every number a weight of add_weight?"
            )


_CHECKS: tuple[_Check, ...] = (
    _shapes,
    _round_trip,
    _log_det,
    _inverse_log_det,
    _constant,
    _graph,
    _seeds,
    _empty_batch,
    _wrong_shapes,
    _context,
    _approximate_inverse,
    _saving,
)
