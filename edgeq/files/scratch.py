"""Temporary files and folders that the next run removes if this one is killed.

Each has a file beside it that its process has locked; the system unlocks it at any end of the
process. A later process that makes one of the same kind in the same place removes those whose lock
is free. After a process has locked a file, it checks that the file still exists: another process
may have removed it before it was locked.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgeq import host
from edgeq.errors import DeviceError, LoweringError, OutputError, QuantizationError

_LOCK = ".lock"
_PARTIAL = ".tmp"
_FEW_BYTES = 1 << 16


@contextmanager
def folder(beside: Path | None = None) -> Iterator[Path]:
    """Make a temporary folder, which is removed after the block.

    Args:
        beside: make it hidden beside this path, so that its files can be renamed to that place;
            by default it is in the system's folder for temporary files.

    Raises:
        OSError: it cannot be made beside a path.
        OutputError: it cannot be made in the system's folder, is full, or has been removed.
    """
    if beside is not None:
        with _folder(beside.parent, f".{beside.name}.") as fresh:
            yield fresh
        return
    is_made = False
    try:
        with _folder(Path(_place()), f"edgeq-{host.user_number()}-") as fresh:
            is_made = True
            with _reporting(fresh):
                yield fresh
    except OSError as error:
        if is_made:
            raise
        raise _temporary_error(error) from error


def _place() -> str:
    """The system's folder for temporary files.

    `tempfile` tests a folder with a file, which would stay there if this process is killed then.
    """
    if tempfile.tempdir is None:
        for named in (*map(os.environ.get, ("TMPDIR", "TEMP", "TMP")), "/tmp"):
            if named and Path(named).is_dir() and os.access(named, os.W_OK | os.X_OK):
                tempfile.tempdir = str(Path(named).absolute())
                break
    return tempfile.gettempdir()


@contextmanager
def _reporting(made: Path) -> Iterator[None]:
    """Turn errors of a full or removed temporary folder into an OutputError."""
    try:
        yield
    except OSError as error:
        if _is_of(error, made):
            raise _temporary_error(error) from error
        raise
    except (DeviceError, LoweringError, QuantizationError) as error:
        # A child that cannot write cannot report the reason either.
        if _free_bytes(made.parent) < _FEW_BYTES:
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise _temporary_error(full) from error
        raise


@contextmanager
def _folder(place: Path, prefix: str) -> Iterator[Path]:
    with _locked(place, prefix, "") as made:
        made.mkdir(mode=0o700)
        yield made


@contextmanager
def _locked(place: Path, prefix: str, suffix: str) -> Iterator[Path]:
    """A path for the block to use, with a lock beside it; others like it are removed first."""
    _remove_left_over(place, prefix, suffix)
    lock, handle = _make_lock(place, prefix, suffix)
    try:
        yield lock.with_suffix("")
    finally:
        _remove(lock, handle)


def _is_of(error: OSError, made: Path) -> bool:
    """Whether an error is about a temporary folder, and not about another file."""
    if error.filename is not None:
        path = Path(os.fsdecode(error.filename))
        return made in (path, *path.parents)
    if error.errno is None:  # NumPy raises it when it has written a part of an array
        return type(error) is OSError  # and not a TimeoutError of a board
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
        hint="Free space there, or name another folder in the variable TMPDIR.",
    )


@contextmanager
def file(target: Path) -> Iterator[Path]:
    """Make an empty temporary file, hidden beside `target`; the block may rename it.

    Raises:
        OSError: it cannot be made.
    """
    with _locked(target.parent, f".{target.name}.", _PARTIAL) as temporary:
        temporary.touch(exist_ok=False)
        yield temporary


def _make_lock(place: Path, prefix: str, suffix: str) -> tuple[Path, int]:
    while True:
        handle, name = tempfile.mkstemp(dir=place, prefix=prefix, suffix=suffix + _LOCK)
        host.lock(handle, wait=True)
        if os.fstat(handle).st_nlink:
            return Path(name), handle
        os.close(handle)


def _remove_left_over(place: Path, prefix: str, suffix: str) -> None:
    """Remove what processes that have ended left; each is locked while it is removed."""
    names = []
    with suppress(OSError), os.scandir(place) as entries:
        names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    for name in names:
        middle = name[len(prefix) : -len(suffix + _LOCK)]
        if name != prefix + middle + suffix + _LOCK or len(middle) != 8:  # of mkstemp
            continue
        try:
            handle = host.open_to_lock(place / name)
        except OSError:  # another process removed it, or it belongs to another user
            continue
        if host.lock(handle, wait=False):
            _remove(place / name, handle)
        else:
            os.close(handle)


def _remove(lock: Path, handle: int) -> None:
    """Remove the lock last, and only with what it is for, so that a later run tries again."""
    made = lock.with_suffix("")
    if made.is_dir():
        host.remove_tree(made)
    else:
        host.remove(made)
    if os.path.lexists(made):
        os.close(handle)
    else:
        host.discard(lock, handle)
