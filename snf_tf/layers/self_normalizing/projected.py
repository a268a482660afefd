"""The inverse kernel of a dense layer by projection on every batch."""

from typing import Any

import keras
import tensorflow as tf

from snf_tf import ops
from snf_tf._checks import check_integer, check_number
from snf_tf.layers.self_normalizing import inverse_quality as quality
from snf_tf.layers.self_normalizing.inverse_method import ClosedForm, StateWeight, Update


@keras.saving.register_keras_serializable("snf_tf")
class Projected(ClosedForm):
    """Projects the inverse kernel M of a dense layer on every batch; see `ops.project_inverse`.

    Two rows join the rows of the batch: the row in which `I - kernel @ M` is largest, and the row
    that M makes longest. The longest row has the largest share in the gradient. Power iterations
    find both rows, and go on from step to step.

    Random rows estimate the angle between the gradients of log|det| by M and by the exact inverse.
    The estimate runs in every fourth step, and in every step where the norm of `I - kernel @ M` is
    large. If this norm is 1 or more, or the angle exceeds the tolerance, the kernel is inverted
    exactly, and the log says so. Every replica gathers the whole batch and projects on the same
    rows.

    The layer's `inverse_state`: `inverse_angle` (the estimate, in degrees), `exact_inversions`
    (number so far), `inverse_updates`.

    Args:
        rows: Number of the batch's rows to project on; None for all.
        probes: Number of normal rows to project on, instead of the batch's.
        damping: Damping in units of the mean eigenvalue of the rows' Gram matrix.
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
    ) -> None:
        super().__init__(
            rows=check_integer("rows", rows, 1, optional=True),
            probes=check_integer("probes", probes, 1, optional=True),
            damping=check_number("damping", damping, above=0),
            tolerance=check_number("tolerance", tolerance, above=0),
        )

    def initial_state(self, layer: Any) -> dict[str, StateWeight]:
        return quality.quality_state(layer)

    def update(self, layer: Any, x: tf.Tensor, z: tf.Tensor) -> Update:
        kernel, inverse = layer.widen(layer.kernel), layer.widen(layer.inverse_kernel)
        norm, *worst, state = quality.worst_rows(layer, kernel, inverse)
        rows, images = self._rows_and_images(layer, kernel, x, z)
        # Makes the worst rows as long as the others, or the damping would hide them.
        count = tf.cast(tf.maximum(tf.shape(images)[0], 1), images.dtype)
        length = tf.norm(images) / tf.sqrt(count)
        rows, images = (
            tf.concat([v, length * w], axis=0) for v, w in zip((rows, images), worst, strict=True)
        )
        inverse = ops.project_inverse(inverse, rows, images, self.options["damping"])
        angle, good = quality.judge(layer, kernel, inverse, norm, self.options["tolerance"])
        zero, one = (tf.constant(number, tf.int64) for number in (0, 1))
        inverse, inversions = tf.cond(
            good, lambda: (inverse, zero), lambda: (quality.invert(layer, kernel, angle), one)
        )
        state |= {
            "inverse_angle": angle,
            "exact_inversions": layer.inverse_state["exact_inversions"] + inversions,
            "inverse_updates": layer.inverse_state["inverse_updates"] + 1,
        }
        return Update(inverse, tf.transpose(inverse), state)

    def _rows_and_images(
        self, layer: Any, kernel: tf.Tensor, x: tf.Tensor, z: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the rows to project on, and their products with the kernel."""
        probes = self.options["probes"]
        if probes is not None:
            rows = quality.random_rows(layer, probes, kernel.dtype, quality.FOR_PROBES)
            return rows, tf.matmul(rows, kernel)
        rows, images = (_of_all_replicas(layer.widen(v))[: self.options["rows"]] for v in (x, z))
        if x.dtype != kernel.dtype:
            # z of half precision has lost digits that an inverse needs.
            return rows, tf.matmul(rows, kernel)
        return rows, images - layer.widen(layer.bias)


def _of_all_replicas(x: tf.Tensor) -> tf.Tensor:
    replica = tf.distribute.get_replica_context()
    alone = replica is None or replica.num_replicas_in_sync == 1
    return x if alone else replica.all_gather(x, axis=0)
