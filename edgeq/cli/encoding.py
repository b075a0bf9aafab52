"""Output where the encoding lacks characters, as cp1252 does in a pipe on Windows.

A character that cannot be encoded becomes a similar one of ASCII, or an escape. Without this,
Python ends the command with a UnicodeEncodeError.
"""

from __future__ import annotations

import codecs
import io
import sys

_NAME = "edgeq"
_SIMILAR = {
    **dict.fromkeys("─━╌╴╶╺╸", "-"), **dict.fromkeys("│┃", "|"), **dict.fromkeys("├└┌┐┘┤┬┴┼", "+"),
    **dict(zip("▁▂▃▄▅▆▇█", "_.:-=+*#", strict=True)),
    "…": "...", "±": "+/-", "°": "deg", "²": "^2", "→": "->", "≤": "<=", "≥": ">=", "✓": "+",
    "✗": "x", "•": "*",
}  # fmt: skip


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    plain = (_SIMILAR.get(one, one.encode("ascii", "backslashreplace").decode()) for one in lost)
    return "".join(plain), error.end


def accept_all_characters() -> None:
    """Have stdout and stderr replace what they cannot encode."""
    codecs.register_error(_NAME, _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_NAME)


def as_utf8(text: str) -> str | bytes:
    """A file's content for stdout: as UTF-8, except for a terminal, whose encoding it keeps."""
    stream = sys.stdout
    if isinstance(stream, io.TextIOWrapper) and not stream.isatty():
        return text.encode("utf-8", "backslashreplace")
    return text
