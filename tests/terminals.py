"""The installed command at a terminal: what is typed, and the bytes that the terminal gets."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

# As it is installed: `python -c` would look for modules in the current folder.
EDGEQ = Path(sys.executable).parent / "edgeq"


def at_a_terminal(*arguments: object, answer: str = "") -> tuple[int, str]:
    """The exit status, and what was seen."""
    own, other = pty.openpty()
    words = [os.fsencode(str(word)) for word in (EDGEQ, *arguments)]
    child = subprocess.Popen(words, stdin=other, stdout=other, stderr=other)
    os.close(other)
    os.write(own, answer.encode())
    seen = b""
    while True:
        try:
            part = os.read(own, 4096)
        except OSError:  # Linux's way to say that the other side is closed
            break
        if not part:
            break
        seen += part
    os.close(own)
    # A terminal ends lines in its own way.
    return child.wait(), seen.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
