"""Parameterizations of the kernels of 1 x 1 convolutions: plain, PLU, Householder reflections."""

from collections.abc import Mapping

import keras
import numpy as np
import scipy.linalg
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import check_integer
from snf_tf.layers.options import Option


class Parameterization(Option):
    """A way to compute a kernel `(1, 1, C, C)` from weights.

    Attributes:
        needs_lu: Whether log|det| needs an LU factorization, for which XLA has no kernel.
        is_orthogonal: Whether the inverse is the transpose.
        not_trained: Names of weights that are not trained.
    """

    needs_lu = False
    is_orthogonal = False
    not_trained: tuple[str, ...] = ()

    def initial_weights(self, kernel: np.ndarray) -> dict[str, np.ndarray]:
        """Computes the weights, by name, that give an initial kernel.

        Raises:
            ValueError: If the kernel is singular.
        """
        raise NotImplementedError

    def kernel(self, weights: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Computes the kernel, `(1, 1, C, C)`."""
        raise NotImplementedError

    def log_det(self, weights: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Computes log|det| of the kernel's matrix, a scalar."""
        raise NotImplementedError


@keras.saving.register_keras_serializable("snf_tf")
class Plain(Parameterization):
    """The kernel is the weight.

    Example:
        >>> layer = snf_tf.layers.InvertibleConv1x1(snf_tf.layers.Plain())
        >>> layer.build((None, 4, 4, 3))
        >>> [weight.name for weight in layer.weights]
        ['kernel']
    """

    needs_lu = True

    def initial_weights(self, kernel: np.ndarray) -> dict[str, np.ndarray]:
        return {"kernel": kernel}

    def kernel(self, weights: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return weights["kernel"]

    def log_det(self, weights: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return ops.log_abs_det(weights["kernel"][0, 0])


@keras.saving.register_keras_serializable("snf_tf")
class PLU(Parameterization):
    """`kernel = P L (U + diag(s))` (Kingma and Dhariwal 2018, section 3.2).

    P is a fixed permutation, L unit lower and U strictly upper triangular, and
    `s = sign * exp(log_scale)` of fixed signs; log|det| is `sum(log_scale)`.

    Example:
        >>> layer = snf_tf.layers.InvertibleConv1x1(snf_tf.layers.PLU())
        >>> layer.build((None, 4, 4, 3))
        >>> tuple(layer.log_scale.shape)
        (3,)
    """

    not_trained = ("permutation", "sign")

    def initial_weights(self, kernel: np.ndarray) -> dict[str, np.ndarray]:
        permutation, lower, upper = scipy.linalg.lu(kernel[0, 0])
        diagonal = np.diag(upper)
        if not diagonal.all():
            raise ValueError("The initial kernel is singular.")
        return {
            "permutation": permutation,
            "sign": np.sign(diagonal),
            "lower": np.tril(lower, -1),
            "upper": np.triu(upper, 1),
            "log_scale": np.log(np.abs(diagonal)),
        }

    def triangles(self, weights: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes L and `U + diag(s)`."""
        scale = weights["sign"] * tf.exp(weights["log_scale"])
        lower = tf.linalg.band_part(weights["lower"], -1, 0)
        lower = tf.linalg.set_diag(lower, tf.ones_like(scale))
        upper = tf.linalg.band_part(weights["upper"], 0, -1)
        return lower, tf.linalg.set_diag(upper, scale)

    def kernel(self, weights: Mapping[str, tf.Tensor]) -> tf.Tensor:
        lower, upper = self.triangles(weights)
        return (weights["permutation"] @ lower @ upper)[None, None]

    def log_det(self, weights: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return tf.reduce_sum(weights["log_scale"])


@keras.saving.register_keras_serializable("snf_tf")
class Householder(Parameterization):
    """An orthogonal kernel, a product of reflections (Tomczak and Welling 2016); log|det| is 0.

    `kernel = H_1 H_2 ... H_n` with `H_i = I - 2 v_i^T v_i / (v_i v_i^T)`. One expression gives the
    product: `I - V^T T V` with `T^-1 = triu(V V^T, 1) + diag(V V^T) / 2` (Joffrain et al. 2006).
    The initial kernel is random: kernel_initializer has no effect.

    Args:
        reflections: Number n of reflections; by default the number of channels, which reaches every
            orthogonal matrix of determinant (-1)^n.

    Raises:
        ValueError: If reflections is not a positive integer.

    Example:
        >>> layer = snf_tf.layers.InvertibleConv1x1(snf_tf.layers.Householder(reflections=2))
        >>> layer.build((None, 4, 4, 3))
        >>> tuple(layer.vectors.shape)
        (2, 3)
    """

    is_orthogonal = True

    def __init__(self, reflections: int | None = None) -> None:
        super().__init__(reflections=check_integer("reflections", reflections, 1, optional=True))

    def initial_weights(self, kernel: np.ndarray) -> dict[str, np.ndarray]:
        channels = kernel.shape[-1]
        initializer = keras.initializers.RandomNormal()
        return {
            "vectors": np.array(initializer((self.options["reflections"] or channels, channels)))
        }

    def kernel(self, weights: Mapping[str, tf.Tensor]) -> tf.Tensor:
        vectors = weights["vectors"]
        gram = vectors @ tf.transpose(vectors)
        system = tf.linalg.band_part(gram, 0, -1)
        system = tf.linalg.set_diag(system, 0.5 * tf.linalg.diag_part(gram))
        solved = tf.linalg.triangular_solve(system, vectors, lower=False)
        identity = tf.eye(vectors.shape[1], dtype=vectors.dtype)
        return (identity - tf.transpose(vectors) @ solved)[None, None]

    def log_det(self, weights: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return tf.zeros((), weights["vectors"].dtype)
