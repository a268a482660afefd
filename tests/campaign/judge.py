"""The one rule by which refusals are judged."""

import re
from collections.abc import Callable
from typing import Any

WORDS = ("must", "takes", "needs")


def verdict(call: Callable[[], Any], name: str, value: Any) -> str:
    """Runs a call with a wrong value, and says how the value was refused.

    Args:
        call: Takes nothing.
        name: The argument that is wrong.
        value: Its value.

    Returns:
        "clear": a ValueError or TypeError that names the argument, says what was received, and what
        is allowed. "unclear": one that lacks a part. "raw": another error, or one of others' words.
        "silent": no error.
    """
    try:
        call()
    except (ValueError, TypeError) as error:
        text = str(error)
        parts = (
            re.search(rf"\b{re.escape(name)}\b", text),
            "Received:" in text,
            any(shown in text.partition("Received:")[2] for shown in _shown(value)),
            any(word in text.partition("Received:")[0] for word in WORDS),
        )
        if all(parts):
            return "clear"
        return "unclear" if "Received:" in text and parts[0] else "raw"
    except Exception:
        return "raw"
    return "silent"


def _shown(value: Any) -> tuple[str, ...]:
    """Returns how a message may show a value; arrays by shape or dtype."""
    shown = [repr(value)[:60]]
    if hasattr(value, "numpy"):
        shown.append(str(value.numpy()))
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        dtype = getattr(value.dtype, "name", value.dtype)
        shown += [f"shape {value.shape}", f"dtype {dtype}", f"dtype={dtype}"]
    return tuple(shown)
