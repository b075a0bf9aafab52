"""Links to a keeper: requests, files, and waiting for a new link when one breaks."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from edgeq.errors import DeviceError

_Result = TypeVar("_Result")

OnBytes = Callable[[int], None]

PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0)  # between attempts to connect again; the last one repeats
_BLOCK_BYTES = 1 << 20  # of a file, sent or requested at a time
_FEWEST_FREE_BYTES = 16 << 20
_HOW_TO_REACH = "Check the name, that the board is on, and that its sshd runs."


class LinkLostError(Exception):
    """The connection ended, or could not be made at this moment; a later one may work.

    Args:
        hint: what to do if no later one does.
    """

    def __init__(self, message: str, hint: str = _HOW_TO_REACH):
        super().__init__(message)
        self.hint = hint


class Link(ABC):
    """One connection to a keeper; once lost, it stays lost.

    Files go the same way as requests, in blocks that are each answered. Every method raises
    LinkLostError.
    """

    @abstractmethod
    def ask(self, request: bytes) -> bytes:
        """Send one request to the keeper and read its answer."""

    @abstractmethod
    def close(self) -> None:
        """End it; the keeper ends with it."""

    def send(self, path: Path, target: str, offset: int, on_bytes: OnBytes) -> None:
        """Write a file's content from an offset on to a file that already has this many bytes.

        Args:
            on_bytes: called with the number of bytes of each block that arrived.

        Raises:
            OSError: the board refused to write.
        """
        with path.open("rb") as source:
            source.seek(offset)
            while block := source.read(_BLOCK_BYTES):
                self._call("write", block, path=target, offset=offset, size=len(block))
                offset += len(block)
                on_bytes(len(block))  # in this thread: it may stop the run

    def fetch(self, source: str, path: Path) -> None:
        """Copy a file from there.

        Raises:
            OSError: the board refused to read.
        """
        offset = 0
        with path.open("wb") as target:
            while block := self._call("read", path=source, offset=offset, size=_BLOCK_BYTES):
                target.write(block)
                offset += len(block)

    def _call(self, call: str, content: bytes = b"", **arguments: Any) -> bytes:
        reply, block = self.call(call, content, **arguments)
        if "error" in reply:
            raise OSError(reply["error"]["message"])
        return block

    def call(self, call: str, content: bytes = b"", /, **arguments: Any) -> tuple[Any, bytes]:
        """One call of the keeper: its reply, with "ok" or "error", and the bytes behind it."""
        request = json.dumps({"call": call, "arguments": arguments}).encode()
        return split(self.ask(request + b"\n" + content))


def split(answer: bytes) -> tuple[dict[str, Any], bytes]:
    """A keeper's answer: the decoded first line, and the bytes behind it."""
    text, _, content = answer.partition(b"\n")
    try:
        return json.loads(text), content
    except ValueError as error:
        raise LinkLostError(f"an answer is not JSON: {text[:200]!r}") from error


def insist(connect: Callable[[], _Result], name: str, patience_s: float, hint: str) -> _Result:
    """Connect again, as often as it takes.

    Args:
        connect: raises LinkLostError if a later attempt may work.
        name: of the device, in messages.
        hint: what to do if the link does not come back.

    Raises:
        DeviceError: the link does not come back.
    """
    began, attempt = time.monotonic(), 0
    while True:
        try:
            return connect()
        except LinkLostError as error:
            if time.monotonic() - began > patience_s:
                raise DeviceError(
                    f"The link to {name} was lost and did not come back in {patience_s:g} s: "
                    f"{error}.",
                    hint=hint,
                ) from error
        time.sleep(PAUSES_S[min(attempt, len(PAUSES_S) - 1)])
        attempt += 1


def require_room(name: str, path: Path, room: int, root: str) -> None:
    """Check that a file fits on a device's disk.

    Args:
        room: free bytes in `root`.

    Raises:
        DeviceError: it does not.
    """
    size = path.stat().st_size
    if room < size + _FEWEST_FREE_BYTES:
        raise DeviceError(
            f"The disk of {name} is too full for {path.name}: it needs {size / 1e6:.1f} MB, and "
            f"{room / 1e6:.1f} MB are free in {root}.",
            hint=f"Make room there, or empty edgeq's cache: edgeq devices clean {name}",
        )
