"""The class that starts, feeds, watches and ends every child process of edgeq.

A child is isolated from the current folder, ends with its parent, and is confined where it opens a
foreign file. `entry.py` is the child's end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

from edgeq import host
from edgeq.children import sandbox
from edgeq.errors import SandboxWarning, UsageError
from edgeq.escaping import no_command, printable

TIME_LIMIT = "EDGEQ_TIME_LIMIT_S"  # see `time_limit_s`

_ENTRY = Path(__file__).with_name("entry.py")
_LOG_TAIL_BYTES = 1 << 16
# A library's threads are older than a late sandbox, and would not be confined by Landlock.
_SINGLE_THREADED = {
    **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    # TensorFlow imports pandas where it is installed, and pandas pyarrow, whose allocator has one.
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
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
        replies: its stdout is kept for replies; what it prints goes where its stderr goes. The
            descriptor is the last argument of `target` in the child.
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
        replies: bool = False,
        cwd: Path | None = None,
        feed: bool = False,
        output: Literal["log", "pipe", "merged", "shown"] = "log",
        deadline_s: float | None = None,
    ):
        variables = {**environment_for(python), "PYTHONIOENCODING": "utf-8"}
        if late:
            variables.update(_SINGLE_THREADED)
        variables.update(environment or {})
        confine = None
        if folders is not None:
            warn_of(sandbox.missing())
            resolved = [str(folder.resolve()) for folder in folders]
            confine = {"folders": resolved, "sockets": sockets, "late": late}
            variables.update({"TMPDIR": resolved[0]} if resolved else {})
        self._limit_s: float | None = None  # that it has exceeded
        self._group, self._log = host.Group(), host.Log()
        plan = {
            "parent": os.getpid(),
            "lifeline": self._group.lifeline,
            "replies": replies,
            "confine": confine,
        }
        stdout: IO[bytes] | int = self._log.stream
        stderr: IO[bytes] | int = self._log.stream
        if replies or output != "log":
            stdout = subprocess.PIPE
        if output in ("merged", "shown"):
            stderr = subprocess.PIPE if replies else subprocess.STDOUT
        try:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [python or sys.executable, str(_ENTRY), json.dumps(plan), *target],
                env=variables,
                cwd=cwd,
                **self._group.keywords,
                stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )
        except OSError:
            self._log.close()
            self._group.close()
            raise
        self._group.started()
        self.pid = self._process.pid
        self._alarm = None
        if deadline_s is not None:
            self._alarm = _alarm(deadline_s, partial(self._give_up, deadline_s))
        self._printer = None
        if output == "shown":
            shown = self._process.stderr if replies else self.stdout
            self._printer = threading.Thread(target=_show, args=[shown], daemon=True)
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
        with host.may_be_gone():
            self.stdin.write(line.encode() + b"\n")
            self.stdin.flush()

    @contextmanager
    def feeding(self) -> Iterator[IO[bytes]]:
        """`stdin`, which is closed afterwards; if the child has ended, its status says why."""
        with host.may_be_gone():
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
        self._group.wait(self._process)
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
        for stream in (self._process.stdout, self._process.stderr, self._log, self._group):
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
        if (crash := self.crash) is not None:
            return f"was killed by {crash}"
        return f"ended with status {self._process.returncode}"

    @property
    def crash(self) -> str | None:
        """Name of the signal or error that killed it, such as SIGSEGV; None if none did."""
        return host.crash_of(self._process.returncode)

    def log(self, most_bytes: int = _LOG_TAIL_BYTES) -> str:
        """The last part of what it has logged, without white space around it."""
        return self._log.tail(most_bytes).decode("utf-8", "replace").strip()

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
        self._group.kill(self._process)

    def _give_up(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._kill()

    def _close_stdin(self) -> None:
        if self._process.stdin is not None:
            with host.may_be_gone():
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
