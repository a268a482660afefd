"""log|det(I + J)| of x + g(x) from a Krylov space of products with the Jacobian J of g.

m products span the space of `v, J^T v, ..., (J^T)^m v` (Arnoldi). In this space the gradient needs
the solution of `(I + J)^T w = v` of least residual (GMRES, Saad and Schultz 1986), and the value is
a quadrature of the m x m matrix of J. Nothing is random but the probe v.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from snf_tf._checks import check_integer
from snf_tf.ops.jacobian_products import RESIDUAL, Products, Terms, forward_product, inner

# Nodes of the quadrature: with 32 its error is below 1e-7 for a spectral radius of 0.98.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)


class KrylovEstimate(NamedTuple):
    """What a Krylov space of a probe knows about log|det(I + J)|.

    Attributes:
        value: An estimate of v^T log(I + J) v, `(batch,)`, whose gradient is w^T dJ v.
        steps: m, the number of products.
        residual: A bound of |v - (I + J)^T w| / |v|, `(batch,)`, without a gradient: that of GMRES,
            after which w gets one step more. Of several terms the largest.
    """

    value: tf.Tensor
    steps: int
    residual: tf.Tensor


def krylov_log_det(
    function: Callable[[tf.Tensor], tf.Tensor],
    x: tf.Tensor,
    probe: tf.Tensor,
    products: int,
    inverse: Callable[[tf.Tensor], tf.Tensor] | None = None,
    dtype: tf.DType | None = None,
    terms: Terms = RESIDUAL,
) -> KrylovEstimate:
    """Estimates log|det(I + J)| by a Krylov space; the twin of `snf_tf.ops.series_log_det`.

    Args:
        function: Maps x to g(x), of the same shape.
        x: `(batch,) + event_shape`.
        probe: v, of the shape of x.
        products: m, products with J; memory holds m + 1 tensors of the size of x.
        inverse: As in `series_log_det`.
        dtype: Of the value; by default that of x.
        terms: As in `snf_tf.ops.brute_force_log_det`.

    Returns:
        The `KrylovEstimate`, linear in every example's cotangent.

    Raises:
        ValueError: If products is not positive, or the function changes the shape.

    Example:
        >>> x = probe = tf.ones((1, 2))
        >>> found = snf_tf.ops.krylov_log_det(lambda x: 0.5 * x, x, probe, products=1)
        >>> bool(abs(found.value[0] - 2 * np.log(1.5)) < 1e-6), float(found.residual[0])
        (True, 0.0)
    """
    check_integer("products", products, 1)
    x = tf.convert_to_tensor(x)
    dtype = dtype or x.dtype
    jacobian = Products(function, x, inverse)
    probe = tf.cast(probe, x.dtype)
    length, basis, hessenberg = _arnoldi(jacobian.power_step, probe, products, dtype)
    value, weights, residuals = 0.0, 0.0, []
    for factor, sign in terms:
        value += factor * _logarithm(sign * hessenberg[:, :products])
        solution, residual = _least_residual(sign * hessenberg)
        weights += factor * sign * solution
        residuals.append(residual)
    length = tf.cast(length, tf.float64)
    value *= length**2
    weights *= length[:, None]
    bracket = sum(_rows(weights[:, k], probe) * vector for k, vector in enumerate(basis))
    value = jacobian.with_gradient(tf.cast(value, dtype), bracket, probe)
    residual = tf.reduce_max(tf.stack(residuals), axis=0)
    return KrylovEstimate(value, products, tf.cast(tf.stop_gradient(residual), dtype))


def lanczos_log_det(
    function: Callable[[tf.Tensor], tf.Tensor],
    x: tf.Tensor,
    probe: tf.Tensor,
    steps: int,
    dtype: tf.DType | None = None,
) -> tf.Tensor:
    """Estimates log|det J| of any map as `1/2 v^T log(J^T J) v`, by Lanczos' quadrature.

    Its expectation over probes errs by the quadrature alone, which falls with the steps, and grows
    with the ratio of the singular values of J (Ubaru, Chen and Saad 2017).

    Args:
        function: Maps x to z, of the same shape.
        x: `(batch,) + event_shape`.
        probe: v, of the shape of x.
        steps: Products with J and with J^T; memory holds as many tensors of the size of x.
        dtype: Of the value; by default that of x.

    Returns:
        `(batch,)`, without a gradient.

    Example:
        >>> x = probe = tf.ones((1, 2))
        >>> found = snf_tf.ops.lanczos_log_det(lambda x: 3.0 * x, x, probe, steps=2)
        >>> bool(abs(found[0] - 2 * np.log(3.0)) < 1e-6)
        True
    """
    check_integer("steps", steps, 1)
    x = tf.convert_to_tensor(x)
    dtype = dtype or x.dtype
    jacobian = Products(function, x)

    def product(w):
        return tf.stop_gradient(jacobian.transposed(forward_product(function, x, w)))

    length, _, hessenberg = _arnoldi(product, tf.cast(probe, x.dtype), steps, dtype)
    square = hessenberg[:, :steps]
    # Beyond a closed space H is 0 but for rounding errors: these directions have no share.
    values, vectors = tf.linalg.eigh(0.5 * (square + tf.linalg.matrix_transpose(square)))
    shares = tf.square(vectors[:, 0])
    # Rounding errors of the products must not make a value of 0, or below, of a small one.
    rounding = np.finfo(tf.as_dtype(x.dtype).as_numpy_dtype).eps
    floor = rounding * tf.reduce_max(values, axis=1, keepdims=True)
    logs = tf.where(shares > 1e-14, tf.math.log(tf.maximum(values, floor)), 0.0)
    value = 0.5 * tf.reduce_sum(shares * logs, axis=1)
    return tf.stop_gradient(tf.cast(value * tf.cast(length, tf.float64) ** 2, dtype))


def _arnoldi(product, start, steps, dtype):
    """Builds an orthonormal basis, and H with `product(basis[:m]) = basis @ H`, `(batch, m+1, m)`.

    Once the space is closed, further vectors are zero.
    """
    wide = tf.cast(start, dtype)
    length = tf.sqrt(inner(wide, wide, dtype))
    basis = [_rows(tf.math.divide_no_nan(1.0, length), start) * start]
    columns = []
    smallest = 100.0 * np.finfo(tf.as_dtype(start.dtype).as_numpy_dtype).eps
    for step in range(steps):
        image = product(basis[step])
        size = tf.sqrt(inner(image, image, dtype))
        column = [tf.zeros_like(length)] * (steps + 1)
        # Twice, or the basis of float32 would not stay orthogonal.
        for _ in range(2):
            for k, vector in enumerate(basis):
                overlap = inner(vector, image, dtype)
                column[k] += overlap
                image -= _rows(overlap, image) * vector
        rest = tf.sqrt(inner(image, image, dtype))
        rest = tf.where(rest > smallest * size, rest, 0.0)
        column[step + 1] = rest
        basis.append(_rows(tf.math.divide_no_nan(1.0, rest), image) * image)
        columns.append(tf.stack(column, axis=1))
    return length, basis, tf.cast(tf.stack(columns, axis=2), tf.float64)


def _logarithm(matrix):
    """Computes e_1^T log(I + H) e_1 of `(batch, m, m)`, as an integral over t of H (I + t H)^-1."""
    size = matrix.shape[-1]
    nodes = tf.constant(0.5 * (_NODES + 1.0), matrix.dtype)[:, None]
    # H commutes with the inverse: the first number of the solution of (I + t H) x = H e_1.
    x = tf.broadcast_to(matrix[:, None, :, 0], [tf.shape(matrix)[0], len(_NODES), size])
    columns = [
        tf.one_hot(k, size, dtype=matrix.dtype) + nodes * matrix[:, None, :, k] for k in range(size)
    ]
    # Of a Hessenberg matrix row k touches column k - 1 alone, once later columns are eliminated.
    # The symmetric part of I + t H is positive: no pivot is small.
    for k in range(size - 1, 0, -1):
        ratio = columns[k][..., :k] / columns[k][..., k : k + 1]
        x = x[..., :k] - ratio * x[..., k : k + 1]
        columns[k - 1] = columns[k - 1][..., :k] - ratio * columns[k - 1][..., k : k + 1]
    values = x[..., 0] / columns[0][..., 0]
    return tf.reduce_sum(0.5 * tf.constant(_WEIGHTS, matrix.dtype) * values, axis=1)


def _least_residual(hessenberg):
    """Minimises |e_1 - (I + H) y| by rotations.

    Returns:
        `(y + residual, norm)`, `(batch, m + 1)` and the norm of the residual, `(batch,)`.
    """
    count = hessenberg.shape[2]
    matrix = hessenberg + tf.eye(count + 1, count, dtype=hessenberg.dtype)
    triangle, target = [], []
    row, rest = matrix[:, 0], tf.ones_like(matrix[:, 0, 0])
    for k in range(count):
        below = matrix[:, k + 1]
        length = tf.sqrt(tf.square(row[:, k]) + tf.square(below[:, k]))
        cosine, sine = row[:, k] / length, below[:, k] / length
        triangle.append(cosine[:, None] * row + sine[:, None] * below)
        row = cosine[:, None] * below - sine[:, None] * row
        target.append(cosine * rest)
        rest = -sine * rest
    y = tf.zeros_like(matrix[:, :0, 0])
    for k in reversed(range(count)):
        known = tf.reduce_sum(triangle[k][:, k + 1 :] * y, axis=1)
        y = tf.concat([((target[k] - known) / triangle[k][:, k])[:, None], y], axis=1)
    # The residual itself, in the basis, is one more step without a product: of (I + J)^T the error
    # shrinks by J.
    residual = -tf.linalg.matvec(matrix, y) + tf.one_hot(0, count + 1, dtype=matrix.dtype)
    return tf.pad(y, [[0, 0], [0, 1]]) + residual, tf.abs(rest)


def _rows(numbers, like):
    """Reshapes `(batch,)` to multiply the examples of a tensor."""
    return tf.reshape(tf.cast(numbers, like.dtype), [-1] + [1] * (like.shape.rank - 1))
