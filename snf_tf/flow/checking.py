"""Checks of what a flow is given: data, contexts, and whether the flow is ready."""

from collections.abc import Iterable, Mapping, Set
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from snf_tf import ops
from snf_tf._array_checks import check_array
from snf_tf._checks import (
    check_choice,
    check_flag,
    check_integer,
    check_named,
    check_number,
    refuse,
)
from snf_tf.bases import Base
from snf_tf.flow.elements import Element, is_stream, unpack, without_last
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
        weight = without_last(check_array("sample_weight", weight))
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
    has_order = isinstance(bijections, Iterable) and not isinstance(bijections, Set | Mapping)
    given = list(bijections) if has_order else []
    if not given or not all(isinstance(b, Bijection) for b in given):
        allowed = "a list of snf_tf.layers.FlowLayer objects, with at least one bijection"
        refuse("bijections", bijections, allowed)
    return given


def checked_base(base: Any) -> Any:
    """Returns the base of a flow; raises a ValueError if it is no distribution."""
    methods = ("log_prob", "sample")
    if base is None or (not isinstance(base, type) and all(hasattr(base, m) for m in methods)):
        return base
    refuse("base", base, "one of snf_tf.bases, a distribution of TensorFlow Probability, or None")


def check_verbose(verbose: Any) -> Any:
    """Returns a `verbose` of Keras; raises a ValueError for anything else."""
    if isinstance(verbose, bool | np.bool_) or (isinstance(verbose, str) and verbose == "auto"):
        return verbose
    try:
        return check_integer("verbose", verbose, 0, at_most=2)
    except ValueError:
        refuse("verbose", verbose, 'one of "auto", 0, 1 and 2')


def check_fit(batch_size: Any, shuffle: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns options of `keras.Model.fit` as Keras takes them; raises a ValueError for others."""
    check_integer("batch_size", batch_size, 1, optional=True)
    if shuffle is not None:
        check_flag("shuffle", shuffle)
    checked = dict(options)
    checked["verbose"] = check_verbose(options.get("verbose", "auto"))
    for name, least in (("epochs", 1), ("initial_epoch", 0)):
        checked[name] = check_integer(name, options.get(name, least), least)
    for name in ("steps_per_epoch", "validation_steps", "validation_batch_size"):
        checked[name] = check_integer(name, options.get(name), 1, optional=True)
    checked["validation_freq"] = _checked_frequency(options.get("validation_freq", 1))
    return checked


def _checked_frequency(frequency):
    has_epochs = isinstance(frequency, list | tuple) and frequency
    try:
        epochs = frequency if has_epochs else [frequency]
        epochs = [check_integer("validation_freq", epoch, 1) for epoch in epochs]
    except ValueError:
        refuse("validation_freq", frequency, "an integer of at least 1, or a list of them")
    return epochs if has_epochs else epochs[0]


def checked_callbacks(callbacks: Any) -> list[keras.callbacks.Callback]:
    """Returns callbacks as a list, of a list or of one; raises a ValueError for anything else."""
    given = [] if callbacks is None else keras.tree.flatten(callbacks)
    if not all(isinstance(callback, keras.callbacks.Callback) for callback in given):
        refuse("callbacks", callbacks, "objects of keras.callbacks.Callback, in a list, or None")
    return given


def check_compile(
    optimizer: Any, jit_compile: Any, steps_per_execution: Any, options: Mapping[str, Any]
) -> keras.optimizers.Optimizer:
    """Returns the optimizer; raises a ValueError for what `keras.Model.compile` cannot take."""
    check_integer("steps_per_execution", steps_per_execution, 1)
    if jit_compile is not True and jit_compile is not False:
        check_choice("jit_compile", jit_compile, (True, False, "auto"))
    for name in ("run_eagerly", "auto_scale_loss"):
        check_flag(name, options.get(name, False))
    if optimizer is None:
        refuse("optimizer", optimizer, "the name of an optimizer of Keras, or such an object")
    return check_named("optimizer", optimizer, keras.optimizers.get, "optimizer")


def check_split(split: Any, x: Any, validation_data: Any) -> float:
    """Returns the part of arrays that validates, or 0; raises a ValueError for anything else."""
    part = check_number("validation_split", 0 if split is None else split, at_least=0, below=1)
    if validation_data is not None:
        return 0
    if part and is_stream(x):
        raise ValueError(
            "validation_split must be left out where x yields batches: give validation_data. "
            f"Received: validation_split={split}, x={type(x).__name__}"
        )
    return part
