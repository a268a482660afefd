"""Mathematics: pure functions of tensors, without Keras and without state."""

from snf_tf.ops.activations import (
    leaky_relu,
    leaky_relu_inverse,
    smooth_leaky_relu,
    smooth_leaky_relu_inverse,
    smooth_tanh,
    smooth_tanh_inverse,
)
from snf_tf.ops.banded import conv2d_exact_log_det_gradient, conv2d_log_det, conv2d_solve
from snf_tf.ops.brute_force import brute_force_log_det
from snf_tf.ops.checks import finite_or_stop, require, require_labels
from snf_tf.ops.conv import (
    affine_conv2d,
    conv2d,
    conv2d_log_det_dense,
    conv2d_matrix,
    conv2d_solve_dense,
    flip,
    multiplicity,
    resize_kernel,
    self_normalizing_conv2d,
)
from snf_tf.ops.conv_norms import (
    aol_conv2d_kernel,
    conv2d_mixed_norm_bound,
    conv2d_norm_bound,
    conv2d_operator_norm,
)
from snf_tf.ops.dense import affine_matmul, relative_gradient_matmul, self_normalizing_matmul
from snf_tf.ops.early_gradients import early_gradients
from snf_tf.ops.exponential import (
    conv2d_norm,
    conv2d_singular_vector,
    conv2d_trace,
    exponential_conv2d,
    exponential_terms,
)
from snf_tf.ops.fixed_point import (
    FixedPoint,
    fixed_point,
)
from snf_tf.ops.inverse_kernels import (
    angle,
    conv2d_log_det_gradient,
    inverse_residual,
    least_squares_inverse_kernel,
    log_det_by_gradient,
    newton_schulz_inverse,
    project_inverse,
    unit_rows,
)
from snf_tf.ops.jacobian_products import MONOTONE, RESIDUAL, forward_product, inner
from snf_tf.ops.krylov import KrylovEstimate, krylov_log_det, lanczos_log_det
from snf_tf.ops.learned_pair import (
    LearnedPair,
    beside,
    inverse_log_det,
    jacobian_error,
    learned_pair,
    pair_inverse,
)
from snf_tf.ops.likelihood import batch_mean, bits_per_dim, standard_normal_log_prob
from snf_tf.ops.log_abs_det import log_abs_det
from snf_tf.ops.log_det_series import power_series, series_log_det, series_weights
from snf_tf.ops.logistic_mixture import logistic_mixture, logistic_mixture_inverse
from snf_tf.ops.monotone import monotone_inverse
from snf_tf.ops.newton_krylov import Root, newton_krylov
from snf_tf.ops.norms import (
    aol_dense_kernel,
    check_orders,
    has_closed_form,
    operator_norm,
    operator_norm_bound,
    operator_norm_lower_bound,
)
from snf_tf.ops.portable import portable_graphs
from snf_tf.ops.power_method import (
    PowerMethod,
    dual_order,
    dual_vector,
    power_method,
    vector_norm,
)
from snf_tf.ops.precision import precise_conv2d, precise_matmul
from snf_tf.ops.random import (
    fold_in,
    normal_rows,
    rademacher_rows,
    row_seed,
    uniform_rows,
)
from snf_tf.ops.refinement import Solution, refined_conv2d_solve, refined_matmul_solve
from snf_tf.ops.replicas import global_batch_mean, replica_rows, replica_sum, scale_gradient
from snf_tf.ops.residual import residual_inverse
from snf_tf.ops.spline import (
    circular_spline,
    circular_spline_inverse,
    rational_quadratic_spline,
    rational_quadratic_spline_inverse,
    spline_knots,
)
from snf_tf.ops.swish import swish
from snf_tf.ops.triangular import TriangularFixedPoint, triangular_fixed_point

__all__ = [
    "MONOTONE",
    "RESIDUAL",
    "FixedPoint",
    "KrylovEstimate",
    "LearnedPair",
    "PowerMethod",
    "Root",
    "Solution",
    "TriangularFixedPoint",
    "affine_conv2d",
    "affine_matmul",
    "angle",
    "aol_conv2d_kernel",
    "aol_dense_kernel",
    "batch_mean",
    "beside",
    "bits_per_dim",
    "brute_force_log_det",
    "check_orders",
    "circular_spline",
    "circular_spline_inverse",
    "conv2d",
    "conv2d_exact_log_det_gradient",
    "conv2d_log_det",
    "conv2d_log_det_dense",
    "conv2d_log_det_gradient",
    "conv2d_matrix",
    "conv2d_mixed_norm_bound",
    "conv2d_norm",
    "conv2d_norm_bound",
    "conv2d_operator_norm",
    "conv2d_singular_vector",
    "conv2d_solve",
    "conv2d_solve_dense",
    "conv2d_trace",
    "dual_order",
    "dual_vector",
    "early_gradients",
    "exponential_conv2d",
    "exponential_terms",
    "finite_or_stop",
    "fixed_point",
    "flip",
    "fold_in",
    "forward_product",
    "global_batch_mean",
    "has_closed_form",
    "inner",
    "inverse_log_det",
    "inverse_residual",
    "jacobian_error",
    "krylov_log_det",
    "lanczos_log_det",
    "leaky_relu",
    "leaky_relu_inverse",
    "learned_pair",
    "least_squares_inverse_kernel",
    "log_abs_det",
    "log_det_by_gradient",
    "logistic_mixture",
    "logistic_mixture_inverse",
    "monotone_inverse",
    "multiplicity",
    "newton_krylov",
    "newton_schulz_inverse",
    "normal_rows",
    "operator_norm",
    "operator_norm_bound",
    "operator_norm_lower_bound",
    "pair_inverse",
    "portable_graphs",
    "power_method",
    "power_series",
    "precise_conv2d",
    "precise_matmul",
    "project_inverse",
    "rademacher_rows",
    "rational_quadratic_spline",
    "rational_quadratic_spline_inverse",
    "refined_conv2d_solve",
    "refined_matmul_solve",
    "relative_gradient_matmul",
    "replica_rows",
    "replica_sum",
    "require",
    "require_labels",
    "residual_inverse",
    "resize_kernel",
    "row_seed",
    "scale_gradient",
    "self_normalizing_conv2d",
    "self_normalizing_matmul",
    "series_log_det",
    "series_weights",
    "smooth_leaky_relu",
    "smooth_leaky_relu_inverse",
    "smooth_tanh",
    "smooth_tanh_inverse",
    "spline_knots",
    "standard_normal_log_prob",
    "swish",
    "triangular_fixed_point",
    "uniform_rows",
    "unit_rows",
    "vector_norm",
]
