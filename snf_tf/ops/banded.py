"""Log-determinants and solves of convolutions without their dense matrix, by block cyclic
reduction.

All is computed in float64, whatever the dtype of the arguments. Elimination without pivoting beyond
a block loses digits, of which float32 has none to spare; nor do devices round products of float64.
Every result is checked. Where a check fails, the dense matrix is factored instead; what fails even
then is NaN.
"""

import numpy as np
import tensorflow as tf

from snf_tf._checks import check_image_shape
from snf_tf.ops.block_tridiagonal import factor
from snf_tf.ops.conv import conv2d, conv2d_kernel_gradient, conv2d_matrix, flip
from snf_tf.ops.conv_blocks import log_det_and_solution
from snf_tf.ops.custom_gradient import custom_gradient
from snf_tf.ops.shared import shared_in_graphs

# Largest residual of a solution, in units of what it is the difference of: 100 rounding errors.
_LARGEST_RESIDUAL = 100 * np.finfo(np.float64).eps
# Largest defect of a gradient, in units of the norms of gradient and kernel.
_LARGEST_DEFECT = 1e-11


def conv2d_log_det(
    kernel: tf.Tensor, image_shape: tuple[int, int, int], with_gradient: bool = True
) -> tf.Tensor:
    """Computes log|det| of a convolution on `(H, W, C)` images, exactly. A scalar.

    It is -inf for a singular kernel, and NaN where no factorization passes its check.

    Args:
        kernel: `(kh, kw, C, C)`, kh and kw odd.
        image_shape: `(H, W, C)`.
        with_gradient: Whether a graph computes the gradient together with the value. False is
            faster to trace, and to compute where no gradient is asked for; a gradient that is
            factorizes the matrix once more.

    Raises:
        tf.errors.InvalidArgumentError: When the gradient of a singular kernel is computed.
    """
    image_shape = check_image_shape("image_shape", image_shape)
    height, width, channels = image_shape
    image_shape = (height, width, channels)

    @custom_gradient
    def apply(kernel):
        gradient = None
        if tf.executing_eagerly():
            log_det, _ = _log_det_and_gradient(kernel, image_shape, with_gradient=False)
        elif with_gradient:
            # TensorFlow drops what computes the gradient, if nothing needs it.
            log_det, gradient = _log_det_and_gradient_in_graph(kernel, image_shape)
        else:
            log_det = _log_det_in_graph(kernel, image_shape)

        def grad(upstream):
            found = _log_det_gradient(kernel, image_shape) if gradient is None else gradient
            return upstream * found + 0.0 * _require_regular(log_det)

        return log_det, grad

    kernel = tf.convert_to_tensor(kernel)
    return tf.cast(apply(tf.cast(kernel, tf.float64)), kernel.dtype)


def conv2d_exact_log_det_gradient(
    kernel: tf.Tensor, image_shape: tuple[int, int, int]
) -> tf.Tensor:
    """The gradient of `conv2d_log_det` with respect to the kernel, where the value is not needed:
    `(kh, kw, C, C)`.
    """
    kernel = tf.convert_to_tensor(kernel)
    return tf.cast(_log_det_gradient(tf.cast(kernel, tf.float64), tuple(image_shape)), kernel.dtype)


@shared_in_graphs
def _log_det_gradient(kernel, image_shape):
    return _log_det_and_gradient(kernel, image_shape)[1]


def _log_det_and_gradient(kernel, image_shape, with_gradient=True):
    height, width, channels = image_shape
    if tuple(kernel.shape[:2]) == (1, 1):
        nothing = tf.zeros((channels, 0), kernel.dtype)
        return _value_and_gradient(
            lambda k: height * width * factor(k[0, 0], nothing)[0], kernel, with_gradient
        )
    probe = tf.constant(np.random.RandomState(0).standard_normal((1, *image_shape)))
    # Without conditions, that the gradient may share what the value has computed.
    (log_det, x), gradient = _value_and_gradient(
        lambda k: log_det_and_solution(probe, k), kernel, with_gradient
    )
    solved = tf.reduce_all(_solves(x, probe, kernel))

    def dense():
        (log_det, x), gradient = _value_and_gradient(
            lambda k: _log_det_and_solution_dense(probe, k), kernel, with_gradient
        )
        solved = tf.reduce_all(_solves(x, probe, kernel))
        # -inf is the right one of a singular matrix, which has no gradient.
        checked = tf.where(solved | ~tf.math.is_finite(log_det), log_det, np.nan)
        return checked, tf.where(solved, gradient, np.nan) if with_gradient else None

    log_det = tf.cond(solved, lambda: log_det, lambda: dense()[0])
    if not with_gradient:
        return log_det, None
    good = solved & _is_gradient(gradient, kernel, image_shape)
    return log_det, tf.cond(good, lambda: gradient, lambda: dense()[1])


# One function of a graph for all layers of one shape, which are many; in eager code tracing would
# take longer than it saves.
_log_det_and_gradient_in_graph = tf.function(_log_det_and_gradient, autograph=False)
_log_det_in_graph = tf.function(
    lambda kernel, shape: _log_det_and_gradient(kernel, shape, False)[0], autograph=False
)


def _value_and_gradient(function, kernel, with_gradient):
    """The values of a function, and the gradient of the first, if it is wanted."""
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        values = function(kernel)
    first = values[0] if isinstance(values, tuple) else values
    return values, tape.gradient(first, kernel) if with_gradient else None


def _is_gradient(gradient, kernel, image_shape):
    """Whether a gradient G of log|det T(K)| has the products with K that it must have.

    A 1x1 convolution by A, after or before, adds H W log|det A|. Weights e^(s p) of the image's
    rows p before, and their inverse after, add nothing; nor do those of columns. The derivatives at
    A = I and s = 0 are products of G and K.
    """
    height, width, channels = image_shape
    known = tf.eye(channels, dtype=kernel.dtype) * (height * width)
    of_taps = tf.reduce_sum(kernel * gradient, axis=[2, 3])
    offsets = [tf.range(n, dtype=kernel.dtype) - n // 2 for n in of_taps.shape]
    defects = [
        tf.einsum("hwio,hwij->oj", kernel, gradient) - known,
        tf.einsum("hwio,hwjo->ij", kernel, gradient) - known,
        offsets[0] * tf.reduce_sum(of_taps, axis=1),
        offsets[1] * tf.reduce_sum(of_taps, axis=0),
    ]
    sizes = [tf.norm(defect) for defect in defects[:2]]
    sizes += [tf.abs(tf.reduce_sum(defect)) for defect in defects[2:]]
    return tf.reduce_max(sizes) <= _LARGEST_DEFECT * tf.norm(kernel) * tf.norm(gradient)


def conv2d_solve(z: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Solves `conv2d(x, kernel) = z` for x, exactly; z and x are `(batch, H, W, C)`.

    Rows for which no solution passes its check are NaN.

    Raises:
        tf.errors.InvalidArgumentError: If the kernel is singular.
    """
    kernel = tf.convert_to_tensor(kernel)
    solve = _solution if tf.executing_eagerly() else _solution_in_graph
    return tf.cast(solve(tf.cast(z, tf.float64), tf.cast(kernel, tf.float64)), kernel.dtype)


def _solution(z, kernel):
    if tuple(kernel.shape[:2]) == (1, 1):
        pixels = tf.transpose(tf.reshape(z, (-1, z.shape[3])))
        log_det, x = factor(tf.transpose(kernel[0, 0]), pixels)
        return tf.reshape(tf.transpose(x), tf.shape(z)) + 0.0 * _require_regular(log_det)

    @custom_gradient
    def apply(z, kernel):
        _, solution = log_det_and_solution(z, kernel)

        def dense():
            log_det, x = _log_det_and_solution_dense(z, kernel)
            return tf.where(_solves(x, z, kernel), x, np.nan) + 0.0 * _require_regular(log_det)

        solved = tf.reduce_all(_solves(solution, z, kernel))
        x = tf.cond(solved, lambda: solution, dense)

        def grad(dx):
            dz = conv2d_solve(dx, flip(kernel))
            return dz, -conv2d_kernel_gradient(x, dz, kernel.shape)

        return x, grad

    return apply(z, kernel)


_solution_in_graph = tf.function(_solution, autograph=False)


def _solves(x, z, kernel):
    """Whether the residuals of x are of the size of rounding errors, `(batch, 1, 1, 1)`; not so, if
    anything is not finite.
    """

    def largest(images):
        return tf.reduce_max(tf.abs(images), axis=[1, 2, 3], keepdims=True)

    norm = tf.reduce_max(tf.reduce_sum(tf.abs(kernel), axis=[0, 1, 2]))
    return largest(conv2d(x, kernel) - z) <= _LARGEST_RESIDUAL * (norm * largest(x) + largest(z))


def _require_regular(log_det):
    return tf.debugging.check_numerics(
        log_det,
        "The log-determinant of a kernel is not finite: the kernel is singular, or not finite "
        "itself. A lower learning rate or clipped gradients may help",
    )


def _log_det_and_solution_dense(z, kernel):
    matrix = tf.transpose(conv2d_matrix(kernel, tuple(z.shape[1:])))
    log_det, x = factor(matrix, tf.transpose(tf.reshape(z, (-1, matrix.shape[0]))))
    return log_det, tf.reshape(tf.transpose(x), tf.shape(z))
