"""The start of a keeper on a board, and its answers among other output.

A login prints what it likes before, between and after the keeper's answers: titles, a message of
the day, text of a program that it left running. An answer comes in parts, each with a mark and its
length in front and a mark behind; everything outside parts is skipped. There is no checksum: the
connection keeps the bytes right, and text that comes into a part moves its end.
"""

from __future__ import annotations

import functools
import re
import shlex

from edgeq.device_runners.links.link import LinkLostError, split
from edgeq.device_runners.on_board import bundle
from edgeq.device_runners.on_board.keeper.frames import MARK
from edgeq.errors import DeviceError

MOST_NOISE_BYTES = 64 << 20  # that may come between two answers
_KEPT_BYTES = 1 << 13  # of what was skipped, for a message
_LONGEST_LINE = 200  # of it in a message

_OLDEST = (3, 8)
_HEAD = b"\n" + MARK + b" "
_TAIL = b"\n" + MARK + b" end\n"
# Titles and colours, whole or cut off.
_ESCAPE = re.compile(r"\x1b(\][^\x07\x1b]*(\x07|\x1b\\|$)|\[[0-9;?]*[ -/]*[@-~]?|.)", re.DOTALL)


class Frames:
    """Takes bytes as they come, and gives the answers in them."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._kept = bytearray()
        self._skipped = 0
        self._parts: list[bytes] = []  # of an answer that is not whole

    def feed(self, data: bytes) -> None:
        """Add what came."""
        self._buffer += data

    def next(self) -> bytes | None:
        """The next answer; None while there is no whole one.

        Raises:
            LinkLostError: other text came into it.
            DeviceError: there is no end of other text.
        """
        while (found := self._part()) is not None:
            part, is_last = found
            self._parts.append(part)
            if is_last:
                answer = b"".join(self._parts)
                self._parts.clear()
                return answer
        return None

    def _part(self) -> tuple[bytes, bool] | None:
        place = self._buffer.find(_HEAD)
        self._skip(place if place >= 0 else len(self._buffer) - len(_HEAD) + 1)
        end = self._buffer.find(b"\n", len(_HEAD))
        if place < 0 or end < 0:
            return None
        size, more = bytes(self._buffer[len(_HEAD) : end - 1]), bytes(self._buffer[end - 1 : end])
        if not size.isdigit() or more not in (b"+", b"."):
            raise self._mixed()
        last = end + 1 + int(size)
        if len(self._buffer) < last + len(_TAIL):
            return None
        if self._buffer[last : last + len(_TAIL)] != _TAIL:
            raise self._mixed()
        part = bytes(self._buffer[end + 1 : last])
        del self._buffer[: last + len(_TAIL)]
        self._skipped = 0
        return part, more == b"."

    def rest(self) -> bytes:
        """The end of what was skipped, once nothing more comes."""
        self._skip(len(self._buffer))
        return bytes(self._kept)

    def _skip(self, size: int) -> None:
        if size <= 0:
            return
        self._kept += self._buffer[:size]
        del self._buffer[:size], self._kept[:-_KEPT_BYTES]
        self._skipped += size
        if self._skipped > MOST_NOISE_BYTES:
            whole = bytes(self._kept.rpartition(b"\n")[0] or self._kept)
            raise DeviceError(
                f"A login there prints without end: {last_line(whole)}.",
                hint="See what it prints, and take that out of .bashrc or the like there.",
            )

    def _mixed(self) -> LinkLostError:
        told = last_line(self.rest())
        return LinkLostError(f"other text came into an answer: {told}")


def plain_lines(text: bytes) -> list[str]:
    """Lines with something in them, without what would act on a terminal."""
    shown = _ESCAPE.sub("", text.decode("utf-8", "replace")).replace("\r", "\n")
    lines = ["".join(c for c in line if c.isprintable()).strip() for line in shown.split("\n")]
    return [line for line in lines if line]


def last_line(text: bytes) -> str:
    """The last of them, shortened, without a full stop."""
    lines = plain_lines(text)
    return lines[-1][:_LONGEST_LINE].rstrip(".") if lines else "it printed nothing"


# ---------------------------------------------------------------- the start


@functools.cache
def programs() -> tuple[bytes, bytes]:
    """The prologue and the keeper, as they are sent."""
    parts = bundle.keeper_parts()
    sizes = [(name, len(text)) for name, text in parts]
    begin = f"\nbegin({' '.join(bundle.required_modules())!r}, {sizes})\n"
    return bundle.prologue() + begin.encode(), b"".join(text for _, text in parts)


def command(python: str) -> str:
    """For the shell there, of any kind: one in quotes, without what csh or fish would expand.

    Args:
        python: words for a shell.
    """
    size = len(programs()[0])
    code = f'import sys;exec(getattr(sys.stdin,"buffer",sys.stdin).read({size}))'
    return shlex.join([*shlex.split(python), "-c", code])


def check_start(answer: bytes, python: str, where: str) -> None:
    """Refuse a Python that cannot run the keeper or the agent.

    Args:
        answer: the prologue's.
        where: the board, in messages.

    Raises:
        DeviceError: naming its version, or the modules that it lacks.
    """
    told, _ = split(answer)
    version, missing = str(told["python"]), str(told["missing"]).split()
    if tuple(map(int, version.split(".")[:2])) < _OLDEST:
        raise DeviceError(
            f"{python} on {where} is Python {version}, and edgeq needs 3.8 or newer there.",
            hint="Install a newer Python there, or name another interpreter with --python.",
        )
    if missing:
        raise DeviceError(
            f"{python} on {where}, Python {version}, lacks a part of the standard library: "
            f"{', '.join(missing)}.",
            hint="Install the rest of Python there (Debian: sudo apt install python3, not "
            "python3-minimal alone; Yocto: python3-modules), or name another interpreter with "
            "--python.",
        )
