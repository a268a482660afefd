"""What models of p(x | label) and p(x | context) share."""

from collections.abc import Sequence
from typing import Any

from snf_tf import bases
from snf_tf._checks import check_choice, check_integer, check_shape

CONDITIONS = (None, "label", "context")


def context_options(
    conditional_on: str | None, classes: int, context_shape: Sequence[int] | None
) -> dict[str, Any]:
    """Returns the arguments by which couplings and `snf_tf.layers.FactorOut` take the context.

    Args:
        conditional_on: None, "label" or "context".
        classes: Number of classes of labels.
        context_shape: Shape of one context.

    Raises:
        ValueError: If conditional_on is none of these, or a context has no shape.
    """
    check_choice("conditional_on", conditional_on, CONDITIONS)
    check_integer("classes", classes, 1)
    context_shape = check_shape("context_shape", context_shape, optional=True)
    if (conditional_on == "context") != (context_shape is not None):
        raise ValueError(
            'conditional_on="context" needs context_shape, and nothing else takes it. '
            f"Received: conditional_on={conditional_on!r}, context_shape={context_shape}"
        )
    if conditional_on == "label":
        return {"context_classes": classes}
    return {"context_shape": context_shape}


def class_base(conditional_on: str | None, classes: int) -> bases.Base | None:
    """Returns a normal of its own moments for every class, all standard at first; else None."""
    return bases.ClassConditionalNormal(classes, spread=0.0) if conditional_on == "label" else None
