"""Functions that take numbers, and the optimizer, with wrong values."""

import math

import tensorflow as tf

from snf_tf import data, ops, optimizers, training
from tests.campaign import kinds as k
from tests.campaign.tables import Entry

X = tf.ones((1, 2))
KERNEL = tf.ones((3, 3, 1, 1))
IMAGE = (*k.SHAPE, (3,), (1, 1, 1, 1))
# Infinity is the order of a norm.
ORDER = (*(v for v in k.NUMBER if not (isinstance(v, float) and v == math.inf)), 0.5, -1)
_SPLINE = (tf.zeros((2, 4)), tf.zeros((2, 4)))


def _half(x):
    return 0.5 * x


def _spline(function, derivatives, first):
    names = ("unnormalized_widths", "unnormalized_heights")
    given = dict(zip(names, _SPLINE, strict=True)) | {first: X} if first else {}
    given = given or dict(zip(names, (tf.zeros(4), tf.zeros(4)), strict=True))
    shape = (2, derivatives) if first else (derivatives,)
    given["unnormalized_derivatives"] = tf.zeros(shape)
    return Entry(function, given, {"bound": k.POSITIVE})


def _series(**kwargs):
    return ops.series_log_det(_half, X, X, tf.ones(3), **kwargs)


OPS = {
    "leaky_relu": Entry(ops.leaky_relu, {"x": X}, {"alpha": k.POSITIVE}),
    "leaky_relu_inverse": Entry(ops.leaky_relu_inverse, {"z": X}, {"alpha": k.POSITIVE}),
    "smooth_leaky_relu": Entry(ops.smooth_leaky_relu, {"x": X}, {"alpha": k.POSITIVE}),
    "smooth_leaky_relu_inverse": Entry(
        ops.smooth_leaky_relu_inverse, {"z": X}, {"alpha": k.POSITIVE}
    ),
    "smooth_tanh": Entry(
        ops.smooth_tanh,
        {"x": X, "alpha": 1.0, "beta": 1.0},
        {"alpha": k.POSITIVE, "beta": k.POSITIVE},
    ),
    "smooth_tanh_inverse": Entry(
        ops.smooth_tanh_inverse,
        {"z": X, "alpha": 1.0, "beta": 1.0},
        {"alpha": k.POSITIVE, "beta": k.POSITIVE},
    ),
    "conv2d_log_det": Entry(ops.conv2d_log_det, {"kernel": KERNEL}, {"image_shape": IMAGE}),
    "conv2d_log_det_dense": Entry(
        ops.conv2d_log_det_dense, {"kernel": KERNEL}, {"image_shape": IMAGE}
    ),
    "conv2d_matrix": Entry(ops.conv2d_matrix, {"kernel": KERNEL}, {"image_shape": IMAGE}),
    "conv2d_trace": Entry(ops.conv2d_trace, {"kernel": KERNEL}, {"image_shape": IMAGE}),
    "multiplicity": Entry(
        ops.multiplicity,
        {"kernel_size": (3, 3), "image_size": (4, 4)},
        {"kernel_size": IMAGE, "image_size": IMAGE},
    ),
    "resize_kernel": Entry(ops.resize_kernel, {"kernel": KERNEL}, {"kernel_size": IMAGE}),
    "conv2d_norm_bound": Entry(ops.conv2d_norm_bound, {"kernel": KERNEL}, {"image_size": IMAGE}),
    "conv2d_operator_norm": Entry(
        ops.conv2d_operator_norm,
        {"kernel": KERNEL, "image_size": (4, 4), "p": 1.0, "q": 1.0},
        {"image_size": IMAGE, "p": ORDER, "q": ORDER},
    ),
    "conv2d_mixed_norm_bound": Entry(
        ops.conv2d_mixed_norm_bound,
        {"kernel": KERNEL, "image_size": (4, 4), "p": 1.0, "q": 1.0},
        {"image_size": IMAGE, "p": ORDER, "q": ORDER},
    ),
    "conv2d_singular_vector": Entry(
        ops.conv2d_singular_vector,
        {"kernel": KERNEL, "vector": tf.zeros((1, 4, 4, 1))},
        {"steps": k.SIZE},
    ),
    "operator_norm": Entry(ops.operator_norm, {"kernel": tf.eye(2)}, {"p": ORDER, "q": ORDER}),
    "operator_norm_bound": Entry(
        ops.operator_norm_bound, {"kernel": tf.eye(2)}, {"p": ORDER, "q": ORDER}
    ),
    "operator_norm_lower_bound": Entry(
        ops.operator_norm_lower_bound,
        {"kernel": tf.eye(2), "p": 2.0, "q": 2.0},
        {
            "p": ORDER,
            "q": ORDER,
            "restarts": k.SIZE,
            "max_steps": k.SIZE,
            "tolerance": k.AT_LEAST_0,
            "seed": k.SEED_OF_PERMUTATION,
        },
    ),
    "exponential_conv2d": Entry(
        ops.exponential_conv2d,
        {"x": tf.ones((1, 4, 4, 1)), "kernel": KERNEL},
        {"bound": (*k.POSITIVE, 11)},
    ),
    "exponential_terms": Entry(
        ops.exponential_terms, {"dtype": tf.float32}, {"bound": (*k.POSITIVE, 11)}
    ),
    "project_inverse": Entry(
        ops.project_inverse,
        {"inverse_kernel": tf.eye(2), "x": X, "y": X},
        {"damping": k.POSITIVE},
    ),
    "least_squares_inverse_kernel": Entry(
        ops.least_squares_inverse_kernel, {"kernel": KERNEL}, {"size": IMAGE}
    ),
    "krylov_log_det": Entry(
        ops.krylov_log_det, {"function": _half, "x": X, "probe": X}, {"products": k.SIZE}
    ),
    "lanczos_log_det": Entry(
        ops.lanczos_log_det, {"function": _half, "x": X, "probe": X}, {"steps": k.SIZE}
    ),
    "series_log_det": Entry(_series, {}, {"gradient": k.CHOICE}),
    "bits_per_dim": Entry(ops.bits_per_dim, {"nll": 1.0}, {"dims": k.SIZE}),
    "fixed_point": Entry(
        ops.fixed_point,
        {"function": _half, "start": X, "lipschitz": 0.5},
        {
            "lipschitz": (*k.AT_LEAST_0, 1, 1.5),
            "tolerance": tuple(v for v in k.POSITIVE if v is not None),
            "max_steps": k.SIZE,
        },
    ),
    "residual_inverse": Entry(
        ops.residual_inverse,
        {"function": _half, "z": X, "values": [], "lipschitz": 0.5},
        {
            "lipschitz": (*k.AT_LEAST_0, 1, 1.5),
            "tolerance": tuple(v for v in k.POSITIVE if v is not None),
            "max_steps": k.SIZE,
        },
    ),
    "power_method": Entry(
        ops.power_method,
        {"product": _half, "transposed": _half, "u": tf.ones(2), "v": tf.ones(2)},
        {"tolerance": k.AT_LEAST_0, "max_steps": k.SIZE},
    ),
    "swish": Entry(ops.swish, {"x": X, "slope": 1.0}, {"scale": k.NUMBER}),
    "spline_knots": _spline(ops.spline_knots, 3, None),
    "rational_quadratic_spline": _spline(ops.rational_quadratic_spline, 3, "x"),
    "rational_quadratic_spline_inverse": _spline(ops.rational_quadratic_spline_inverse, 3, "z"),
    "circular_spline": _spline(ops.circular_spline, 4, "x"),
    "circular_spline_inverse": _spline(ops.circular_spline_inverse, 4, "z"),
    "require_labels": Entry(ops.require_labels, {"labels": tf.constant([0])}, {"classes": k.SIZE}),
    "vector_norm": Entry(ops.vector_norm, {"x": X}, {"r": ORDER}),
    "dual_vector": Entry(ops.dual_vector, {"y": X}, {"r": ORDER}),
    "newton_krylov": Entry(
        ops.newton_krylov,
        {"function": _half, "z": X, "start": X, "inverse": _half},
        {"tolerance": tuple(v for v in k.POSITIVE if v is not None)},
    ),
    "flip_and_shift": Entry(
        data.flip_and_shift,
        {"images": tf.ones((1, 4, 4, 1)), "seed": (0, 1)},
        {"flip": k.FLAG, "shift": k.COUNT},
    ),
    "make_strategy": Entry(
        training.make_strategy,
        {},
        {
            "devices": (3, 2.5, "CPU:0", [3], [], ["x"], True, k.THING),
            "multi_worker": k.FLAG,
            "batch_size": tuple(v for v in k.SIZE if v is not None),
        },
    ),
    "row_seed": Entry(ops.row_seed, {}, {"seed": tuple(v for v in k.SEED if v is not None)}),
}

OPTIMIZERS = {
    "Adam": Entry(
        optimizers.Adam,
        {},
        {
            "learning_rate": k.AT_LEAST_0,
            "beta_1": (*k.AT_LEAST_0, 1, 1.5),
            "beta_2": (*k.AT_LEAST_0, 1, 1.5),
            "epsilon": k.POSITIVE,
            "amsgrad": k.FLAG,
            "weight_decay": (*k.OPTIONAL_NUMBER, -1),
            **dict.fromkeys(("clipnorm", "global_clipnorm", "clipvalue"), (*k.OPTIONAL_NUMBER, 0)),
        },
    )
}
