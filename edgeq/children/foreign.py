"""A confined child that opens somebody else's file, and what it and its parent say to each other.

A message is one line of JSON, which is read as a value of given classes and of no other. A child
that a file has taken over can tell lies, and that is all.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import msgspec

from edgeq import errors
from edgeq.children import launch
from edgeq.errors import EdgeqError
from edgeq.files import scratch

_MOST_BYTES = 4 << 30  # of a line
_LOG_TAIL_BYTES = 8192
_AGAIN = "Run it again; a file with which that happens twice is damaged, or made to do harm."


class Failed(msgspec.Struct, frozen=True, tag=True):
    """An `EdgeqError` of the other side."""

    kind: str
    message: str
    hint: str | None
    details: str | None


def failure(error: EdgeqError) -> Failed:
    """An error as a message."""
    return Failed(type(error).__name__, error.message, error.hint, error.details)


class Channel:
    """One side of the two."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO):
        self._incoming = incoming
        self._outgoing = outgoing

    def send(self, message: Any) -> None:
        """Tell a value.

        Raises:
            BrokenPipeError: the other side is gone.
        """
        self._outgoing.write(json.dumps(msgspec.to_builtins(message)).encode() + b"\n")
        self._outgoing.flush()

    def receive(self, kind: Any) -> Any:
        """Wait for a value of a class or a union of classes.

        Raises:
            EOFError: the other side is gone.
            ValueError: it told something else.
            EdgeqError: it told of that.
        """
        line = self._incoming.readline(_MOST_BYTES)
        if not line:
            raise EOFError
        try:
            message = msgspec.convert(json.loads(line), kind | Failed)
        except RecursionError as error:
            raise ValueError("it nests too deep") from error
        if isinstance(message, Failed):
            raise _error(message)
        return message


def _error(failed: Failed) -> EdgeqError:
    kind = getattr(errors, failed.kind, None)
    if not isinstance(kind, type) or not issubclass(kind, EdgeqError):
        raise ValueError(f"{failed.kind!r} is not an error of edgeq")
    return kind(failed.message, hint=failed.hint, details=failed.details)


# ---------------------------------------------------------------- the parent's end


class Reader(Channel):
    """The child, until the end of the `with` block.

    Args:
        module: of edgeq; its `main` uses `to_parent`.
        opens: the file or folder, for messages.
        error: what to raise when the child dies or tells nonsense.

    Raises:
        EdgeqError: of that class, the child cannot be started.
    """

    def __init__(self, module: str, opens: Path, error: type[EdgeqError]):
        self._opens, self._kind = opens, error
        self._ends = ExitStack()
        try:
            self._log = self._ends.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
            self._child: subprocess.Popen[bytes] = launch.start(
                [module],
                folders=[self._ends.enter_context(scratch.folder())],
                late=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
            )
        except OSError as failed:
            self._ends.close()
            raise self._trouble(f"cannot be started: {failed.strerror or failed}") from failed
        assert self._child.stdin is not None and self._child.stdout is not None
        super().__init__(self._child.stdout, self._child.stdin)  # type: ignore[arg-type]

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        self._incoming.close()
        with suppress(BrokenPipeError):
            self._outgoing.close()
        self._ends.close()

    def _end(self) -> int:
        """Kill what is left; returns how it ended, which a kill afterwards does not change."""
        if self._child.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
        return self._child.wait()

    def send(self, message: Any) -> None:
        """See `Channel`.

        Raises:
            EdgeqError: of the class that was named, the child is gone.
        """
        try:
            super().send(message)
        except BrokenPipeError as error:
            raise self._death() from error

    def receive(self, kind: Any) -> Any:
        """See `Channel`.

        Raises:
            EdgeqError: what the child tells; or, of the class that was named, that it is gone or
                tells something else.
        """
        try:
            return super().receive(kind)
        except EOFError as error:
            raise self._death() from error
        except ValueError as error:
            raise self.nonsense(error) from error

    def nonsense(self, why: ValueError) -> EdgeqError:
        """The error for a message that makes no sense."""
        return self._trouble("does not tell what it should", str(why))

    def _death(self) -> EdgeqError:
        code = self._end()
        names = {item.value: item.name for item in signal.Signals}
        how = f"was killed by {names.get(-code, -code)}" if code < 0 else f"ended with {code}"
        size = os.fstat(self._log.fileno()).st_size
        tail = os.pread(self._log.fileno(), _LOG_TAIL_BYTES, max(0, size - _LOG_TAIL_BYTES))
        return self._trouble(how, tail.decode("utf-8", "replace"))

    def _trouble(self, what: str, details: str | None = None) -> EdgeqError:
        message = f"The process that reads {self._opens} {what}."
        return self._kind(message, hint=_AGAIN, details=details or None)


# ---------------------------------------------------------------- the child's end


@contextmanager
def to_parent() -> Iterator[Channel]:
    """The parent, in the child; an `EdgeqError` in the block is told to it.

    What libraries print goes to stderr.
    """
    with os.fdopen(os.dup(1), "wb") as outgoing:
        os.dup2(2, 1)
        channel = Channel(sys.stdin.buffer, outgoing)
        try:
            yield channel
        except EdgeqError as error:
            channel.send(failure(error))
