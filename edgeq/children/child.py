"""The class that starts, feeds, watches and ends every child process of edgeq.

A child is isolated from the current folder, ends with its parent, and is confined where it opens a
foreign file. `entry.py` is the child's end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

from edgeq.children import sandbox
from edgeq.errors import SandboxWarning, UsageError
from edgeq.escaping import no_command, printable

TIME_LIMIT = "EDGEQ_TIME_LIMIT_S"  # see `time_limit_s`

_ENTRY = Path(__file__).with_name("entry.py")
_LOG_TAIL_BYTES = 1 << 16
# A library's threads are older than a late sandbox, and would not be confined by Landlock.
_SINGLE_THREADED = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
_warned: set[str] = set()  # the gaps of the sandbox that `warn_of` has reported

_Self = TypeVar("_Self", bound="Child")


class Child:
    """A child process; `close`, or the end of a `with` block, kills it with all that it started.

    It runs in its own session, so that Ctrl-C reaches only the parent, which then ends it.

    Args:
        target: "edgeq.MODULE" whose `main` is called, the path of a script, or "-m" and a module;
            then arguments.
        folders: the child opens a foreign file, and may write only there; the first one is also
            its folder for temporary files. None for a child that opens no foreign file.
        late: the child calls `sandbox.confine_as_planned` itself, between its imports and the
            foreign file; until then, libraries are kept from starting threads.
        sockets: the child is a server.
        python: interpreter, this one by default; others do not see our PYTHONPATH.
        environment: variables added to ours.
        pass_fds: descriptors that the child inherits.
        cwd: its current folder, ours by default.
        feed: give it a pipe as `stdin`; otherwise it has nothing to read.
        output: where its stdout goes: with its stderr to the log, to the pipe `stdout`, with its
            stderr to that pipe ("merged"), or with its stderr to our stderr ("shown").
        deadline_s: kill it after this time; `is_late` is then True.

    Raises:
        OSError: the interpreter cannot be started.
    """

    def __init__(
        self,
        target: Sequence[str],
        *,
        folders: Sequence[Path] | None,
        late: bool = False,
        sockets: bool = False,
        python: str | None = None,
        environment: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        cwd: Path | None = None,
        feed: bool = False,
        output: Literal["log", "pipe", "merged", "shown"] = "log",
        deadline_s: float | None = None,
    ):
        variables = environment_for(python)
        if late:
            variables.update(_SINGLE_THREADED)
        variables.update(environment or {})
        confine = None
        if folders is not None:
            warn_of(sandbox.missing())
            resolved = [str(folder.resolve()) for folder in folders]
            confine = {"folders": resolved, "sockets": sockets, "late": late}
            variables.update({"TMPDIR": resolved[0]} if resolved else {})
        self._lock = threading.Lock()
        self._limit_s: float | None = None  # that it has exceeded
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 -- closed in `close`
        lifeline, theirs = (None, None) if sys.platform.startswith("linux") else os.pipe()[::-1]
        self._lifeline = None if lifeline is None else os.fdopen(lifeline, "wb")
        plan = {"parent": os.getpid(), "lifeline": theirs, "confine": confine}
        try:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [python or sys.executable, str(_ENTRY), json.dumps(plan), *target],
                env=variables,
                cwd=cwd,
                start_new_session=True,
                pass_fds=(*pass_fds, *(() if theirs is None else (theirs,))),
                stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
                stdout=self._log if output == "log" else subprocess.PIPE,
                stderr=self._log if output in ("log", "pipe") else subprocess.STDOUT,
            )
        except OSError:
            self._log.close()
            if self._lifeline is not None:
                self._lifeline.close()
            raise
        finally:
            if theirs is not None:
                os.close(theirs)
        self.pid = self._process.pid
        self._alarm = None
        if deadline_s is not None:
            self._alarm = _alarm(deadline_s, partial(self._give_up, deadline_s))
        self._printer = None
        if output == "shown":
            self._printer = threading.Thread(target=_show, args=[self.stdout], daemon=True)
            self._printer.start()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ talking to it

    @property
    def stdin(self) -> IO[bytes]:
        """The pipe to a child with `feed`."""
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """The pipe from a child whose output does not go to the log."""
        assert self._process.stdout is not None
        return self._process.stdout

    def send(self, line: str) -> None:
        """Write a line; if the child has ended, its next answer will be missing."""
        with suppress(BrokenPipeError):
            self.stdin.write(line.encode() + b"\n")
            self.stdin.flush()

    @contextmanager
    def feeding(self) -> Iterator[IO[bytes]]:
        """`stdin`, which is closed afterwards; if the child has ended, its status says why."""
        with suppress(BrokenPipeError):
            yield self.stdin
        self._close_stdin()

    @contextmanager
    def limited(self, limit_s: float | None) -> Iterator[None]:
        """Kill it if the block takes longer; `is_late` is then True."""
        alarm = None if limit_s is None else _alarm(limit_s, partial(self._give_up, limit_s))
        try:
            yield
        finally:
            if alarm is not None:
                alarm.cancel()

    def lines(self) -> Iterator[str]:
        """The lines that it prints, until it has closed its output."""
        return (line.decode("utf-8", "replace") for line in self.stdout)

    # ------------------------------------------------------------ its end

    def wait(self) -> int:
        """Wait until it has ended, and kill what it started.

        Returns:
            Its exit status; minus the number of the signal that killed it.
        """
        self._close_stdin()
        if self._process.returncode is None:
            # Until it is reaped, its number belongs to nothing else, so its group can be killed.
            with suppress(ChildProcessError):  # another thread waits as well
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            self._kill()
            with self._lock:
                self._process.wait()
        if self._alarm is not None:
            self._alarm.cancel()
        return self._process.returncode

    def end(self, grace_s: float = 0.0, *, terminate: bool = False) -> int:
        """Give it some time to end, then kill it with all that it started.

        Args:
            grace_s: this time.
            terminate: send SIGTERM first.

        Returns:
            See `wait`.
        """
        if terminate:
            self._process.terminate()
        if grace_s == 0.0:
            self._kill()
            return self.wait()
        alarm = _alarm(grace_s, self._kill)
        try:
            return self.wait()
        finally:
            alarm.cancel()

    def close(self) -> None:
        """Kill it with all that it started, and close the pipes and the log."""
        self.end()
        if self._printer is not None:
            self._printer.join()
        for stream in (self._process.stdout, self._log, self._lifeline):
            if stream is not None:
                stream.close()

    @property
    def is_late(self) -> bool:
        """Whether it was killed because it took longer than its limit."""
        return self._limit_s is not None

    @property
    def ending(self) -> str:
        """How it ended: "was killed by SIGSEGV", "ended with status 1"."""
        if self._limit_s is not None:
            return f"took more than {self._limit_s:g} s and was stopped"
        status = self._process.returncode
        names = {item.value: item.name for item in signal.Signals}
        if status < 0:
            return f"was killed by {names.get(-status, f'signal {-status}')}"
        return f"ended with status {status}"

    def log(self, most_bytes: int = _LOG_TAIL_BYTES) -> str:
        """The last part of what it has logged, without white space around it."""
        size = os.fstat(self._log.fileno()).st_size
        tail = os.pread(self._log.fileno(), most_bytes, max(0, size - most_bytes))
        return tail.decode("utf-8", "replace").strip()

    def last_line(self, empty: str = "it printed nothing") -> str:
        """The last line of the log; `empty` without one, and for a child that took too long."""
        return empty if self.is_late else (self.log().splitlines() or [empty])[-1]

    def hint(self, other: str | None) -> str | None:
        """Return a hint about its end: `other`, or first to allow it more time."""
        if not self.is_late:
            return other
        more = f"Set {TIME_LIMIT} to allow more"
        return f"{more}." if other is None else f"{more}, or {other[0].lower()}{other[1:]}"

    def _kill(self) -> None:
        with self._lock, suppress(ProcessLookupError):
            if self._process.returncode is None:
                os.killpg(self.pid, signal.SIGKILL)

    def _give_up(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._kill()

    def _close_stdin(self) -> None:
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()


def time_limit_s() -> float:
    """The most seconds that a child may take for one call or one sample, from the environment.

    Raises:
        UsageError: it is not a number above 0.
    """
    text = os.environ.get(TIME_LIMIT, "1800")
    try:
        limit_s = float(text)
    except ValueError:
        limit_s = 0.0
    if not 0 < limit_s < threading.TIMEOUT_MAX:
        raise UsageError(
            f"{TIME_LIMIT} is {text!r}, not a number of seconds above 0.",
            hint=f"Set it like {TIME_LIMIT}=3600.",
        )
    return limit_s


def _alarm(delay_s: float, action: Any) -> threading.Timer:
    alarm = threading.Timer(delay_s, action)
    alarm.daemon = True
    alarm.start()
    return alarm


def _show(output: IO[bytes]) -> None:
    """Print a library's own lines, in which there are names from the file."""
    for line in output:
        text = line.decode("utf-8", "backslashreplace").rstrip("\r\n")
        with suppress(BrokenPipeError):  # the reader of our stderr may end first
            print(no_command(printable(text)), file=sys.stderr, flush=True)


def environment_for(python: str | None) -> dict[str, str]:
    """Our environment for an interpreter; another one does not see our packages.

    Empty entries of PYTHONPATH are removed: a script that adds to an unset variable leaves one, and
    for Python it means the current folder.
    """
    environment = dict(os.environ)
    if python not in (None, sys.executable):
        environment.pop("PYTHONPATH", None)
        environment.pop("PYTHONHOME", None)
    elif path := environment.get("PYTHONPATH"):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, path.split(os.pathsep)))
    return environment


def warn_of(gaps: Sequence[str]) -> None:
    """Warn of parts that the sandbox lacks, from `sandbox.confine`; each is reported once.

    A child reports the same gaps of the kernel as its parent.
    """
    new = [gap for gap in gaps if gap not in _warned]
    if new:
        _warned.update(new)
        warnings.warn(
            f"Model files are opened without a whole sandbox here: {'; '.join(new)}.",
            SandboxWarning,
            stacklevel=2,
        )
