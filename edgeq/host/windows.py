"""Windows; `posix.py` has the same names.

`entry.py` also loads this file into children of other Pythons, so it imports the standard library
only and runs on Python 3.8. Sources: the documentation of Win32 job objects, of `_locking` and of
`NtStatus` values, at learn.microsoft.com.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"  # so that mypy checks this file for Windows only

import ctypes
import errno
import functools
import msvcrt
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

IS_WINDOWS = True
# Keywords of Popen for a program that Ctrl-C does not reach, and that opens no window.
SEPARATE: dict[str, Any] = {
    "creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
}
_PATIENCE_S = 2.0  # for a virus scanner or an indexer that has opened a new file
_LOCKED_AT = 0x7FFF0000  # a lock refuses to read what it covers: this is behind the content
_FIRST_CRASH = 0xC0000000  # exit statuses from here on are NTSTATUS errors


# ---------------------------------------------------------------- files


def open_to_read(path: Path) -> int:
    """Open a file for reading.

    Raises:
        OSError: it cannot be opened.
    """
    return os.open(path, os.O_RDONLY | os.O_BINARY | os.O_NOINHERIT)


def open_to_lock(path: Path) -> int:
    """Open an existing file.

    Raises:
        OSError: it cannot be opened.
    """
    return os.open(path, os.O_RDWR | os.O_BINARY | os.O_NOINHERIT)


def lock(handle: int, *, wait: bool) -> bool:
    """Lock an open file until it is closed, also by the end of this process.

    Args:
        handle: of the file.
        wait: until another process unlocks it; otherwise return False in that case.

    Raises:
        OSError: it cannot be locked at all.
    """
    while True:
        before = os.lseek(handle, 0, os.SEEK_CUR)
        os.lseek(handle, _LOCKED_AT, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except PermissionError:  # another process has it
            if not wait:
                return False
            time.sleep(0.05)
        else:
            return True
        finally:
            os.lseek(handle, before, os.SEEK_SET)


def discard(path: Path, handle: int) -> None:
    """Unlock a file of this process, and remove it: an open file cannot be removed here.

    If another process locks it in between, that one removes it.
    """
    os.close(handle)
    with suppress(OSError):
        remove(path)


def replace(source: Path, target: Path) -> None:
    """Rename a file; one at the target is replaced.

    Raises:
        PermissionError: another program has one of them open.
        OSError: the system refuses.
    """
    _patiently(lambda: source.replace(target))


def remove(path: Path) -> None:
    """Remove a file, if there is one.

    Raises:
        OSError: it cannot be removed, is a folder, or another program has it open.
    """
    _patiently(lambda: path.unlink(missing_ok=True))


def remove_tree(folder: Path) -> None:
    """Remove a folder, as far as the system permits."""
    try:
        _patiently(lambda: shutil.rmtree(folder))
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)


def hint_if_open(error: OSError) -> str | None:
    """Return what to do if another program has the file open; None for another error."""
    if isinstance(error, PermissionError):
        return "Close the program that has it open, or check that you may write there."
    return None


def _patiently(action: Callable[[], Any]) -> None:
    """Try again for a short time while another program has a file open."""
    end = time.monotonic() + _PATIENCE_S
    while True:
        try:
            action()
        except PermissionError:
            if time.monotonic() >= end:
                raise
            time.sleep(0.05)
        else:
            return


def copy_or_link(source: Path, place: Path) -> None:
    """Make a file available at another place: by a copy, because links need a privilege here.

    Raises:
        OSError: it cannot be copied.
    """
    shutil.copyfile(source, place)


def make_room(pipe: IO[bytes], size: int) -> None:
    """Do nothing: the size of a pipe is fixed."""


# ---------------------------------------------------------------- user and machine


def user_number() -> str:
    """A constant: each user has a separate folder for temporary files."""
    return "0"


def is_root() -> bool:
    """Return False: nothing on Windows is done as root."""
    return False


def own_home() -> str | None:
    """The user's folder."""
    return str(Path.home())


def core_count() -> int:
    """Number of cores."""
    return os.cpu_count() or 1


# ---------------------------------------------------------------- processes


def kill(number: int) -> None:
    """Kill one process.

    Raises:
        OSError: there is none, or it belongs to somebody else.
    """
    os.kill(number, signal.SIGTERM)  # which ends it at once


def crash_of(status: int) -> str | None:
    """The NTSTATUS error that ended a process, from its exit status; None if nothing did."""
    return f"the error 0x{status:08X}" if status >= _FIRST_CRASH else None


@contextmanager
def may_be_gone() -> Iterator[None]:
    """Write to a pipe whose reader may have ended; in this block, that is not an error."""
    try:
        yield
    except OSError as error:
        # Windows reports an invalid argument, without a file name.
        if error.errno not in (errno.EPIPE, errno.EINVAL) or error.filename is not None:
            raise


class Log:
    """A temporary file that a child writes, and that vanishes with this process.

    Attributes:
        stream: for the child.
    """

    def __init__(self) -> None:
        self.stream = tempfile.TemporaryFile()  # noqa: SIM115 -- closed in `close`
        # The child shares the position of `stream`, so it is read through a second handle.
        flags = os.O_RDONLY | os.O_BINARY | os.O_TEMPORARY | os.O_NOINHERIT
        self._reading = os.open(self.stream.name, flags)

    def tail(self, most_bytes: int) -> bytes:
        """Its last bytes."""
        size = os.fstat(self._reading).st_size
        os.lseek(self._reading, max(0, size - most_bytes), os.SEEK_SET)
        content = b""
        while part := os.read(self._reading, most_bytes):
            content += part
        return content

    def close(self) -> None:
        """Remove it."""
        self.stream.close()
        os.close(self._reading)


class _Limits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""

    _fields_ = [
        ("process_time", ctypes.c_int64), ("job_time", ctypes.c_int64),
        ("flags", ctypes.c_uint32), ("least_set", ctypes.c_size_t),
        ("most_set", ctypes.c_size_t), ("processes", ctypes.c_uint32),
        ("affinity", ctypes.c_size_t), ("priority", ctypes.c_uint32),
        ("scheduling", ctypes.c_uint32), ("counters", ctypes.c_uint64 * 6),
        ("process_memory", ctypes.c_size_t), ("job_memory", ctypes.c_size_t),
        ("process_peak", ctypes.c_size_t), ("job_peak", ctypes.c_size_t),
    ]  # fmt: skip


_EXTENDED_LIMITS, _KILL_ON_CLOSE, _MAY_ASSIGN = 9, 0x2000, 0x1


def _kernel(name: str, *arguments: Any) -> int:
    """One call of kernel32 that returns a handle or a truth value.

    Raises:
        OSError: it returned zero.
    """
    function = getattr(ctypes.WinDLL("kernel32", use_last_error=True), name)
    function.restype = ctypes.c_void_p if name.endswith("W") else ctypes.c_int
    result = function(*arguments)
    if not result:
        raise ctypes.WinError(ctypes.get_last_error())
    return int(result)


class Group:
    """A child process and all that it starts, which are killed together.

    A job object holds them. The child enters it before it starts anything: the `python.exe` of a
    virtual environment starts another process at once, so its parent might be too late. Windows
    kills them all when the last handle to the job is closed, also by the end of this process.

    Attributes:
        lifeline: for `sandbox.end_with_parent` in the child: the name of the job.
        keywords: of Popen.
    """

    def __init__(self) -> None:
        _watch_console()
        self.lifeline = f"edgeq-{uuid.uuid4()}"
        self.keywords = dict(SEPARATE)
        job = _kernel("CreateJobObjectW", None, ctypes.c_wchar_p(self.lifeline))
        self._job: ctypes.c_void_p | None = ctypes.c_void_p(job)
        limits = _Limits(flags=_KILL_ON_CLOSE)
        size = ctypes.sizeof(limits)
        what = (ctypes.c_int(_EXTENDED_LIMITS), ctypes.byref(limits), ctypes.c_uint32(size))
        try:
            _kernel("SetInformationJobObject", self._job, *what)
        except OSError:
            self.close()
            raise
        _live.add(self)

    def started(self) -> None:
        """Do nothing: the child enters the job itself."""

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the child has ended, then kill what it has started."""
        process.wait()
        self.kill(process)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill them all."""
        self.kill_job()
        process.kill()  # if it has not entered the job yet; does nothing to one that has ended

    def kill_job(self) -> None:
        """Kill those that have entered the job."""
        job = self._job
        if job is not None:
            _kernel("TerminateJobObject", job, ctypes.c_uint32(1))

    def close(self) -> None:
        """Close the job, which kills what is left in it."""
        _live.discard(self)
        job, self._job = self._job, None
        if job is not None:
            _kernel("CloseHandle", job)


_live: weakref.WeakSet[Group] = weakref.WeakSet()


def _on_console_event(event: int) -> int:
    """At Ctrl-C, kill the children, in a thread that Windows starts.

    Python itself raises KeyboardInterrupt only after it has read from a child or waited for it.
    """
    for group in list(_live):
        group.kill_job()
    return 0  # Python's handler comes next


_HANDLER = ctypes.WINFUNCTYPE(ctypes.c_int, ctypes.c_uint32)(_on_console_event)


@functools.cache
def _watch_console() -> None:
    _kernel("SetConsoleCtrlHandler", _HANDLER, ctypes.c_int(1))


def enter_job(name: str) -> None:
    """Put this process into the job of its parent; it then ends with its parent.

    Raises:
        OSError: the parent has ended.
    """
    job = ctypes.c_void_p(
        _kernel("OpenJobObjectW", ctypes.c_uint32(_MAY_ASSIGN), 0, ctypes.c_wchar_p(name))
    )
    this = ctypes.c_void_p(-1)  # GetCurrentProcess
    try:
        _kernel("AssignProcessToJobObject", job, this)
    finally:
        _kernel("CloseHandle", job)
