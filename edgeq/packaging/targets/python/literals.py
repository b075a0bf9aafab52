"""Values as Python spells them."""

from __future__ import annotations


def string(text: str) -> str:
    """A string literal in ASCII, in double quotes."""
    return '"' + text.encode("unicode_escape").decode().replace('"', '\\"') + '"'
