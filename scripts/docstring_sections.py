"""Reads `Example:` in docstrings as the section that the site's reader calls `Examples:`.

An extension of griffe, which mkdocs.yml names.
"""

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Renames the section, so that the site shows code instead of a quotation."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Changes the docstring of one object; called by griffe."""
        if obj.docstring:
            text = obj.docstring.value
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
