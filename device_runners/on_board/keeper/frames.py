"""Answers on stdout, in parts with marks around them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

# Around each answer. In two parts: something may echo this text, and an echo is not an answer.
MARK = b"edgeq" + b"-keeper-1"

PART_BYTES = 4000  # of an answer; with its marks, less than the 4096 of PIPE_BUF


def frames(reply: dict[str, Any], content: bytes) -> Iterator[bytes]:
    """An answer in parts with marks around them; `keeper_link.Frames` joins them again.

    A part is so short that the system writes it at once: the output of another program to the same
    stream comes between parts.
    """
    body = json.dumps(reply).encode() + b"\n" + content
    for start in range(0, len(body), PART_BYTES):
        part = body[start : start + PART_BYTES]
        more = b"+" if start + PART_BYTES < len(body) else b"."
        yield b"".join((b"\n", MARK, b" %d" % len(part), more, b"\n", part, b"\n", MARK, b" end\n"))


def write_all(descriptor: int, content: bytes) -> None:
    """Write everything, at once if possible."""
    while content:
        content = content[os.write(descriptor, content) :]
