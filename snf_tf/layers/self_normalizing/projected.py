"""How a dense layer keeps its inverse kernel: by projections, or by sweeps of Newton and Schulz."""

import math

import keras
import numpy as np
import tensorflow as tf

from snf_tf import ops
from snf_tf.layers.self_normalizing.inverse_method import (
    InverseMethod,
    add_scalars,
    kept_weight,
    record,
    say,
)

# Streams of random numbers.
_FOR_WORST, _FOR_ANGLE, _FOR_PROBES = range(3)
# Steps between estimates of the angle, and the norm of I - K M above which there is one in every
# step.
_JUDGE_EVERY, _DOUBTFUL = 4, 0.2
# Random rows by which an angle is estimated.
_ROWS = 4
# Share of a random direction in every step of a power iteration, so that no singular value is
# missed for long.
_MIXED_IN = 0.1
# As good as none, for what is no noise.
_NO_DAMPING = 1e-6


@keras.saving.register_keras_serializable("snf_tf")
class Projected(InverseMethod):
    """Projects the inverse kernel M of a dense layer on every batch; see
    `snf_tf.ops.project_inverse`.

    Two rows join those of the batch, the worst there are, found by power iterations that go on from
    step to step: that in which `I - kernel @ M` is largest, and that which M makes longest, whose
    share in the gradient is largest. Where the norm in the first is 1 or more, or the angle between
    the gradients of log|det| by M and by the exact inverse, estimated by random rows in every
    fourth step, or where the norm is large in every one, exceeds the tolerance, the kernel is
    inverted exactly, and the log says so. Of several replicas each projects on the same rows of the
    whole batch, which is gathered.

    The layer's `inverse_state`: `inverse_angle` (the estimate, in degrees), `exact_inversions` (how
    many so far), `inverse_updates`.

    Args:
        rows: Number of the batch's rows to project on; None: all.
        probes: Number of normal rows to project on, instead of the batch's.
        damping: In units of the mean eigenvalue of the rows' Gram matrix.
        tolerance: Largest angle, in degrees.

    Raises:
        ValueError: If an argument is not positive.

    Example:
        >>> method = snf_tf.layers.Projected(rows=None)
        >>> layer = snf_tf.layers.SelfNormalizingDense(inverse_method=method)
        >>> z, log_det = layer(tf.ones((4, 8)), training=True)
        >>> bool(layer.inverse_state["inverse_angle"] < 2)
        True
    """

    def __init__(
        self,
        rows: int | None = 32,
        probes: int | None = None,
        damping: float = 1e-3,
        tolerance: float = 2.0,
    ):
        given = {"rows": rows, "probes": probes, "damping": damping, "tolerance": tolerance}
        if not all(value is None or value > 0 for value in given.values()):
            raise ValueError(
                f"All arguments of Projected must be positive, or None. Received: {given}"
            )
        super().__init__(**given)

    def build(self, layer):
        add_scalars(layer, inverse_angle="float32", exact_inversions="int32")
        _add_worst_rows(layer)

    def log_det_gradient(self, layer, x, z):
        kernel, inverse = layer._widen(layer.kernel), layer._widen(layer.inverse_kernel)
        norm, *worst = _worst_rows(layer, kernel, inverse)
        if self.options["probes"] is None:
            rows, images = (
                _of_all_replicas(layer._widen(v))[: self.options["rows"]] for v in (x, z)
            )
            images -= layer._widen(layer.bias)
        else:
            rows = _random_rows(layer, self.options["probes"], kernel, _FOR_PROBES)
        if self.options["probes"] is not None or x.dtype != kernel.dtype:
            # Of half precision z has lost digits that an inverse needs.
            images = tf.matmul(rows, kernel)
        # As long as the others, or the damping would hide them.
        length = tf.norm(images) / tf.sqrt(
            tf.cast(tf.maximum(tf.shape(images)[0], 1), images.dtype)
        )
        rows, images = (
            tf.concat([v, length * w], axis=0) for v, w in zip((rows, images), worst, strict=True)
        )
        inverse = ops.project_inverse(inverse, rows, images, self.options["damping"])
        angle, good = _judge(layer, kernel, inverse, norm, self.options["tolerance"])
        inverse, inversions = tf.cond(
            good, lambda: (inverse, 0), lambda: (_invert(layer, kernel, angle), 1)
        )
        record(layer, inverse_angle=angle, exact_inversions=inversions)
        layer.inverse_kernel.assign(inverse)
        return tf.transpose(inverse)


@keras.saving.register_keras_serializable("snf_tf")
class NewtonSchulz(InverseMethod):
    """Keeps the inverse kernel M of a dense layer by sweeps of Newton and Schulz, when they are
    needed.

    In every step M is projected on the two worst rows, as in `Projected`, at the cost of a few
    products with a vector. Where the angle between the gradients of log|det| by M and by the exact
    inverse, estimated as there, exceeds the tolerance, there is a sweep,
    `snf_tf.ops.newton_schulz_inverse`. Where the norm of `I - kernel @ M`, from the power
    iteration, is 1 or more, or one sweep is not enough, the kernel is inverted exactly, and the log
    says so. Replicas compute the same.

    The layer's `inverse_state`: `inverse_angle` (the estimate before a sweep, in degrees), `sweeps`
    and `exact_inversions` (how many so far), `inverse_updates`.

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
        add_scalars(layer, inverse_angle="float32", sweeps="int32", exact_inversions="int32")
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
            return tf.cond(
                _estimated_angle(layer, kernel, swept) <= tolerance, lambda: (swept, 1, 0), exact
            )

        def mend():
            return tf.cond(norm < 1, sweep, exact)

        inverse, sweeps, inversions = tf.cond(good, lambda: (inverse, 0, 0), mend)
        record(layer, inverse_angle=angle, sweeps=sweeps, exact_inversions=inversions)
        layer.inverse_kernel.assign(inverse)
        return tf.transpose(inverse)


def _random_rows(layer, count, like, purpose):
    """Normal rows, `(count, D)`, other ones in every update and for every purpose."""
    seed = tf.stack([tf.convert_to_tensor(layer.inverse_state["inverse_updates"]), purpose])
    return tf.random.stateless_normal((count, like.shape[0]), seed, dtype=like.dtype)


def _add_worst_rows(layer):
    for name in ("inverse_error_row", "inverse_longest_row"):
        setattr(layer, name, kept_weight(layer, name, (1, *layer.event_shape), "ones"))


def _worst_rows(layer, kernel, inverse):
    """One step of the power iterations: `(norm, rows, images)`.

    norm is about that of `I - kernel @ inverse`. The rows, `(2, D)`, are that in which it is found
    and that which the inverse makes longest; their images, `rows @ kernel`, have unit length.
    """
    random = _MIXED_IN * ops.unit_rows(_random_rows(layer, 1, kernel, _FOR_WORST))
    norm, error_row = ops.inverse_residual(
        kernel, inverse, layer._widen(layer.inverse_error_row) + random
    )
    longest = tf.matmul(layer._widen(layer.inverse_longest_row) + random, inverse, transpose_b=True)
    longest_row = ops.unit_rows(tf.matmul(longest, inverse))
    # A direction that is not finite would stay so.
    error_row, longest_row = (
        tf.where(tf.math.is_finite(row), row, random) for row in (error_row, longest_row)
    )
    layer.inverse_error_row.assign(error_row)
    layer.inverse_longest_row.assign(longest_row)
    rows = tf.concat([error_row, longest_row], axis=0)
    images = tf.matmul(rows, kernel)
    lengths = tf.norm(images, axis=1, keepdims=True)
    return norm, tf.math.divide_no_nan(rows, lengths), tf.math.divide_no_nan(images, lengths)


def _estimated_angle(layer, kernel, inverse):
    """About the angle, in degrees, between the inverse and the exact one, hence between the
    gradients of log|det| by them.

    With M = K^-1 (I - E) its sine is, to first order in E, |M E| / |M|, which random combinations
    of the rows of M show.
    """
    rows = tf.matmul(_random_rows(layer, _ROWS, kernel, _FOR_ANGLE), inverse)
    error = rows - tf.matmul(tf.matmul(rows, kernel), inverse)
    return tf.norm(error) / tf.norm(rows) * (180 / math.pi)


def _judge(layer, kernel, inverse, norm, tolerance):
    """The estimated angle, or the last one where none is due, and whether the inverse is good
    enough.
    """
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
    return (
        x if replica is None or replica.num_replicas_in_sync == 1 else replica.all_gather(x, axis=0)
    )


def _invert(layer, kernel, angle):
    """The exact inverse of a kernel; said in the log the 1st, 2nd, 4th, 8th time, and so on."""
    count = layer.inverse_state["exact_inversions"] + 1
    power_of_two = tf.bitwise.bitwise_and(count, count - 1) == 0
    say(
        layer,
        power_of_two,
        "the inverse is off, in degrees, by",
        angle,
        "- the kernel is inverted exactly; times so far:",
        count,
    )
    # A kernel without an inverse gives NaN, which stops training, in words.
    invertible = tf.math.is_finite(tf.linalg.slogdet(kernel)[1])
    inverse = tf.linalg.inv(
        tf.where(invertible, kernel, tf.eye(kernel.shape[0], dtype=kernel.dtype))
    )
    return tf.where(invertible, inverse, np.nan)
