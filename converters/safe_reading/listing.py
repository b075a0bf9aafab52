"""How the lists are written: names with blanks between them."""

from __future__ import annotations


def listed(text: str) -> frozenset[str]:
    """The names in a text."""
    return frozenset(text.split())
