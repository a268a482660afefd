"""Invertible convolutions: the learned-inverse gradient of SNF section 4.2, and the dense matrix as
exact reference.

All convolutions are NHWC with HWIO kernels, stride 1, zero ("SAME") padding and odd kernel sizes,
so that `f(x) = T(kernel) x` for a square matrix T. Gradients that sum over batch and pixels are
computed in the weights' dtype: sums of scaled float16 cotangents would overflow.
"""

import numpy as np
import tensorflow as tf

from snf_tf._checks import check_image_shape
from snf_tf.ops.custom_gradient import custom_gradient
from snf_tf.ops.shared import shared_in_graphs


def conv2d(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Convolves NHWC `x` with the HWIO `kernel`: stride 1, zero padding to the same size."""
    return tf.nn.conv2d(x, kernel, strides=1, padding="SAME")


def affine_conv2d(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Computes `conv2d(x, kernel) + bias`, with the gradients that sum over batch and pixels in the
    weights' dtype.

    Args:
        x: `(batch, H, W, C)`, in the compute dtype, which is that of the convolution.
        kernel: `(kh, kw, C, C)`, in the weights' dtype.
        bias: `(C,)`.
    """

    @custom_gradient
    def apply(x, kernel, bias):
        k = tf.cast(kernel, x.dtype)

        def grad(dz):
            wide_dz = tf.cast(dz, kernel.dtype)
            d_kernel = conv2d_kernel_gradient(tf.cast(x, kernel.dtype), wide_dz, kernel.shape)
            return _conv2d_input_gradient(dz, k), d_kernel, tf.reduce_sum(wide_dz, axis=[0, 1, 2])

        return conv2d(x, k) + tf.cast(bias, x.dtype), grad

    return apply(x, tf.convert_to_tensor(kernel), tf.convert_to_tensor(bias))


def flip(kernel: tf.Tensor) -> tf.Tensor:
    """Returns the kernel of the transposed convolution, `T(flip(k)) = T(k)^T` (SNF Eq. 26).

    Input and output channels are swapped and both spatial axes mirrored.
    """
    return tf.transpose(tf.reverse(kernel, axis=[0, 1]), [0, 1, 3, 2])


def resize_kernel(kernel: tf.Tensor, kernel_size: tuple[int, int]) -> tf.Tensor:
    """Crops an HWIO kernel to its centre, or pads it with zeros around, to an odd size: P of SNF
    Eqs. 28-30, for each axis.
    """
    kernel_size = check_image_shape("kernel_size", kernel_size, 2)
    for axis, size in enumerate(kernel_size):
        change = (size - kernel.shape[axis]) // 2
        if change < 0:
            kernel = kernel[(slice(None),) * axis + (slice(-change, size - change),)]
        elif change > 0:
            kernel = tf.pad(kernel, [[change, change] if i == axis else [0, 0] for i in range(4)])
    return kernel


def multiplicity(kernel_size: tuple[int, int], image_size: tuple[int, int]) -> np.ndarray:
    """Counts how often each tap of a kernel occurs in the matrix T(kernel), the m of SNF Eqs.
    24-27.

    Correlating two images of ones (Eq. 27) gives, a tap at offset d from the centre of an axis of
    length n, max(n - |d|, 0).

    Returns:
        An array of shape `kernel_size + (1, 1)`; 0 for taps that never touch the image.
    """
    kernel_size = check_image_shape("kernel_size", kernel_size, 2)
    image_size = check_image_shape("image_size", image_size, 2)
    rows, columns = (
        np.maximum(n - np.abs(np.arange(k) - k // 2), 0)
        for k, n in zip(kernel_size, image_size, strict=True)
    )
    return np.outer(rows, columns)[:, :, None, None]


def self_normalizing_conv2d(
    x: tf.Tensor, kernel: tf.Tensor, inverse_kernel: tf.Tensor, bias: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Convolves with the learned-inverse gradient of the log-determinant (SNF Eqs. 15, 16; unequal
    kernel sizes Eqs. 28-30).

    As `snf_tf.ops.self_normalizing_matmul`, with convolutions for products and `m * flip(.)` for
    the transpose, where m is the `multiplicity` of the taps. The two kernels may differ in size:
    the smaller is then padded with zeros in the larger one's gradient, the larger cropped in the
    smaller one's. Six convolutions are done in all; nothing is computed twice.

    Args:
        x: `(batch, H, W, C)`, in the compute dtype; H, W and C known.
        kernel: `(kh, kw, C, C)` with odd kh and kw, in the weights' dtype.
        inverse_kernel: `(rh, rw, C, C)` with odd rh and rw, the learned inverse: `x ~ conv2d(z -
            bias, inverse_kernel)`.
        bias: `(C,)`.

    Returns:
        `(z, log_det, error)`: `(batch, H, W, C)` in the dtype of x; `(batch,)` zeros of which only
        the gradient means anything; and `(batch,)`, the squared reconstruction error summed over
        dimensions; the last two in the weights' dtype.
    """
    return _self_normalizing_conv2d(
        x,
        tf.convert_to_tensor(kernel),
        tf.convert_to_tensor(inverse_kernel),
        tf.convert_to_tensor(bias),
    )


@shared_in_graphs
@custom_gradient
def _self_normalizing_conv2d(x, kernel, inverse_kernel, bias):
    k, r = tf.cast(kernel, x.dtype), tf.cast(inverse_kernel, x.dtype)
    y = conv2d(x, k)
    e = conv2d(y, r) - x
    wide_e = tf.cast(e, kernel.dtype)
    error = tf.reduce_sum(tf.square(wide_e), axis=[1, 2, 3])

    def grad(dz, dl, de):
        dx = _conv2d_input_gradient(dz, k)
        wide_dz = tf.cast(dz, kernel.dtype)
        de = 2.0 * de[:, None, None, None]
        dy = 0.5 * wide_dz + de * tf.cast(_conv2d_input_gradient(e, r), kernel.dtype)
        dh = de * wide_e - 0.5 * tf.cast(dx, kernel.dtype)
        dl = 0.5 * tf.reduce_sum(dl)
        d_kernel = conv2d_kernel_gradient(tf.cast(x, kernel.dtype), dy, kernel.shape)
        d_inverse = conv2d_kernel_gradient(tf.cast(y, kernel.dtype), dh, inverse_kernel.shape)
        d_kernel += dl * _transposed_taps(inverse_kernel, kernel, x)
        d_inverse -= dl * _transposed_taps(kernel, inverse_kernel, x)
        return dx, d_kernel, d_inverse, tf.reduce_sum(wide_dz, axis=[0, 1, 2])

    return (y + tf.cast(bias, x.dtype), tf.zeros_like(error), error), grad


def _transposed_taps(kernel, like, x):
    """m * flip(kernel), in the size of the kernel `like` on the images x."""
    size = like.shape[0], like.shape[1]
    taps = tf.constant(multiplicity(size, (x.shape[1], x.shape[2])), kernel.dtype)
    return taps * flip(resize_kernel(kernel, size))


def _conv2d_input_gradient(dz, kernel):
    return tf.raw_ops.Conv2DBackpropInput(
        input_sizes=tf.shape(dz),
        filter=kernel,
        out_backprop=dz,
        strides=[1, 1, 1, 1],
        padding="SAME",
    )


def conv2d_kernel_gradient(x, dz, kernel_shape):
    return tf.raw_ops.Conv2DBackpropFilter(
        input=x, filter_sizes=kernel_shape, out_backprop=dz, strides=[1, 1, 1, 1], padding="SAME"
    )


def conv2d_matrix(kernel: tf.Tensor, image_shape: tuple[int, int, int]) -> tf.Tensor:
    """Builds the dense matrix M of a convolution on row vectors: `flatten(conv2d(x, kernel)) =
    flatten(x) @ M`.

    Taps are copied, not multiplied, so that no device rounds them.

    Args:
        kernel: `(kh, kw, C, C)`.
        image_shape: `(H, W, C)`.

    Returns:
        `(HWC, HWC)`, in the kernel's dtype. It costs O((HWC)^2) memory; log|det| and solves
        O((HWC)^3).
    """
    image_shape = check_image_shape("image_shape", image_shape)
    height, width, channels = image_shape
    # Taps of all offsets that occur; those of input pixel p in output pixel i are at p - i.
    taps = resize_kernel(kernel, (2 * height - 1, 2 * width - 1))
    rows, columns = (np.subtract.outer(np.arange(n), np.arange(n)) + n - 1 for n in (height, width))
    # Axis 0 last, or the gradient would be sparse.
    matrix = tf.gather(tf.gather(taps, columns, axis=1), rows, axis=0)
    size = height * width * channels
    return tf.reshape(tf.transpose(matrix, (0, 2, 4, 1, 3, 5)), (size, size))


def conv2d_log_det_dense(kernel: tf.Tensor, image_shape: tuple[int, int, int]) -> tf.Tensor:
    """Computes log|det| of a convolution on `(H, W, C)` images, exactly, by LU of the dense matrix.
    A scalar.
    """
    image_shape = check_image_shape("image_shape", image_shape)
    return tf.linalg.slogdet(conv2d_matrix(kernel, image_shape))[1]


def conv2d_solve_dense(z: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Solves `conv2d(x, kernel) = z` for x, exactly, by LU of the dense matrix; z and x are
    `(batch, H, W, C)`.
    """
    matrix = conv2d_matrix(kernel, tuple(z.shape[1:]))
    flat = tf.reshape(z, (-1, matrix.shape[0]))
    x = tf.linalg.solve(matrix, tf.transpose(flat), adjoint=True)
    return tf.reshape(tf.transpose(x), tf.shape(z))
