"""log|det(I + J)| of x + g(x) from a Krylov space of products with the Jacobian J of g.

m products span the space of `v, J^T v, ..., (J^T)^m v` (Arnoldi). In this space the gradient needs
the solution of `(I + J)^T w = v` of least residual (GMRES, Saad and Schultz 1986), and the value is
a quadrature of the m x m matrix of J. Nothing is random but the probe v.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from snf_tf.ops.jacobian_products import RESIDUAL, Products, Terms, inner

# Nodes of the quadrature; with 16 its error is below that of the Krylov space.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


class KrylovEstimate(NamedTuple):
    """What a Krylov space of a probe knows about log|det(I + J)|.

    Attributes:
        value: An estimate of v^T log(I + J) v, `(batch,)`, whose gradient is w^T dJ v.
        steps: m, the number of products.
        residual: |v - (I + J)^T w| / |v|, `(batch,)`, without a gradient; of several terms the
            largest.
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
    if not (isinstance(products, int) and products >= 1):
        raise ValueError(f"products must be an integer of at least 1. Received: {products!r}")
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
    value *= tf.cast(length, value.dtype) ** 2
    weights *= tf.cast(length, weights.dtype)[:, None]
    bracket = sum(_rows(weights[:, k], probe) * basis[k] for k in range(products))
    value = jacobian.with_gradient(tf.cast(value, dtype), bracket, probe)
    residual = tf.reduce_max(tf.stack(residuals), axis=0)
    return KrylovEstimate(value, products, tf.cast(tf.stop_gradient(residual), dtype))


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
    nodes = tf.constant(0.5 * (_NODES + 1.0), matrix.dtype)[:, None, None]
    systems = tf.eye(matrix.shape[-1], dtype=matrix.dtype) + nodes * matrix[:, None]
    first = tf.broadcast_to(matrix[:, None, :, :1], tf.shape(systems[..., :1]))
    # H commutes with the inverse.
    values = tf.linalg.solve(systems, first)[:, :, 0, 0]
    return tf.reduce_sum(0.5 * tf.constant(_WEIGHTS, matrix.dtype) * values, axis=1)


def _least_residual(hessenberg):
    """Minimises |e_1 - (I + H) y|: y, `(batch, m)`, and the least norm, `(batch,)`."""
    rows, columns = hessenberg.shape[1:]
    matrix = hessenberg + tf.eye(rows, columns, dtype=hessenberg.dtype)
    target = tf.broadcast_to(tf.eye(rows, 1, dtype=matrix.dtype), [tf.shape(matrix)[0], rows, 1])
    y = tf.linalg.lstsq(matrix, target, fast=True)
    rest = target - tf.matmul(matrix, y)
    return y[..., 0], tf.norm(rest[..., 0], axis=1)


def _rows(numbers, like):
    """Reshapes `(batch,)` to multiply the examples of a tensor."""
    return tf.reshape(tf.cast(numbers, like.dtype), [-1] + [1] * (like.shape.rank - 1))
