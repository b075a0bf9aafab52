"""Virtual environments on the board, and which wheels fit there."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import tarfile
from pathlib import Path

# Part of the path of the loader that a program names, and the C library of that loader.
LOADERS = (
    (b"/ld-musl-", "musl"),
    (b"/ld-uClibc", "uClibc"),
    (b"/system/bin/linker", "bionic"),
    (b"/ld-linux", "glibc"),
)


def unpack(archive: Path, folder: Path) -> list[str]:
    """Unpack a tar file that edgeq made and whose digest is right; the names in it."""
    with tarfile.open(str(archive)) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(str(folder), filter="data")
        else:
            tar.extractall(str(folder))
        return tar.getnames()


def is_usable(environment: Path) -> bool:
    """Whether its interpreter is still there: an upgrade of Python may have removed it."""
    return (environment / "pyvenv.cfg").exists() and os.access(
        str(environment / "bin" / "python3"), os.X_OK
    )


def libc() -> tuple[str, str]:
    """Name and version of the C library, which decides which wheels fit; "" where unknown."""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        if version:
            return name, version
    name = loader_kind(sys.executable)
    found = platform.libc_ver()
    return found if name in ("", found[0]) else (name, "")


def loader_kind(program: str) -> str:
    """The C library of a program's loader; "" for an unknown one."""
    try:
        with Path(program).open("rb") as stream:
            start = stream.read(1 << 14)  # the loader's name comes after the program's headers
    except OSError:
        return ""
    for mark, name in LOADERS:
        if mark in start:
            return name
    return ""
