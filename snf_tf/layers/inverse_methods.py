"""How a self normalizing layer keeps its inverse kernel up to date without learning it.

A method says what the gradient of log|det| is with respect to the kernel, in every training call, from an inverse kernel that it
brings up to date there; it is a weight that is not trained, as are the numbers that the method keeps. The likelihood's gradient is
then whole, not halved as in SNF Eq. 3, and there is no penalty. With several replicas every one computes the same update, and the
first one's is kept.
"""

import math
import sys

import keras
import numpy as np
import tensorflow as tf

from snf_tf import ops

# Streams of random numbers.
_FOR_WORST, _FOR_ANGLE, _FOR_PROBES = range(3)
# Steps between estimates of the angle, and the norm of I - K M above which there is one in every step.
_JUDGE_EVERY, _DOUBTFUL = 4, 0.2
# Random rows by which an angle is estimated.
_ROWS = 4
# Share of a random direction in every step of a power iteration, so that no singular value is missed for long.
_MIXED_IN = 0.1
# As good as none, for what is no noise.
_NO_DAMPING = 1e-6


class InverseMethod:
    """What `SelfNormalizingDense` and `SelfNormalizingConv2D` ask of a method other than "learned".

    Args:
        **options: The arguments of the subclass' constructor, for `get_config`.
    """

    def __init__(self, **options):
        self.options = options

    def build(self, layer: keras.layers.Layer) -> None:
        """Adds to a layer the numbers that the method keeps: scalars in `layer.inverse_state`, by their names."""
        raise NotImplementedError

    def log_det_gradient(self, layer: keras.layers.Layer, x: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
        """Updates the layer's inverse kernel, and returns the gradient of log|det| with respect to the kernel."""
        raise NotImplementedError

    def get_config(self):
        return dict(self.options)

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable("snf_tf")
class Projected(InverseMethod):
    """Projects the inverse kernel M of a dense layer on every batch; see `snf_tf.ops.project_inverse`.

    Two rows join those of the batch, the worst there are, found by power iterations that go on from step to step: that in which
    `I - kernel @ M` is largest, and that which M makes longest, whose share in the gradient is largest. Where the norm in the
    first is 1 or more, or the angle between the gradients of log|det| by M and by the exact inverse, estimated by random rows in
    every fourth step, or where the norm is large in every one, exceeds the tolerance, the kernel is inverted exactly, and the log
    says so. Of several replicas each projects on the same rows of the whole batch, which is gathered.

    The layer's `inverse_state`: `inverse_angle` (the estimate, in degrees), `exact_inversions` (how many so far),
    `inverse_updates`.

    Args:
        rows: Number of the batch's rows to project on; None: all.
        probes: Number of normal rows to project on, instead of the batch's.
        damping: In units of the mean eigenvalue of the rows' Gram matrix.
        tolerance: Largest angle, in degrees.

    Raises:
        ValueError: If an argument is not positive.

    Example:
        >>> layer = snf_tf.layers.SelfNormalizingDense(inverse_method=snf_tf.layers.Projected(rows=None))
        >>> z, log_det = layer(tf.ones((4, 8)), training=True)
        >>> bool(layer.inverse_state["inverse_angle"] < 2)
        True
    """

    def __init__(self, rows: int | None = 32, probes: int | None = None, damping: float = 1e-3, tolerance: float = 2.0):
        given = {"rows": rows, "probes": probes, "damping": damping, "tolerance": tolerance}
        if not all(value is None or value > 0 for value in given.values()):
            raise ValueError(f"All arguments of Projected must be positive, or None. Received: {given}")
        super().__init__(**given)

    def build(self, layer):
        layer.inverse_state = _scalars(layer, inverse_angle="float32", exact_inversions="int32", inverse_updates="int32")
        _add_worst_rows(layer)

    def log_det_gradient(self, layer, x, z):
        kernel, inverse = layer._widen(layer.kernel), layer._widen(layer.inverse_kernel)
        norm, *worst = _worst_rows(layer, kernel, inverse)
        if self.options["probes"] is None:
            rows, images = (_of_all_replicas(layer._widen(v))[: self.options["rows"]] for v in (x, z))
            images -= layer._widen(layer.bias)
        else:
            rows = _random_rows(layer, self.options["probes"], kernel, _FOR_PROBES)
        if self.options["probes"] is not None or x.dtype != kernel.dtype:
            # Of half precision z has lost digits that an inverse needs.
            images = tf.matmul(rows, kernel)
        # As long as the others, or the damping would hide them.
        length = tf.norm(images) / tf.sqrt(tf.cast(tf.maximum(tf.shape(images)[0], 1), images.dtype))
        rows, images = (tf.concat([v, length * w], axis=0) for v, w in zip((rows, images), worst, strict=True))
        inverse = ops.project_inverse(inverse, rows, images, self.options["damping"])
        angle, good = _judge(layer, kernel, inverse, norm, self.options["tolerance"])
        inverse, inversions = tf.cond(good, lambda: (inverse, 0), lambda: (_invert(layer, kernel, angle), 1))
        _record(layer, inverse_angle=angle, exact_inversions=inversions, inverse_updates=1)
        layer.inverse_kernel.assign(inverse)
        return tf.transpose(inverse)


@keras.saving.register_keras_serializable("snf_tf")
class NewtonSchulz(InverseMethod):
    """Keeps the inverse kernel M of a dense layer by sweeps of Newton and Schulz, when they are needed.

    In every step M is projected on the two worst rows, as in `Projected`, at the cost of a few products with a vector. Where the
    angle between the gradients of log|det| by M and by the exact inverse, estimated as there, exceeds the tolerance, there is a
    sweep, `snf_tf.ops.newton_schulz_inverse`. Where the norm of `I - kernel @ M`, from the power iteration, is 1 or more, or one
    sweep is not enough, the kernel is inverted exactly, and the log says so. Replicas compute the same.

    The layer's `inverse_state`: `inverse_angle` (the estimate before a sweep, in degrees), `sweeps` and `exact_inversions` (how
    many so far), `inverse_updates`.

    Args:
        tolerance: Largest angle, in degrees.

    Raises:
        ValueError: If the tolerance is not positive.

    Example:
        >>> layer = snf_tf.layers.SelfNormalizingDense(inverse_method="newton_schulz")
        >>> z, log_det = layer(tf.ones((4, 8)), training=True)
        >>> int(layer.inverse_state["exact_inversions"])
        0
    """

    def __init__(self, tolerance: float = 0.5):
        if not tolerance > 0:
            raise ValueError(f"tolerance must be positive. Received: tolerance={tolerance}")
        super().__init__(tolerance=tolerance)

    def build(self, layer):
        layer.inverse_state = _scalars(
            layer, inverse_angle="float32", sweeps="int32", exact_inversions="int32", inverse_updates="int32"
        )
        _add_worst_rows(layer)

    def log_det_gradient(self, layer, x, z):
        kernel, inverse = layer._widen(layer.kernel), layer._widen(layer.inverse_kernel)
        norm, rows, images = _worst_rows(layer, kernel, inverse)
        inverse = ops.project_inverse(inverse, rows, images, _NO_DAMPING)
        tolerance = self.options["tolerance"]
        angle, good = _judge(layer, kernel, inverse, norm, tolerance)

        def exact():
            return _invert(layer, kernel, angle), 0, 1

        def sweep():
            swept = ops.newton_schulz_inverse(kernel, inverse)
            return tf.cond(_estimated_angle(layer, kernel, swept) <= tolerance, lambda: (swept, 1, 0), exact)

        def mend():
            return tf.cond(norm < 1, sweep, exact)

        inverse, sweeps, inversions = tf.cond(good, lambda: (inverse, 0, 0), mend)
        _record(layer, inverse_angle=angle, sweeps=sweeps, exact_inversions=inversions, inverse_updates=1)
        layer.inverse_kernel.assign(inverse)
        return tf.transpose(inverse)


@keras.saving.register_keras_serializable("snf_tf")
class LeastSquares(InverseMethod):
    """Solves for the inverse kernel of a convolution in every step, by least squares, from the kernel alone.

    See `snf_tf.ops.least_squares_inverse_kernel`; its cost does not depend on the size of the images. Some invertible kernels
    have no inverse like it. Hence every so many steps the gradient of log|det| that it gives is compared with the exact one; as
    long as the angle between them exceeds the tolerance, the exact one is used, and the log says so. Replicas compute the same.

    The layer's `inverse_state`: `inverse_angle` (degrees, when last compared), `exact_gradients` (how many so far),
    `inverse_updates`.

    Args:
        tolerance: Largest angle, in degrees. That of the kernel's whole gradient, in which the two terms nearly cancel, is larger.
        check_every: Steps between comparisons.

    Raises:
        ValueError: If an argument is not positive.

    Example:
        >>> layer = snf_tf.layers.SelfNormalizingConv2D(3, inverse_method="least_squares")
        >>> z, log_det = layer(tf.ones((2, 6, 5, 3)), training=True)
        >>> bool(layer.inverse_state["inverse_angle"] < 0.2)
        True
    """

    def __init__(self, tolerance: float = 0.2, check_every: int = 100):
        if not tolerance > 0 or not check_every >= 1:
            raise ValueError(
                f"tolerance and check_every must be positive. Received: tolerance={tolerance}, check_every={check_every}"
            )
        super().__init__(tolerance=tolerance, check_every=check_every)

    def build(self, layer):
        if any(q < k for q, k in zip(layer.inverse_kernel_size, layer.kernel_size, strict=True)):
            raise ValueError(
                "An inverse kernel by least squares must be as large as the kernel. "
                f"Received: kernel_size={layer.kernel_size}, inverse_kernel_size={layer.inverse_kernel_size}"
            )
        layer.inverse_state = _scalars(layer, inverse_angle="float32", exact_gradients="int32", inverse_updates="int32")

    def log_det_gradient(self, layer, x, z):
        kernel, state = layer._widen(layer.kernel), layer.inverse_state
        inverse = ops.least_squares_inverse_kernel(kernel, layer.inverse_kernel_size)
        estimate = ops.conv2d_log_det_gradient(inverse, layer.kernel_size, layer.event_shape[:2])
        due = (state["inverse_updates"] % self.options["check_every"] == 0) | ~tf.math.is_finite(tf.reduce_sum(inverse))
        before = tf.convert_to_tensor(state["inverse_angle"])

        def compare():
            exact = ops.conv2d_exact_log_det_gradient(kernel, layer.event_shape)
            angle = tf.cast(ops.angle(estimate, exact), before.dtype)
            bad = ~(angle <= self.options["tolerance"])
            return angle, tf.where(bad, exact, estimate), tf.cast(bad, tf.int32)

        going_on = ~(before <= self.options["tolerance"])
        angle, gradient, exact = tf.cond(due | going_on, compare, lambda: (before, estimate, 0))
        _say(
            layer, (exact > 0) & ~going_on, "the least-squares inverse is off, in degrees, by", angle, "- exact gradients are used"
        )
        _record(layer, inverse_angle=angle, exact_gradients=exact, inverse_updates=1)
        layer.inverse_kernel.assign(inverse)
        return gradient


def get(method, methods: dict[str, type[InverseMethod]]) -> InverseMethod | None:
    """Looks up a method by its name, or takes one as it is; None for "learned".

    Raises:
        ValueError: If there is no such method among `methods`.
    """
    if isinstance(method, str) and method in methods:
        return methods[method]()
    if method != "learned" and not isinstance(method, tuple(methods.values())):
        names = ", ".join(map(repr, ["learned", *methods]))
        classes = ", ".join(f"snf_tf.layers.{cls.__name__}" for cls in methods.values())
        raise ValueError(f"inverse_method must be one of {names}, or a {classes}. Received: inverse_method={method!r}")
    return None if method == "learned" else method


def serialize(method):
    """What `get_config` holds of a method, or of its name."""
    return keras.saving.serialize_keras_object(method) if isinstance(method, InverseMethod) else method


def deserialize(method):
    """The method, or its name, of what `get_config` holds."""
    return keras.saving.deserialize_keras_object(method) if isinstance(method, dict) else method


def _kept_weight(layer, name, shape, initializer="zeros", dtype=None):
    return layer.add_weight(
        name=name,
        shape=shape,
        initializer=initializer,
        dtype=dtype,
        trainable=False,
        autocast=False,
        aggregation="only_first_replica",
    )


def _scalars(layer, **dtypes):
    return {name: _kept_weight(layer, name, (), dtype=dtype) for name, dtype in dtypes.items()}


def _record(layer, inverse_updates, **values):
    """Assigns numbers; adds to counts."""
    for name, value in (values | {"inverse_updates": inverse_updates}).items():
        variable = layer.inverse_state[name]
        value = tf.cast(value, variable.dtype)
        variable.assign(variable + value if variable.dtype == "int32" else value)


def _random_rows(layer, count, like, purpose):
    """Normal rows, `(count, D)`, other ones in every update and for every purpose."""
    seed = tf.stack([tf.convert_to_tensor(layer.inverse_state["inverse_updates"]), purpose])
    return tf.random.stateless_normal((count, like.shape[0]), seed, dtype=like.dtype)


def _add_worst_rows(layer):
    for name in ("inverse_error_row", "inverse_longest_row"):
        setattr(layer, name, _kept_weight(layer, name, (1, *layer.event_shape), "ones"))


def _worst_rows(layer, kernel, inverse):
    """One step of the power iterations: `(norm, rows, images)`.

    norm is about that of `I - kernel @ inverse`. The rows, `(2, D)`, are that in which it is found and that which the inverse
    makes longest; their images, `rows @ kernel`, have unit length.
    """
    random = _MIXED_IN * ops.unit_rows(_random_rows(layer, 1, kernel, _FOR_WORST))
    norm, error_row = ops.inverse_residual(kernel, inverse, layer._widen(layer.inverse_error_row) + random)
    longest = tf.matmul(layer._widen(layer.inverse_longest_row) + random, inverse, transpose_b=True)
    longest_row = ops.unit_rows(tf.matmul(longest, inverse))
    # A direction that is not finite would stay so.
    error_row, longest_row = (tf.where(tf.math.is_finite(row), row, random) for row in (error_row, longest_row))
    layer.inverse_error_row.assign(error_row)
    layer.inverse_longest_row.assign(longest_row)
    rows = tf.concat([error_row, longest_row], axis=0)
    images = tf.matmul(rows, kernel)
    lengths = tf.norm(images, axis=1, keepdims=True)
    return norm, tf.math.divide_no_nan(rows, lengths), tf.math.divide_no_nan(images, lengths)


def _estimated_angle(layer, kernel, inverse):
    """About the angle, in degrees, between the inverse and the exact one, hence between the gradients of log|det| by them.

    With M = K^-1 (I - E) its sine is, to first order in E, |M E| / |M|, which random combinations of the rows of M show.
    """
    rows = tf.matmul(_random_rows(layer, _ROWS, kernel, _FOR_ANGLE), inverse)
    error = rows - tf.matmul(tf.matmul(rows, kernel), inverse)
    return tf.norm(error) / tf.norm(rows) * (180 / math.pi)


def _judge(layer, kernel, inverse, norm, tolerance):
    """The estimated angle, or the last one where none is due, and whether the inverse is good enough."""
    state = layer.inverse_state
    last = tf.cast(state["inverse_angle"], kernel.dtype)
    due = (state["inverse_updates"] % _JUDGE_EVERY == 0) | (norm > _DOUBTFUL)
    # Of a large norm first order says too little.
    bound = tolerance * (1 - norm)

    def judge():
        angle = _estimated_angle(layer, kernel, inverse)
        return angle, angle <= bound

    angle, good = tf.cond(due, judge, lambda: (last, True))
    return angle, good & (norm < 1)


def _of_all_replicas(x):
    replica = tf.distribute.get_replica_context()
    return x if replica is None or replica.num_replicas_in_sync == 1 else replica.all_gather(x, axis=0)


def _invert(layer, kernel, angle):
    """The exact inverse of a kernel; said in the log the 1st, 2nd, 4th, 8th time, and so on."""
    count = layer.inverse_state["exact_inversions"] + 1
    power_of_two = tf.bitwise.bitwise_and(count, count - 1) == 0
    _say(layer, power_of_two, "the inverse is off, in degrees, by", angle, "- the kernel is inverted exactly; times so far:", count)
    # A kernel without an inverse gives NaN, which stops training, in words.
    invertible = tf.math.is_finite(tf.linalg.slogdet(kernel)[1])
    inverse = tf.linalg.inv(tf.where(invertible, kernel, tf.eye(kernel.shape[0], dtype=kernel.dtype)))
    return tf.where(invertible, inverse, np.nan)


def _say(layer, condition, *message):
    tf.cond(condition, lambda: tf.print(f"{layer.name}:", *message, output_stream=sys.stderr), tf.no_op)
