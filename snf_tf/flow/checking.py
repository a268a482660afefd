"""Checks of what a flow is given: data, contexts, and whether the flow is ready."""

from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from snf_tf import ops
from snf_tf._array_checks import check_array
from snf_tf._checks import check_flag, check_integer, refuse
from snf_tf.bases import Base
from snf_tf.flow.elements import Element, unpack
from snf_tf.layers.bijection import Bijection


class FlowChecking(Bijection):
    """Adds checks of arguments to `snf_tf.Flow`."""

    bijections: list[Bijection]
    base: Any
    # Whether elements of data have labels, y; whether training is on log p(x).
    takes_labels = False
    trains_likelihood = True

    @property
    def takes_context(self) -> bool:  # type: ignore[override]
        return any(self._said("takes_context"))

    @property
    def context_shape(self) -> tuple[int, ...] | None:  # type: ignore[override]
        return next((shape for shape in self._said("context_shape") if shape is not None), None)

    @property
    def context_classes(self) -> int | None:  # type: ignore[override]
        return next((count for count in self._said("context_classes") if count is not None), None)

    def check_data(self, x: Any) -> tf.Tensor:
        """Returns data as a tensor after checking that this flow accepts them.

        Raises:
            ValueError: If they are no real numbers, have the wrong shape, are not finite in the
                dtype of the flow, or do not fit the first layer. In a graph values are checked when
                it runs; see `snf_tf.ops.require`.
        """
        x = check_array("x", x)
        self.check_event(x)
        x = tf.ensure_shape(x, (None, *self.event_shape))
        if x.dtype.is_floating:
            x = ops.require(
                tf.reduce_all(tf.math.is_finite(self.widen(x))),
                x,
                f"x, the data given to a Flow, must be finite in {self.log_det_dtype}.",
            )
        return self.bijections[0].check_data(x)

    def check_event(self, x: Any) -> None:
        """Raises a ValueError unless x, a tensor or an array, has the shape of a batch."""
        if not tf.TensorShape(x.shape).is_compatible_with((None, *self.event_shape)):
            raise ValueError(
                f"This Flow takes x of shape (batch,) + {self.event_shape}. "
                f"Received: x of shape {x.shape}"
            )

    def check_context(self, context: Any, x: tf.Tensor) -> tf.Tensor | None:
        """Returns a context as a tensor after checking that it goes with x.

        Raises:
            ValueError: If none is given where one is due. If neither a layer nor the base takes a
                context, its number of rows is not that of x, or its values are not accepted.
        """
        if context is None and self.context_shape is not None:
            raise ValueError(
                f"This Flow takes a context of shape (batch,) + {self.context_shape}: give "
                "context=. Received: no context"
            )
        if context is None:
            return None
        context = check_array("context", context)
        if not self.takes_context:
            raise ValueError(
                "No layer of this Flow takes a context: leave it out (labels in (x, y), too), or "
                "give a coupling a conditioner that maps [x1, context], or the flow a base of "
                "snf_tf.bases that takes one. "
                f"Received: a context of shape {context.shape}"
            )
        if context.shape.rank == 0 or not context.shape[:1].is_compatible_with(x.shape[:1]):
            raise ValueError(
                f"The context must have as many rows as x, {x.shape[0]}. "
                f"Received: a context of shape {context.shape}"
            )
        if context.shape[0] is None or x.shape[0] is None:
            same = tf.equal(tf.shape(context)[0], tf.shape(x)[0])
            context = ops.require(same, context, "The context must have as many rows as x.")
        if self.context_classes is not None:
            context = ops.require_labels(context, self.context_classes)
        elif context.dtype.is_floating:
            finite = tf.reduce_all(tf.math.is_finite(self.widen(context)))
            context = ops.require(
                finite, context, f"context must be finite in {self.log_det_dtype}."
            )
        return self.base.check_context(context) if isinstance(self.base, Base) else context

    def check_weight(self, weight: Any, x: Any) -> tf.Tensor | None:
        """Returns weights of examples as a tensor after checking that they go with x.

        Raises:
            ValueError: If they are not of shape `(batch,)`, finite, and at least 0; in a graph
                values are checked when it runs.
        """
        if weight is None:
            return None
        weight = check_array("sample_weight", weight)
        if not weight.shape.is_compatible_with(tf.TensorShape(x.shape[:1])):
            raise ValueError(
                f"sample_weight must have one number a row, shape ({x.shape[0]},). "
                f"Received: sample_weight of shape {weight.shape}"
            )
        wide = tf.cast(weight, tf.float64)
        valid = tf.reduce_all(tf.math.is_finite(wide) & (wide >= 0))
        return ops.require(valid, weight, "sample_weight must be finite and at least 0.")

    def check_labels(self, y: Any, x: Any, required: bool = False) -> Any:
        """Returns labels after checking that they go with x; `unpack` gives none to most flows."""
        return y

    def check_element(self, element: Any) -> Element:
        """Returns an element of a data set after checking it; see `check_data`, `check_context`."""
        x, context, weight, y = unpack(element, self.takes_labels)
        x = self.check_data(x)
        weight, y = self.check_weight(weight, x), self.check_labels(y, x)
        return Element(x, self.check_context(context, x), weight, y)

    def require_built(self, action: str) -> None:
        """Raises a ValueError if networks wait for a context to be built."""
        if unbuilt := self.unbuilt_parts():
            raise ValueError(
                f"{action} needs a flow that is built: call it once on a batch and its context, "
                f"flow.log_prob(x, context=context). Received: not built yet: {', '.join(unbuilt)}"
            )

    def require_exact(self, action: str) -> None:
        """Raises a ValueError if a layer can only estimate or bound log-densities."""
        self.require_no_bound(action)
        self.require_no_estimate(action, "take flow.estimate_log_prob(x, draws=...), or")

    def require_no_bound(self, action: str) -> None:
        """Raises a ValueError if a layer can only bound log-densities."""
        if names := self._leaves_of("bound"):
            raise ValueError(
                f"{action} gives log-densities, and this flow can only bound those of its data: "
                f"take flow.log_prob_bound(x, draws=...). Received: bounds in {names}"
            )

    def require_no_estimate(self, action: str, advice: str = "take") -> None:
        """Raises a ValueError if a layer can only estimate its log-determinant."""
        if names := self._leaves_of("estimate"):
            raise ValueError(
                f"{action} is exact, and this flow can only estimate log-determinants: {advice} "
                f'ResidualBlock(..., log_det="brute_force"). Received: estimates in {names}'
            )

    def _said(self, name):
        """Returns an attribute of every layer and the base, where they have it."""
        return [getattr(part, name, None) for part in (*self.bijections, self.base)]

    def _leaves_of(self, kind):
        return ", ".join(leaf.name for leaf in self.leaves() if leaf.log_det_kind == kind)


def checked_bijections(bijections: Any) -> list[Bijection]:
    """Returns the bijections of a flow as a list; raises a ValueError for anything else."""
    given = list(bijections) if isinstance(bijections, Iterable) else []
    if isinstance(bijections, str) or not given or not all(isinstance(b, Bijection) for b in given):
        allowed = "a list of snf_tf.layers.FlowLayer objects, with at least one bijection"
        refuse("bijections", bijections, allowed)
    return given


def checked_base(base: Any) -> Any:
    """Returns the base of a flow; raises a ValueError if it is no distribution."""
    methods = ("log_prob", "sample")
    if base is None or (not isinstance(base, type) and all(hasattr(base, m) for m in methods)):
        return base
    refuse("base", base, "one of snf_tf.bases, a distribution of TensorFlow Probability, or None")


def check_verbose(verbose: Any) -> None:
    """Raises a ValueError for what is no `verbose` of Keras."""
    is_known = isinstance(verbose, str | int) and verbose in ("auto", 0, 1, 2)
    if isinstance(verbose, bool) or not is_known:
        refuse("verbose", verbose, 'one of "auto", 0, 1 and 2')


def check_fit(batch_size: Any, shuffle: Any, options: Mapping[str, Any]) -> None:
    """Raises a ValueError for numbers that `keras.Model.fit` cannot take."""
    check_integer("batch_size", batch_size, 1, optional=True)
    if shuffle is not None:
        check_flag("shuffle", shuffle)
    check_verbose(options.get("verbose", "auto"))
    for name, least in (("epochs", 1), ("initial_epoch", 0), ("validation_freq", 1)):
        check_integer(name, options.get(name, 1), least)
    for name in ("steps_per_epoch", "validation_steps", "validation_batch_size"):
        check_integer(name, options.get(name), 1, optional=True)
