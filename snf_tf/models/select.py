"""Choice of a part by its name."""

from collections.abc import Mapping
from typing import TypeVar

Part = TypeVar("Part")


def select(name: str, parts: Mapping[str, Part], argument: str) -> Part:
    """Looks up `parts[name]`.

    Raises:
        ValueError: If there is no such part; the message names the argument and those that there
            are.
    """
    if not isinstance(name, str) or name not in parts:
        raise ValueError(
            f"{argument} must be one of {', '.join(map(repr, parts))}. Received: "
            f"{argument}={name!r}"
        )
    return parts[name]
