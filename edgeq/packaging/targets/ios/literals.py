"""Values as Swift spells them."""

from __future__ import annotations

import numpy as np


def string(text: str) -> str:
    """A string literal; everything that is not printed is an escape, and so is a backslash, which
    would begin an interpolation. Of half a character, which Swift has none for, remains U+FFFD.
    """
    escaped = {"\\": "\\\\", '"': '\\"'}
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    parts = (
        escaped.get(char, char if char.isprintable() else f"\\u{{{ord(char):x}}}") for char in whole
    )
    return '"' + "".join(parts) + '"'


def number(value: float) -> str:
    """A `Float` literal in hexadecimal: exact, where a decimal one is rounded through `Double`."""
    mantissa, exponent = float(np.float32(value)).hex().split("p")
    mantissa = mantissa.rstrip("0") if "." in mantissa else mantissa
    return f"{mantissa}0p{exponent}" if mantissa.endswith(".") else f"{mantissa}p{exponent}"
