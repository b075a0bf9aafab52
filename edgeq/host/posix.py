"""Linux and macOS; `windows.py` has the same names."""

from __future__ import annotations

import sys

assert sys.platform != "win32"  # so that mypy checks this file for the other systems

import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import IO, Any

IS_WINDOWS = False
# Keywords of Popen for a program that Ctrl-C does not reach.
SEPARATE: dict[str, Any] = {"start_new_session": True}


# ---------------------------------------------------------------- files


def open_to_read(path: Path) -> int:
    """Open a file for reading, without waiting for the writer of a named pipe.

    Raises:
        OSError: it cannot be opened.
    """
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def open_to_lock(path: Path) -> int:
    """Open an existing file, but not what a link points to.

    Raises:
        OSError: it cannot be opened.
    """
    return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)


def lock(handle: int, *, wait: bool) -> bool:
    """Lock an open file until it is closed, also by the end of this process.

    Args:
        handle: of the file.
        wait: until another process unlocks it; otherwise return False in that case.

    Raises:
        OSError: it cannot be locked at all.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def discard(path: Path, handle: int) -> None:
    """Remove a file that this process has locked, then unlock it."""
    path.unlink(missing_ok=True)
    os.close(handle)


def replace(source: Path, target: Path) -> None:
    """Rename a file; one at the target is replaced.

    Raises:
        OSError: the system refuses.
    """
    source.replace(target)


def remove(path: Path) -> None:
    """Remove a file, if there is one.

    Raises:
        OSError: it cannot be removed, or is a folder.
    """
    path.unlink(missing_ok=True)


def remove_tree(folder: Path) -> None:
    """Remove a folder, as far as the system permits."""
    shutil.rmtree(folder, ignore_errors=True)


def hint_if_open(error: OSError) -> str | None:
    """Return None: a file that another program has open can be replaced here."""
    return None


def copy_or_link(source: Path, place: Path) -> None:
    """Make a file available at another place, without a copy where links are possible.

    Raises:
        OSError: the place exists.
    """
    place.symlink_to(source.absolute())


def make_room(pipe: IO[bytes], size: int) -> None:
    """Make a pipe hold this many bytes, if the system can."""
    if sys.platform == "linux":
        with suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, size)


# ---------------------------------------------------------------- user and machine


def user_number() -> str:
    """The user's number; names of temporary folders contain it."""
    return str(os.getuid())


def is_root() -> bool:
    """Whether this process may do everything."""
    return os.geteuid() == 0


def own_home() -> str | None:
    """The user's folder in the system's list of users; None if the user is not in it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return None


def core_count() -> int:
    """Number of cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# ---------------------------------------------------------------- processes


def kill(number: int) -> None:
    """Kill one process.

    Raises:
        OSError: there is none, or it belongs to somebody else.
    """
    os.kill(number, signal.SIGKILL)


def crash_of(status: int) -> str | None:
    """The signal that killed a process, from its exit status; None if nothing did."""
    if status >= 0:
        return None
    names = {item.value: item.name for item in signal.Signals}
    return names.get(-status, f"signal {-status}")


def _kill_group(number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # on macOS also if all are ending
        os.killpg(number, signal.SIGKILL)


def may_be_gone() -> AbstractContextManager[None]:
    """Write to a pipe whose reader may have ended; in this block, that is not an error."""
    return suppress(BrokenPipeError)


class Log:
    """A temporary file that a child writes, and that vanishes with this process.

    Attributes:
        stream: for the child.
    """

    def __init__(self) -> None:
        self.stream = tempfile.TemporaryFile()  # noqa: SIM115 -- closed in `close`

    def tail(self, most_bytes: int) -> bytes:
        """Its last bytes; the place at which the child writes stays the same."""
        size = os.fstat(self.stream.fileno()).st_size
        return os.pread(self.stream.fileno(), most_bytes, max(0, size - most_bytes))

    def close(self) -> None:
        """Remove it."""
        self.stream.close()


class Group:
    """A child process and all that it starts, which are killed together.

    It has a session, so that Ctrl-C reaches only its parent. Linux ends it with its parent; macOS
    does not, so the child waits for the end of a pipe there.

    Attributes:
        lifeline: for `sandbox.end_with_parent` in the child.
        keywords: of Popen.
    """

    def __init__(self) -> None:
        self.lifeline: int | None = None
        self.keywords = dict(SEPARATE)
        self._lock = threading.Lock()
        self._ours: int | None = None
        if sys.platform != "linux":
            self.lifeline, self._ours = os.pipe()
            self.keywords["pass_fds"] = (self.lifeline,)

    def started(self) -> None:
        """Close the child's end of the pipe, which it has by now."""
        if self.lifeline is not None:
            os.close(self.lifeline)
            self.lifeline = None

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the child has ended, then kill what it has started."""
        if process.returncode is not None:
            return
        if sys.platform == "linux":
            # Until it is reaped, its number belongs to nothing else, so its group can be killed.
            with suppress(ChildProcessError):  # another thread waits as well
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            self.kill(process)
            with self._lock:
                process.wait()
        else:
            process.wait()
            _kill_group(process.pid)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill them all."""
        with self._lock:
            if process.returncode is None:
                _kill_group(process.pid)

    def close(self) -> None:
        """Close the pipe."""
        self.started()
        if self._ours is not None:
            os.close(self._ours)
            self._ours = None
