"""Calls to the keeper on a board over links that may break.

A `Link` is one connection, over SSH or adb; a `Session` makes a new one when it is lost.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from edgeq.device_runners.links.link import (
    PAUSES_S,
    Link,
    LinkLostError,
    OnBytes,
    insist,
    require_room,
)
from edgeq.errors import DeviceError
from edgeq.files import storage

_Result = TypeVar("_Result")

_MOST_LOSSES = 5  # of links in a row that could be made, with nothing done over any of them


class BoardRefusedError(DeviceError):
    """The keeper refused a request.

    Attributes:
        code: the reason, see `KeeperError` in `on_board/keeper/`.
    """

    code = ""


class Session:
    """Calls to the keeper over link after link.

    Args:
        name: of the board, in messages.
        connect: makes a link with the keeper started; raises LinkLostError when it may work later,
            and DeviceError when it will not.
        patience_s: for a link to come back.
    """

    def __init__(self, name: str, connect: Callable[[], Link], patience_s: float):
        self.name = name
        self._connect, self._patience_s = connect, patience_s
        self._link: Link | None = None
        self.sent_bytes = 0
        self.hello: dict[str, Any] = {}

    def open(self) -> None:
        """Connect for the first time.

        Raises:
            DeviceError: it cannot be reached, or has no place for the cache.
        """
        if self._link is None:
            try:
                self._start()
            except LinkLostError as error:
                raise DeviceError(
                    f"{self.name} cannot be reached: {error}.", hint=error.hint
                ) from error

    def _start(self) -> None:
        link = self._connect()
        try:
            self.hello = self._ask(link, "hello")
        except BaseException:
            link.close()
            raise
        self._link = link

    def lose(self) -> None:
        """End the link; the next call makes a new one."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def call(self, call: str, /, patience_s: float | None = None, **arguments: Any) -> Any:
        """One call of the keeper, over a new link where the old one breaks.

        Raises:
            DeviceError: the keeper cannot do it, or the link does not come back.
        """
        return self._insist(lambda link: self._ask(link, call, **arguments), patience_s)

    def _insist(
        self,
        work: Callable[[Link], _Result],
        patience_s: float | None = None,
        losses: _Losses | None = None,
    ) -> _Result:
        """Do something over one link after another, until it is done.

        Raises:
            DeviceError: too many links broke, or none comes back.
        """
        losses = losses or _Losses(self.name)
        patience_s = self._patience_s if patience_s is None else patience_s
        hint = "Run the same command again when the board can be reached."
        while True:
            if self._link is None:
                insist(self._start, self.name, patience_s, hint)
            assert self._link is not None
            try:
                return work(self._link)
            except LinkLostError as error:
                self.lose()
                losses.count(error)

    def _ask(self, link: Link, call: str, /, **arguments: Any) -> Any:
        reply, _ = link.call(call, **arguments)
        if "error" in reply:
            raise _explain(self.name, reply["error"])
        return reply["ok"]

    def send(self, path: Path, on_bytes: OnBytes = lambda size: None) -> str:
        """Bring a file into the board's cache, unless it has it; its digest.

        A broken upload continues where it broke.

        Raises:
            DeviceError: the disk there is full, or the link does not come back.
        """
        digest, size = storage.hash_file(path), path.stat().st_size
        if not self.call("missing", files={digest: size}):
            return digest
        self._require_room(path)
        name = f"{digest}-{secrets.token_hex(4)}"
        losses = _Losses(self.name)

        def count(sent: int) -> None:
            self.sent_bytes += sent
            on_bytes(sent)

        def work(link: Link) -> None:
            offset = self._ask(link, "received", name=name)
            losses.note(offset)
            link.send(path, f"{self.hello['root']}/incoming/{name}", offset, count)

        try:
            self._insist(work, losses=losses)
        except OSError as error:
            self._require_room(path)
            raise DeviceError(f"{self.name} cannot store {path.name}: {error}.") from error
        self.call("accept", name=name, digest=digest)
        return digest

    def _require_room(self, path: Path) -> None:
        require_room(self.name, path, self.call("room"), self.hello["root"])

    def fetch(self, source: str, digest: str, path: Path) -> None:
        """Copy a file from there, whole or not at all."""
        partial = path.with_name(f"{path.name}.part")

        def work(link: Link) -> None:
            link.fetch(source, partial)
            if storage.hash_file(partial) != digest:
                raise LinkLostError(f"{path.name} arrived with a wrong checksum")
            partial.replace(path)

        try:
            self._insist(work)
        except OSError as error:
            raise DeviceError(f"{self.name} cannot send {path.name}: {error}.") from error


class _Losses:
    """Counts links that broke in a row, so that attempts end if every link breaks."""

    def __init__(self, name: str):
        self._name = name
        self._count, self._furthest = 0, 0

    def note(self, place: int) -> None:
        """The progress so far; links that break with progress between them are not in a row."""
        if place > self._furthest:
            self._count, self._furthest = 0, place

    def count(self, error: LinkLostError) -> None:
        """Count one more, and wait; not after the first.

        Raises:
            DeviceError: too many.
        """
        self._count += 1
        if self._count >= _MOST_LOSSES:
            raise DeviceError(
                f"The link to {self._name} was lost {_MOST_LOSSES} times in a row: {error}.",
                hint="Look for what ends it: the network, or the log of sshd on the board.",
            ) from error
        if self._count > 1:
            time.sleep(PAUSES_S[self._count - 2])


def _explain(name: str, error: Mapping[str, str]) -> BoardRefusedError:
    """The keeper's error as a sentence."""
    said = error["message"]
    known = {
        "no_place": (
            f"{name} has no folder for edgeq's cache: {said}.",
            "Set XDG_CACHE_HOME there to a folder where files can be written and executed.",
        ),
        "disk_full": (
            f"The disk of {name} is full: {said}.",
            f"Make room there, or empty edgeq's cache: edgeq devices clean {name}",
        ),
        "busy": (
            f"A run on {name} needs what would be deleted: {said}.",
            "Try again when that run has ended; Ctrl-C where it was started ends it.",
        ),
        "no_python": (
            f"{name} has no usable Python at {said}.",
            "Name an interpreter of that board with --python, or remove --python; then edgeq "
            "makes its own environment there.",
        ),
    }
    if error["code"] in known:
        message, hint = known[error["code"]]
        found = BoardRefusedError(message, hint=hint)
    else:
        # A tool's last line says what failed, the lines before it say where.
        lines = said.strip().splitlines() or ["it printed nothing"]
        message = f"{name} failed: {lines[-1]}.".replace("..", ".")
        found = BoardRefusedError(message, details=said if lines[1:] else None)
    found.code = error["code"]
    return found
