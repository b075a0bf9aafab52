"""A confined child that opens a foreign file, and the messages between it and its parent.

A message is one line of JSON, which is read as a value of given classes only. So a child that runs
code of a malicious file can send false values, but no other messages.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec

from edgeq import errors
from edgeq.children.child import Child, time_limit_s
from edgeq.errors import EdgeqError, OutputError
from edgeq.files import scratch

_MOST_BYTES = 4 << 30  # of a line
_FAREWELL_S = 5  # from the end of its messages to its end
_AGAIN = "Run it again; if it happens twice, the file is damaged or malicious."


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
    """One of the two ends."""

    def __init__(self, incoming: IO[bytes], outgoing: IO[bytes]):
        self._incoming = incoming
        self._outgoing = outgoing

    def send(self, message: Any) -> None:
        """Send a value.

        Raises:
            BrokenPipeError: the other side is gone.
        """
        self._outgoing.write(json.dumps(msgspec.to_builtins(message)).encode() + b"\n")
        self._outgoing.flush()

    def receive(self, kind: Any) -> Any:
        """Wait for a value of a class or a union of classes.

        Raises:
            EOFError: the other side is gone.
            ValueError: it has sent something else.
            EdgeqError: it has sent that error.
        """
        line = self._incoming.readline(_MOST_BYTES)
        if not line:
            raise EOFError
        try:
            message = msgspec.convert(json.loads(line), kind | Failed)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
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
        error: class to raise when the child dies or sends invalid data.

    Raises:
        EdgeqError: of that class, the child cannot be started.
    """

    def __init__(self, module: str, opens: Path, error: type[EdgeqError]):
        self._opens, self._kind = opens, error
        self._ends = ExitStack()
        try:
            folders = [self._ends.enter_context(scratch.folder())]
            self._child = Child([module], folders=folders, late=True, feed=True, output="pipe")
        except OutputError as failed:
            raise error(failed.message, hint=failed.hint) from failed
        except OSError as failed:
            self._ends.close()
            raise self._trouble(f"cannot be started: {failed.strerror or failed}") from failed
        self._ends.callback(self._child.close)
        super().__init__(self._child.stdout, self._child.stdin)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def send(self, message: Any) -> None:
        """Send a value, as `Channel.send`.

        Raises:
            EdgeqError: of the class that was named, the child is gone.
        """
        try:
            super().send(message)
        except OSError as error:
            raise self._death() from error

    def receive(self, kind: Any) -> Any:
        """Wait for a value, as `Channel.receive`.

        Raises:
            EdgeqError: the one that the child has sent; or, of the class that was named, the child
                is gone, takes longer than `time_limit_s` or sends something else.
        """
        try:
            with self._child.limited(time_limit_s()):
                return super().receive(kind)
        except EOFError as error:
            raise self._death() from error
        except ValueError as error:
            raise self.nonsense(error) from error

    def nonsense(self, why: ValueError) -> EdgeqError:
        """The error for an invalid message."""
        return self._trouble("sends invalid data", str(why))

    def _death(self) -> EdgeqError:
        self._child.end(_FAREWELL_S)
        hint = self._child.hint(None if self._child.is_late else _AGAIN)
        return self._trouble(self._child.ending, self._child.log(), hint)

    def _trouble(
        self, what: str, details: str | None = None, hint: str | None = _AGAIN
    ) -> EdgeqError:
        message = f"The process that reads {self._opens} {what}."
        return self._kind(message, hint=hint, details=details or None)


# ---------------------------------------------------------------- the child's end


@contextmanager
def to_parent() -> Iterator[Channel]:
    """The parent, in the child; an `EdgeqError` in the block is sent to it.

    Output of libraries goes to stderr.
    """
    with os.fdopen(os.dup(1), "wb") as outgoing:
        os.dup2(2, 1)
        channel = Channel(sys.stdin.buffer, outgoing)
        try:
            yield channel
        except EdgeqError as error:
            channel.send(failure(error))
