"""Values as Swift spells them."""

from __future__ import annotations

import numpy as np


def string(text: str) -> str:
    """A string literal.

    Everything unprintable is escaped, and also a backslash, which would begin an interpolation. A
    lone surrogate, which Swift cannot have, becomes U+FFFD.
    """
    escaped = {"\\": "\\\\", '"': '\\"'}
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    parts = (
        escaped.get(char, char if char.isprintable() else f"\\u{{{ord(char):x}}}") for char in whole
    )
    return '"' + "".join(parts) + '"'


def number(value: float) -> str:
    """A `Float` literal in hexadecimal: exact, while a decimal one is rounded through `Double`."""
    mantissa, exponent = float(np.float32(value)).hex().split("p")
    mantissa = mantissa.rstrip("0") if "." in mantissa else mantissa
    return f"{mantissa}0p{exponent}" if mantissa.endswith(".") else f"{mantissa}p{exponent}"
