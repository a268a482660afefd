"""Dense linear maps and their gradients, of which two need no matrix inverse.

Gradients that sum over the batch are computed in the weights' dtype: sums of scaled float16
cotangents would overflow. `self_normalizing_matmul` is the fully connected layer of Self
Normalizing Flows (Keller et al., ICML 2021, "SNF"), section 4.1; `relative_gradient_matmul` is the
relative gradient of Gresele et al. (2020). Both work on row vectors, `z = x @ kernel + bias`, so
that `kernel` is the transpose of the papers' W and `inverse_kernel` the transpose of their R.
"""

import tensorflow as tf

from snf_tf.ops.custom_gradient import custom_gradient


def affine_matmul(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Computes `x @ kernel + bias`, with the gradients that sum over the batch in the weights'
    dtype.

    Args:
        x: `(batch, D)`, in the compute dtype, which is that of the product.
        kernel: `(D, D)`, in the weights' dtype.
        bias: `(D,)`.
    """

    @custom_gradient
    def apply(x, kernel, bias):
        k = tf.cast(kernel, x.dtype)

        def grad(dz):
            wide_dz = tf.cast(dz, kernel.dtype)
            d_kernel = tf.matmul(tf.cast(x, kernel.dtype), wide_dz, transpose_a=True)
            return tf.matmul(dz, k, transpose_b=True), d_kernel, tf.reduce_sum(wide_dz, axis=0)

        return tf.matmul(x, k) + tf.cast(bias, x.dtype), grad

    return apply(x, tf.convert_to_tensor(kernel), tf.convert_to_tensor(bias))


def self_normalizing_matmul(
    x: tf.Tensor, kernel: tf.Tensor, inverse_kernel: tf.Tensor, bias: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Computes `x @ kernel + bias` with the learned-inverse gradient of its log-determinant (SNF
    Eqs. 10, 11, 17, 20).

    With the incoming cotangents dz, dl and de of the three outputs, and `e = (x @ kernel) @
    inverse_kernel - x`, the gradients are linear in the cotangents::

        dx               = dz @ kernel^T
        d kernel         = 1/2 (x^T dz + sum(dl) inverse_kernel^T)
                           + x^T (2 de e @ inverse_kernel^T)
        d inverse_kernel = 1/2 (-y^T dx - sum(dl) kernel^T) + y^T (2 de e)
        d bias           = sum(dz),                  where y = x @ kernel

    The terms in de are the exact gradients of the reconstruction error, which sends none to x. Six
    products of shape (batch, D, D) are done in all: y, y @ inverse_kernel, e @ inverse_kernel^T,
    dx, and one for each kernel.

    Args:
        x: `(batch, D)`, in the compute dtype.
        kernel: `(D, D)`, in the weights' dtype; the products with x are done in the dtype of x.
        inverse_kernel: `(D, D)`, the learned inverse: `x ~ (z - bias) @ inverse_kernel`.
        bias: `(D,)`.

    Returns:
        `(z, log_det, error)`. z is `(batch, D)` in the dtype of x. log_det is `(batch,)` in the
        weights' dtype: its value is 0, since log|det kernel| is never computed, and only its
        gradient means anything. error is `(batch,)` in the weights' dtype, the squared
        reconstruction error summed over dimensions.
    """

    @custom_gradient
    def apply(x, kernel, inverse_kernel, bias):
        k, r = tf.cast(kernel, x.dtype), tf.cast(inverse_kernel, x.dtype)
        y = tf.matmul(x, k)
        e = tf.matmul(y, r) - x
        wide_e = tf.cast(e, kernel.dtype)
        error = tf.reduce_sum(tf.square(wide_e), axis=1)

        def grad(dz, dl, de):
            dx = tf.matmul(dz, k, transpose_b=True)
            wide_dz = tf.cast(dz, kernel.dtype)
            de = 2.0 * de[:, None]
            dy = 0.5 * wide_dz + de * tf.cast(tf.matmul(e, r, transpose_b=True), kernel.dtype)
            dh = de * wide_e - 0.5 * tf.cast(dx, kernel.dtype)
            dl = 0.5 * tf.reduce_sum(dl)
            d_kernel = tf.matmul(
                tf.cast(x, kernel.dtype), dy, transpose_a=True
            ) + dl * tf.transpose(inverse_kernel)
            d_inverse = tf.matmul(
                tf.cast(y, kernel.dtype), dh, transpose_a=True
            ) - dl * tf.transpose(kernel)
            return dx, d_kernel, d_inverse, tf.reduce_sum(wide_dz, axis=0)

        return (y + tf.cast(bias, x.dtype), tf.zeros_like(error), error), grad

    return apply(
        x,
        tf.convert_to_tensor(kernel),
        tf.convert_to_tensor(inverse_kernel),
        tf.convert_to_tensor(bias),
    )


def relative_gradient_matmul(
    x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes `x @ kernel + bias` with the relative gradient of the kernel (Gresele et al. 2020,
    section 4).

    The relative gradient is the exact gradient times W^T W from the right, in the paper's layout `z
    = W x`. Transposed into ours, `kernel = W^T`, it is `kernel @ kernel^T @ dK`. The exact gradient
    is `dK = x^T dz + sum(dl) kernel^-T`, hence::

        kernel kernel^T dK = (y kernel^T)^T dz + sum(dl) kernel,        y = x @ kernel

    where the inverse has cancelled. Gradients of x and bias are the exact ones. Four products of
    shape (batch, D, D).

    Args:
        x: `(batch, D)`, in the compute dtype.
        kernel: `(D, D)`, in the weights' dtype.
        bias: `(D,)`.

    Returns:
        `(z, log_det)`: `(batch, D)` in the dtype of x, and `(batch,)` in the weights' dtype, whose
        value is 0 (log|det kernel| is never computed) and of which only the gradient means
        anything.
    """

    @custom_gradient
    def apply(x, kernel, bias):
        k = tf.cast(kernel, x.dtype)
        y = tf.matmul(x, k)

        def grad(dz, dl):
            wide_dz = tf.cast(dz, kernel.dtype)
            u = tf.cast(tf.matmul(y, k, transpose_b=True), kernel.dtype)
            d_kernel = tf.matmul(u, wide_dz, transpose_a=True) + tf.reduce_sum(dl) * kernel
            return tf.matmul(dz, k, transpose_b=True), d_kernel, tf.reduce_sum(wide_dz, axis=0)

        return (y + tf.cast(bias, x.dtype), tf.zeros(tf.shape(x)[:1], kernel.dtype)), grad

    return apply(x, tf.convert_to_tensor(kernel), tf.convert_to_tensor(bias))
