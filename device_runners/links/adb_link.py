"""A link over adb: the keeper is a process of adb's `exec` service, which is not a terminal."""

from __future__ import annotations

import shlex

from edgeq.device_runners.links import adb_server, keeper_link
from edgeq.device_runners.links.keeper_link import Frames
from edgeq.device_runners.links.link import Link, LinkLostError
from edgeq.errors import DeviceError

_START_S = 60.0  # for the keeper's first line
_ANSWER_S = 900.0  # for the keeper's answer: it may have to unpack a large archive


class AdbLink(Link):
    """A keeper on a device, by its serial."""

    def __init__(self, serial: str, stream: adb_server.Stream):
        self._serial, self._stream = serial, stream
        self.frames = Frames()

    def ask(self, request: bytes) -> bytes:
        """Send one request and read the answer; a silent device is probed meanwhile."""
        self._stream.send(request)
        return self.receive(_ANSWER_S)

    def receive(self, timeout_s: float) -> bytes:
        """The next answer."""
        while (answer := self.frames.next()) is None:
            data = self._stream.read_some(lambda: adb_server.is_alive(self._serial), timeout_s)
            if not data:
                raise LinkLostError("the connection was closed")
            self.frames.feed(data)
        return answer

    def close(self) -> None:
        """End the service, and the keeper with it."""
        self._stream.close()


def connect(serial: str, python: str) -> AdbLink:
    """Start the device's Python, send it the keeper, and wait for the first answer.

    Raises:
        LinkLostError: the link broke.
        DeviceError: the Python there ended.
    """
    stream = adb_server.open_service(serial, f"exec:{keeper_link.command(shlex.quote(python))}")
    link = AdbLink(serial, stream)
    try:
        stream.send(b"".join(keeper_link.programs()))
        keeper_link.check_start(link.receive(_START_S), python, serial)
        return link
    except LinkLostError:
        link.close()
        if printed := link.frames.rest().strip():
            last = keeper_link.last_line(printed)
            raise DeviceError(f"{python} on {serial} ended before it answered: {last}.") from None
        raise
    except BaseException:
        link.close()
        raise
