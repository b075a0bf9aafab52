"""Temporary files and folders that the next run removes if this one is killed.

Each has an owner's lock (flock), which ends with its process however that ends. Whoever makes the
next one of the same kind in the same place removes those whose lock is free. A lock is taken on a
file that is then looked at again: it may have been removed in between, by somebody who saw it
without a lock.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOCK = ".lock"
_PARTIAL = ".tmp"


@contextmanager
def folder(beside: Path | None = None) -> Iterator[Path]:
    """A temporary folder, which is gone after the block.

    Args:
        beside: make it hidden beside this path, so that what is inside can be renamed there; by
            default it is in the system's folder for temporary files.

    Raises:
        OSError: it cannot be made.
    """
    place = Path(tempfile.gettempdir()) if beside is None else beside.parent
    prefix = f"edgeq-{os.getuid()}-" if beside is None else f".{beside.name}."
    _sweep_folders(place, prefix)
    lock, handle = _make_locked(place, prefix, _LOCK)
    made = lock.with_suffix("")
    try:
        made.mkdir(mode=0o700)
        yield made
    finally:
        _remove(made, lock)
        os.close(handle)


@contextmanager
def file(target: Path) -> Iterator[Path]:
    """An empty temporary file hidden beside `target`; it may be renamed in the block.

    Raises:
        OSError: it cannot be made.
    """
    prefix = f".{target.name}."
    for path in _left_over(target.parent, prefix, _PARTIAL):
        with _taken(path) as is_free:
            if is_free:
                path.unlink(missing_ok=True)
    temporary, handle = _make_locked(target.parent, prefix, _PARTIAL)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def _make_locked(place: Path, prefix: str, suffix: str) -> tuple[Path, int]:
    while True:
        handle, name = tempfile.mkstemp(dir=place, prefix=prefix, suffix=suffix)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return Path(name), handle
        os.close(handle)


def _left_over(place: Path, prefix: str, suffix: str) -> list[Path]:
    """Own files that were made by `_make_locked`, which adds eight characters."""
    found = []
    with suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            middle = entry.name[len(prefix) : -len(suffix)]
            is_alike = entry.name == prefix + middle + suffix and len(middle) == 8
            if is_alike and entry.is_file(follow_symlinks=False):
                found.append(Path(entry.path))
    return found


def _sweep_folders(place: Path, prefix: str) -> None:
    for lock in _left_over(place, prefix, _LOCK):
        with _taken(lock) as is_free:
            if is_free:
                _remove(lock.with_suffix(""), lock)


def _remove(made: Path, lock: Path) -> None:
    """The lock goes last, and stays where the folder does: a later run tries again."""
    shutil.rmtree(made, ignore_errors=True)
    if not os.path.lexists(made):
        lock.unlink(missing_ok=True)


@contextmanager
def _taken(path: Path) -> Iterator[bool]:
    """Hold somebody's lock, if its owner is gone."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # somebody else removed it, or it is another user's
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)
