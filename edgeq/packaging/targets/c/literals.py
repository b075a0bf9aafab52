"""Values as C++ spells them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
TYPES = {
    "bool": "bool",
    "float32": "float",
    "float64": "double",
    **{name: f"std::{name}_t" for name in _INTEGERS},
}

_COLUMNS = 100
_BYTES_A_LINE = 16
_HEX = tuple(f"0x{value:02x}," for value in range(256))


def string(text: str) -> str:
    """A string literal in UTF-8, in whatever encoding the compiler reads the source.

    Escapes are octal, because they end after three digits; a hexadecimal one does not end.
    """
    plain = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
        for byte in text.encode(errors="replace")
    )
    return f'"{plain}"'


def number(value: Any) -> str:
    """One value of a numpy array, exactly."""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, np.integer):
        whole = int(value)
        if whole == -(2**63):  # its digits alone fit no type
            return "(-9223372036854775807LL - 1)"
        return f"{whole}{'ULL' if whole >= 2**63 else ''}"
    kind, suffix = ("float", "f") if isinstance(value, np.float32) else ("double", "")
    if not np.isfinite(value):
        name = "quiet_NaN" if np.isnan(value) else "infinity"
        return f"{'-' if value < 0 else ''}std::numeric_limits<{kind}>::{name}()"
    return f"{value!s}{suffix}"


def number32(value: float) -> str:
    """A float32, exactly."""
    return number(np.float32(value))


def values(array: NDArray[Any]) -> str:
    """An array's values, in lines."""
    lines, line = [], ""
    for value in np.ravel(array):
        text = f"{number(value)},"
        if len(line) + len(text) + 1 > _COLUMNS:
            lines.append(line)
            line = ""
        line += f" {text}" if line else text
    return "\n".join([*lines, line])


def octets(content: bytes) -> str:
    """Bytes as the elements of an array, in lines."""
    rows = range(0, len(content), _BYTES_A_LINE)
    return "\n".join(
        " ".join(map(_HEX.__getitem__, content[row : row + _BYTES_A_LINE])) for row in rows
    )
