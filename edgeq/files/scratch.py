"""Temporary files and folders that the next run removes if this one is killed.

Each has an owner's lock (flock), which ends with its process however that ends. Whoever makes the
next one of the same kind in the same place removes those whose lock is free. A lock is taken on a
file that is then looked at again: it may have been removed in between, by somebody who saw it
without a lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgeq.errors import DeviceError, LoweringError, OutputError, QuantizationError

_LOCK = ".lock"
_PARTIAL = ".tmp"
_FEW_BYTES = 1 << 16


@contextmanager
def folder(beside: Path | None = None) -> Iterator[Path]:
    """A temporary folder, which is gone after the block.

    Args:
        beside: make it hidden beside this path, so that what is inside can be renamed there; by
            default it is in the system's folder for temporary files.

    Raises:
        OSError: it cannot be made beside a path.
        OutputError: it cannot be made in the system's folder, is full, or goes away.
    """
    if beside is not None:
        with _folder(beside.parent, f".{beside.name}.") as fresh:
            yield fresh
        return
    is_made = False
    try:
        with _folder(Path(tempfile.gettempdir()), f"edgeq-{os.getuid()}-") as fresh:
            is_made = True
            with _telling(fresh):
                yield fresh
    except OSError as error:
        if is_made:
            raise
        raise _temporary_error(error) from error


@contextmanager
def _telling(made: Path) -> Iterator[None]:
    """Tell that a temporary folder is full or gone, while it is still as it failed."""
    try:
        yield
    except OSError as error:
        if _is_of(error, made):
            raise _temporary_error(error) from error
        raise
    except (DeviceError, LoweringError, QuantizationError) as error:
        # A child that can write nothing cannot tell why, either.
        if _free_bytes(made.parent) < _FEW_BYTES:
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise _temporary_error(full) from error
        raise


@contextmanager
def _folder(place: Path, prefix: str) -> Iterator[Path]:
    _sweep_folders(place, prefix)
    lock, handle = _make_locked(place, prefix, _LOCK)
    made = lock.with_suffix("")
    try:
        made.mkdir(mode=0o700)
        yield made
    finally:
        _remove(made, lock)
        os.close(handle)


def _is_of(error: OSError, made: Path) -> bool:
    """Whether a temporary folder is what failed: others' files are written meanwhile, too."""
    if error.filename is not None:
        path = Path(os.fsdecode(error.filename))
        return made in (path, *path.parents)
    if error.errno is None:  # how NumPy tells that an array was written in part
        return type(error) is OSError  # and not TimeoutError, of a board that does not answer
    return error.errno in (errno.ENOSPC, errno.EDQUOT) and _free_bytes(made.parent) < _FEW_BYTES


def _free_bytes(place: Path) -> int:
    try:
        return shutil.disk_usage(place).free
    except OSError:
        return 0


def _temporary_error(error: OSError) -> OutputError:
    try:
        place = tempfile.gettempdir()
    except OSError:
        place = os.environ.get("TMPDIR", "/tmp")
    return OutputError(
        f"The folder for temporary files, {place}, cannot be used: {error.strerror or error}.",
        hint="Free space there, or name another folder: TMPDIR=/path/with/space edgeq ...",
    )


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
