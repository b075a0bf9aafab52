"""The adb server of this machine: its devices, and services on them.

The server's protocol is AOSP's (packages/modules/adb: OVERVIEW.TXT, SERVICES.TXT, SYNC.TXT). A
request is four hex digits of length and a text; the answer begins with OKAY, or with FAIL and a
text. After `host:transport:SERIAL` the next request is a service of the device, and the socket is
that service's. Nothing here calls the `adb` program, so no serial can be read as an option.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from edgeq.device_runners.links.link import LinkLostError
from edgeq.errors import DeviceError, UsageError

_CONNECT_S = 5.0
_REPLY_S = 20.0  # for the server, or a device, to take a request
_SETTLE_S = 3.0  # for a device that was plugged in a moment ago
_PROBE_S = 5.0  # of silence, after which a device is probed
_PROBES = 3  # unanswered, before it counts as lost
_BLOCK_BYTES = 1 << 16
_LOOK = "Look which there are with: adb devices"


@dataclass(frozen=True)
class Attached:
    """A device as the server lists it: state "device" when it can be used."""

    serial: str
    state: str


def server_address() -> tuple[str, int]:
    """Host and port, from the variables that adb itself reads.

    Raises:
        UsageError: they cannot be read.
    """
    text = os.environ.get("ADB_SERVER_SOCKET")
    if text is None:
        host = os.environ.get("ANDROID_ADB_SERVER_ADDRESS", "127.0.0.1")
        text = f"tcp:{host}:{os.environ.get('ANDROID_ADB_SERVER_PORT', '5037')}"
    kind, _, rest = text.partition(":")
    host, _, port = rest.rpartition(":")
    if kind != "tcp" or not port.isdecimal() or int(port) not in range(1, 65536):
        raise UsageError(
            f"The adb server's address {text!r} cannot be read.",
            hint="Set ANDROID_ADB_SERVER_PORT to its port, or to nothing.",
        )
    return host or "127.0.0.1", int(port)


class RefusedError(Exception):
    """The server's, or a device's, FAIL with its text."""


class SilentError(LinkLostError):
    """Nothing came for a while."""


class Stream:
    """A socket to the server; every method raises LinkLostError when it ends or falls silent."""

    def __init__(self, connected: socket.socket):
        self._socket = connected
        self._buffer = b""

    def request(self, text: str) -> None:
        """Send one request.

        Raises:
            RefusedError: the server refused it.
        """
        content = text.encode()
        self.send(f"{len(content):04x}".encode() + content)
        answer = self.read(4)
        if answer == b"FAIL":
            raise RefusedError(self.read_string())
        if answer != b"OKAY":
            raise LinkLostError(f"the adb server answered {answer!r}")

    def read_string(self) -> str:
        """A text behind its length in four hex digits."""
        try:
            return self.read(int(self.read(4), 16)).decode("utf-8", "replace")
        except ValueError as error:
            raise LinkLostError(f"the answer of the adb server has no length: {error}") from error

    def read(self, size: int, timeout_s: float = _REPLY_S) -> bytes:
        """Exactly so many bytes, each block within the timeout."""
        while len(self._buffer) < size:
            block = self.receive(timeout_s)
            if not block:
                raise LinkLostError("adb closed the connection")
            self._buffer += block
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def read_until(self, mark: bytes, is_alive: Callable[[], bool], timeout_s: float) -> bytes:
        """Everything before a mark.

        Args:
            is_alive: called while the device is silent.
        """
        end, found = time.monotonic() + timeout_s, bytearray(self._buffer)
        while (place := found.find(mark, max(0, len(found) - 2 * _BLOCK_BYTES))) < 0:
            block = self._wait(is_alive, end)
            if not block:
                raise LinkLostError("the shell there ended early")
            found += block
        self._buffer = bytes(found[place + len(mark) :])
        return bytes(found[:place])

    def read_some(self, is_alive: Callable[[], bool], timeout_s: float) -> bytes:
        """The next bytes, empty at the end; other arguments as in `read_until`."""
        found, self._buffer = self._buffer, b""
        return found or self._wait(is_alive, time.monotonic() + timeout_s)

    def _wait(self, is_alive: Callable[[], bool], end: float) -> bytes:
        """The next bytes; the device is probed while it is silent."""
        silent = 0
        while True:
            try:
                return self.receive(_PROBE_S)
            except SilentError:
                silent = 0 if is_alive() else silent + 1
                if silent >= _PROBES or time.monotonic() > end:
                    raise

    def receive(self, timeout_s: float) -> bytes:
        """The next bytes; empty at the end."""
        if not select.select([self._socket], [], [], timeout_s)[0]:
            raise SilentError(f"no answer within {timeout_s:g} s")
        try:
            return self._socket.recv(_BLOCK_BYTES)
        except OSError as error:
            raise LinkLostError((error.strerror or str(error)).lower()) from error

    def send(self, content: bytes, *, until_answer: bool = False) -> None:
        """All of it.

        Args:
            until_answer: stop early where the other side has something to say instead.
        """
        view = memoryview(content)
        while view:
            heard = [self._socket] if until_answer else []
            readable, writable, _ = select.select(heard, [self._socket], [], _REPLY_S)
            if not readable and not writable:
                raise LinkLostError(f"it accepted no data for {_REPLY_S:g} s")
            if readable:
                return
            try:
                view = view[self._socket.send(view[:_BLOCK_BYTES]) :]
            except OSError as error:
                raise LinkLostError((error.strerror or str(error)).lower()) from error

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes a thread that reads
        self._socket.close()


def connect() -> Stream:
    """A connection to the server; edgeq does not start one.

    Raises:
        DeviceError: no server answers.
    """
    host, port = server_address()
    try:
        connected = socket.create_connection((host, port), _CONNECT_S)
    except OSError as error:
        is_here = shutil.which("adb") is not None
        missing = "" if is_here else ", and adb is not installed"
        install = "" if is_here else "Install it (Debian: sudo apt install adb). "
        raise DeviceError(
            f"No adb server answers at {host}:{port}{missing}.",
            hint=f"{install}Start it: adb start-server",
        ) from error
    connected.setblocking(False)
    return Stream(connected)


def list_attached() -> tuple[Attached, ...]:
    """All devices that the server knows.

    Raises:
        DeviceError: there is no server.
        LinkLostError: it does not answer.
    """
    stream = connect()
    try:
        stream.request("host:devices")
        lines = stream.read_string().splitlines()
    except RefusedError as error:
        raise LinkLostError(str(error)) from error
    finally:
        stream.close()
    return tuple(Attached(*line.split("\t", 1)) for line in lines if "\t" in line)


def open_service(serial: str, service: str) -> Stream:
    """A service of a device that was there before, such as "exec:COMMAND".

    Raises:
        LinkLostError: the server or the device is not there at this moment.
    """
    try:
        stream = connect()
    except DeviceError as error:
        raise LinkLostError(error.message.rstrip(".")) from error
    try:
        stream.request(f"host:transport:{serial}")
        stream.request(service)
    except RefusedError as error:
        stream.close()
        raise LinkLostError((str(error).splitlines() or ["refused"])[0].rstrip(".")) from error
    except BaseException:
        stream.close()
        raise
    return stream


def is_alive(serial: str) -> bool:
    """Whether a device answers within a few seconds."""
    try:
        stream = open_service(serial, "exec:echo alive")
        try:
            return stream.read(5, _PROBE_S) == b"alive"
        finally:
            stream.close()
    except LinkLostError:
        return False


# ---------------------------------------------------------------- which device


def choose_device(serial: str | None) -> str:
    """The serial of a device that can be used.

    Args:
        serial: as the user gave it; None for the only one.

    Raises:
        DeviceError: no such device, several devices, or one that cannot be used.
    """
    end = time.monotonic() + _SETTLE_S
    while True:  # a device that is being connected is waited for
        try:
            attached = list_attached()
        except LinkLostError as error:
            raise DeviceError(
                f"The adb server does not answer: {error}.",
                hint="Start it again: adb kill-server; adb start-server",
            ) from error
        states = {item.state for item in attached if serial in (None, item.serial)}
        if not states & {"authorizing", "connecting"} or time.monotonic() > end:
            break
        time.sleep(0.1)
    if serial is None and len(attached) > 1:
        names = ", ".join(device.serial for device in attached)
        raise DeviceError(
            f"adb has {len(attached)} devices, and --device adb does not say which: {names}.",
            hint=f"Name one: --device adb:{attached[0].serial}",
        )
    found = next((item for item in attached if serial in (None, item.serial)), None)
    if found is not None:
        _require_usable(found)
        return found.serial
    if attached:
        listed = ", ".join(f"{item.serial} ({item.state})" for item in attached)
        raise DeviceError(f"adb has no device {serial!r}; it has: {listed}.", hint=_LOOK)
    raise DeviceError(
        "adb has no device." if serial is None else f"adb has no device {serial!r}, and no other.",
        hint="Plug it in with USB debugging switched on, or type: adb connect HOST:5555",
    )


def _require_usable(device: Attached) -> None:
    """Refuse a device in a state that only its user can change."""
    serial, state = device.serial, device.state
    if state == "device":
        return
    message = f"{serial} is in the state {state!r}, in which no program can be run there."
    hint = f"Start its system: adb -s {serial} reboot"
    if state in ("unauthorized", "authorizing"):
        message = f"{serial} is {state}: it has not accepted this machine's adb key."
        hint = "Unlock it and accept 'Allow USB debugging?'. If it does not ask: adb kill-server, "
        hint += "and plug it in again."
    elif state in ("offline", "connecting"):
        message = f"{serial} is {state}: adb sees it, and it does not answer."
        hint = "Plug it in again, or type: adb reconnect offline"
    elif state.startswith("no permissions"):
        message = f"This user has no permission to open {serial}: {state}."
        hint = "Install the udev rules (Debian: sudo apt install "
        hint += "android-sdk-platform-tools-common) and plug it in again."
    raise DeviceError(message, hint=hint)
