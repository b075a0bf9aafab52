"""A device behind adb: a board's keeper and agent where a Python is there, else its shell alone."""

from __future__ import annotations

import shlex

from edgeq.device_runners.devices import android_shell
from edgeq.device_runners.devices.board import BoardDevice
from edgeq.device_runners.links import adb_server, adb_shell, keeper_link
from edgeq.device_runners.links.adb_server import Stream
from edgeq.device_runners.links.adb_shell import Shell
from edgeq.device_runners.links.keeper_link import Frames
from edgeq.device_runners.links.link import Link, LinkLostError
from edgeq.errors import DeviceError
from edgeq.values import DeviceFacts

_START_S = 60.0  # for the keeper's first line
_ANSWER_S = 900.0  # of the keeper: it may have to take a large archive apart
_OLDEST_PYTHON = "import sys; sys.exit(sys.version_info < (3, 8))"


class AdbLink(Link):
    """A keeper as a process of adb's `exec` service, which is not a terminal."""

    def __init__(self, serial: str, stream: Stream):
        self._serial, self._stream = serial, stream
        self._frames = Frames()

    def ask(self, request: bytes) -> bytes:
        """See `Link`."""
        self._stream.send(request)
        return self.receive(_ANSWER_S)

    def receive(self, timeout_s: float) -> bytes:
        """The next answer."""
        while (answer := self._frames.next()) is None:
            data = self._stream.read_some(lambda: adb_server.is_alive(self._serial), timeout_s)
            if not data:
                raise LinkLostError("the connection was closed")
            self._frames.feed(data)
        return answer

    def rest(self) -> bytes:
        """The end of what came beside answers."""
        return self._frames.rest()

    def close(self) -> None:
        """See `Link`."""
        self._stream.close()


def start_keeper(serial: str, python: str) -> AdbLink:
    """Send the keeper's text to the device's Python, and wait for its first answer.

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
        if printed := link.rest().strip():
            last = keeper_link.last_line(printed)
            raise DeviceError(f"{python} on {serial} ended before it answered: {last}.") from None
        raise
    except BaseException:
        link.close()
        raise


def open_device(place: str, name: str, python: str | None) -> AdbDevice:
    """The device with this serial, or the only one."""
    return AdbDevice(name, place or None, python=python)


class AdbDevice(BoardDevice):
    """A device behind adb.

    Args:
        name: as the user calls it; "adb" becomes "adb:SERIAL" once that is known.
        serial: None for the only device that adb has.
        python: interpreter there that runs the keeper and the agent; by default python3.
        patience_s: for a broken link to come back during a run.
    """

    def __init__(
        self,
        name: str,
        serial: str | None,
        *,
        python: str | None = None,
        patience_s: float = 180.0,
    ):
        super().__init__(name, self._connect, python=python, patience_s=patience_s)
        self._wanted, self._keeper_python = serial, python or "python3"
        self._patience_s = patience_s
        self._shell: Shell | None = None
        self._has_python: bool | None = None

    @property
    def shell(self) -> Shell:
        """Its shell; the first time, the device has to be there.

        Raises:
            DeviceError: it is not, or cannot be used.
        """
        if self._shell is None:
            serial = adb_server.choose_device(self._wanted)
            if self.name == "adb":
                self.name = self.session.name = f"adb:{serial}"
            if not adb_server.is_alive(serial):
                raise DeviceError(
                    f"{self.name} is attached, and its shell does not answer.",
                    hint=f"Plug it in again, or restart it: adb -s {serial} reboot",
                )
            self._shell = Shell(self.name, serial, self._patience_s)
        return self._shell

    def _connect(self) -> AdbLink:
        self.require_python()
        return start_keeper(self.shell.serial, self._keeper_python)

    @property
    def has_python(self) -> bool:
        """Whether a Python there can run the agent."""
        if self._has_python is None:
            try:
                self.shell.attempt('exec "$1" -c "$2" 2>&1', self._keeper_python, _OLDEST_PYTHON)
                self._has_python = True
            except adb_shell.ScriptError:
                self._has_python = False
        return self._has_python

    def require_python(self) -> None:
        """See `Device`."""
        if self.has_python:
            return
        raise DeviceError(
            f"{self.name} has no Python 3.8 or newer ({self._keeper_python}), which all but bench "
            "needs.",
            hint="bench runs there with TensorFlow's benchmark_model: --benchmark-model PATH. "
            "Where a Python lies elsewhere there, name it: --python PATH",
        )

    def facts(self) -> DeviceFacts:
        """See `device.Device`; without a Python there, from its shell."""
        if self._facts is None and not self.has_python:
            self._facts = android_shell.read_facts(self.shell)
        return super().facts()

    def tool_shell(self, program: str | None) -> Shell | None:
        """See `Device`: the agent measures where the user named a Python, or there is one."""
        if program is None and (self.python is not None or self.has_python):
            return None
        return self.shell

    def clean(self) -> int:
        """Delete edgeq's cache there, made by either way of running; the bytes freed."""
        freed = self.shell.clean()
        if self.has_python:
            freed += super().clean()
        return freed

    @property
    def sent_bytes(self) -> int:
        """Bytes of files that arrived there, and were not in the cache."""
        return self.session.sent_bytes + (0 if self._shell is None else self._shell.sent_bytes)

    def forget_facts(self) -> None:
        """Ask again next time."""
        super().forget_facts()
        self._has_python = None
