"""Files that others made: opened without waiting for ever, and noticed when they change."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_file(path: Path) -> BinaryIO:
    """Open a regular file to read it.

    Raises:
        OSError: it is not there, may not be read, or is something else: opening a named pipe
            would wait for a writer, and reading a device may never end.
    """
    _require_regular(path.stat())  # opening some devices does something
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    stream = os.fdopen(handle, "rb")
    try:
        _require_regular(os.fstat(handle))
    except OSError:
        stream.close()
        raise
    return stream


def read_file(path: Path, most: int) -> bytes:
    """The content of a regular file.

    Args:
        most: bytes that may be in it.

    Raises:
        OSError: see `open_file`; or it is larger.
    """
    with open_file(path) as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it holds more than {most:,} bytes")
    return content


def _require_regular(found: os.stat_result) -> None:
    if stat.S_ISREG(found.st_mode):
        return
    kind = next((text for fits, text in _KINDS if fits(found.st_mode)), "something else")
    raise OSError(errno.EINVAL, f"it is {kind}, not a file")


def stamp(stream: BinaryIO) -> tuple[int, ...]:
    """What changes when a file is written to, or another takes its place."""
    found = os.fstat(stream.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
