"""Docstrings of the package for MkDocs: their roles and links are reStructuredText's."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":[a-z]+:`([^`]+)`")
_LINK = re.compile(r"`([^`<]+?)\s+<([^`>]+)>`_")


class Roles(griffe.Extension):
    """Writes :class:`Name` as code and links as Markdown does."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite an object's docstring."""
        if obj.docstring:
            text = _ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = _LINK.sub(r"[\1](\2)", text)
