"""A device behind adb: keeper and agent if it has a Python, otherwise only its shell."""

from __future__ import annotations

from edgeq.device_runners.devices import android_shell
from edgeq.device_runners.devices.board import BoardDevice
from edgeq.device_runners.links import adb_link, adb_server, adb_shell
from edgeq.device_runners.links.adb_shell import Shell
from edgeq.device_runners.links.link import Link
from edgeq.errors import DeviceError
from edgeq.values import DeviceFacts

_OLDEST_PYTHON = "import sys; sys.exit(sys.version_info < (3, 8))"


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
        self, name: str, serial: str | None, *, python: str | None = None, patience_s: float = 180.0
    ):
        super().__init__(name, self._connect, python=python, patience_s=patience_s)
        self._wanted, self._keeper_python = serial, python or "python3"
        self._patience_s = patience_s
        self._shell: Shell | None = None
        self._has_python: bool | None = None

    @property
    def shell(self) -> Shell:
        """Its shell; the first use requires that the device is attached.

        Raises:
            DeviceError: the device is not attached, or cannot be used.
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

    def _connect(self) -> Link:
        self.require_python()
        return adb_link.connect(self.shell.serial, self._keeper_python)

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
        """Check that a Python there can run the agent; most phones have none."""
        if self.has_python:
            return
        raise DeviceError(
            f"{self.name} has no Python 3.8 or newer ({self._keeper_python}), which every "
            "command except bench needs.",
            hint="bench runs there with TensorFlow's benchmark_model: --benchmark-model PATH. "
            "If its Python is elsewhere, name it: --python PATH",
        )

    def facts(self) -> DeviceFacts:
        """The agent's facts; without a Python there, those that its shell reports."""
        if self._facts is None and not self.has_python:
            self._facts = android_shell.read_facts(self.shell)
        return super().facts()

    def tool_shell(self, program: str | None) -> Shell | None:
        """The shell, unless the user named a Python, or the device has one and no program."""
        if program is None and (self.python is not None or self.has_python):
            return None
        return self.shell

    def clean(self) -> int:
        """Delete the caches of the shell and of the agent; the bytes freed."""
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
