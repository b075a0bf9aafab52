"""Python values as source text of Java; nothing in them can end a string or a comment."""

from __future__ import annotations

import re

import numpy as np

_PLAIN = re.compile(r"[^A-Za-z0-9 _.:/\[\]()-]")


def string(text: str) -> str:
    r"""A string literal in ASCII.

    Java reads \u000a as a line break before it reads strings, so escapes are octal.
    """
    found = []
    for character in text:
        if character in '"\\':
            found.append(f"\\{character}")
        elif " " <= character <= "~":
            found.append(character)
        elif ord(character) < 256:
            found.append(f"\\{ord(character):03o}")
        else:
            units = character.encode("utf-16-be", "surrogatepass")
            found += [f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2)]
    return f'"{"".join(found)}"'


def shown(text: str) -> str:
    """A name for a comment or a table: characters that could end one are replaced."""
    return _PLAIN.sub("?", text) or "?"


def real(value: float) -> str:
    """A float literal of exactly this value as float32."""
    return f"{np.float32(value)!s}f"
