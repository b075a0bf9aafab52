"""What every device promises, and how a user's text names one."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgeq.children import sandbox
from edgeq.device_runners.devices.registry import read_devices, require_trusted
from edgeq.device_runners.links import ssh_files
from edgeq.device_runners.on_board import bundle
from edgeq.errors import UsageError
from edgeq.files import scratch
from edgeq.values import DeviceFacts

# Neither user nor host starts with a dash, and no shell finds a character of its own in them: a
# ProxyCommand or a Match exec of ~/.ssh/config may have them as words (%h, %r).
_SSH = re.compile(
    r"(ssh://)?((?P<user>\w[\w.+-]*)@)?"
    r"(\[(?P<bracketed>[0-9A-Za-z:.%]+)\]|(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]*))"
    r"(:(?P<port>\d{1,5}))?/?"
)

_ALIAS = re.compile(r"[A-Za-z0-9_][^\s/@:]*")

OnEvent = Callable[[dict[str, Any]], None]

KNOWN_FORMS = (
    "local, local:/path/to/python, user@host, ssh://user@host:port, a host of ~/.ssh/config, "
    "adb, adb:SERIAL, emulated:arm64"
)


class Device(Protocol):
    """A machine that can run the agent.

    A device only moves files and starts the agent; what is measured, and how, is the same
    everywhere and lives in `measure.py` and `on_board/agent/`.
    """

    name: str

    def facts(self) -> DeviceFacts:
        """What the agent finds there.

        Raises:
            DeviceError: unreachable, or no usable Python.
        """

    def run(
        self,
        job: Mapping[str, Any],
        files: Mapping[str, Path],
        folder: Path,
        *,
        on_event: OnEvent | None = None,
        deadline_s: float | None = None,
    ) -> dict[str, Any]:
        """Run one job.

        Args:
            job: see `on_board/agent/job.py`; names files relative to the job's folder.
            files: name in the job to a local file elsewhere: the models, which are worth keeping
                on a board under their digest.
            folder: local folder with the job's other inputs, sent as they are; it receives the
                outputs. What a broken run left there is not computed again.
            on_event: called with each event of the agent, from this thread.
            deadline_s: the agent and its workers are killed when it passes.

        Returns:
            The content of the agent's `result.json`; output files are in `folder`.

        Raises:
            DeviceError: the agent could not be started, died, or ran out of time. A model that
                fails is no error here; the result says so.
        """


def events_as_progress(on_progress: Callable[[str, int, int | None], None]) -> OnEvent:
    """The agent's events as progress steps; signs of life repeat the last one."""
    step, done, total = "start", 0, None

    def show(event: dict[str, Any]) -> None:
        nonlocal step, done, total
        if "step" in event:
            step, done, total = str(event["step"]), int(event["done"]), event.get("total")
        on_progress(step, done, total)

    return show


def complete(job: Mapping[str, Any], deadline_s: float | None) -> dict[str, Any]:
    """A job as an agent takes it: with its deadline, and the sandbox for its workers."""
    source = Path(sandbox.__file__).read_text("utf-8")
    return {**job, "deadline_s": deadline_s, "sandbox": source}


@contextmanager
def agent_file() -> Iterator[Path]:
    """The agent as one file that is there until the end of the block.

    It is in its own folder, where no sandboxed process may write.
    """
    with scratch.folder() as folder:
        path = folder / "agent.pyz"
        path.write_bytes(bundle.pack_agent())
        yield path


def upload_event(sent: int, total: int) -> dict[str, Any]:
    """Bytes of a file that arrived, as progress in kB."""
    kilobytes = -(-total // 1000)
    return {"event": "progress", "step": "upload, kB", "done": min(-(-sent // 1000), kilobytes),
            "total": kilobytes}  # fmt: skip


def resolve_device(text: str | Device, python: Path | None = None) -> Device:
    """The device a user names.

    Args:
        text: one of `KNOWN_FORMS`, or a name of the registry; or a device, which it stays.
        python: interpreter there that runs the agent.

    Raises:
        UsageError: an unknown form, two interpreters, or a program that an `edgeq.toml` names and
            nobody trusted.
    """
    if not isinstance(text, str):
        return text
    named = read_devices().get(text)
    if named is None:
        return resolve_address(text, text, None if python is None else str(python))
    require_trusted(named)
    if named.python is not None and python is not None:
        raise UsageError(f"Device {text!r} and --python {python} name two interpreters.")
    return resolve_address(named.address, text, str(python) if python else named.python)


def resolve_address(address: str, name: str, python: str | None) -> Device:
    """The device at an address.

    Args:
        address: one of `KNOWN_FORMS`.
        name: how it is called in messages and results.
        python: interpreter there.

    Raises:
        UsageError: an unknown form.
    """
    kind, _, rest = address.partition(":")
    if kind == "local" and (rest or ":" not in address):
        return _open_local(address, rest, python)
    if kind == "emulated":
        return _open_emulated(rest, name, python)
    if kind == "adb" and (rest or ":" not in address):
        return _open_adb(rest or None, name, python)
    if (found := parse_ssh(address)) is not None:
        return _open_ssh(found, name, python)
    known = "".join(f", {item}" for item in read_devices())
    raise UsageError(
        f"Unknown device {address!r}; known forms are {KNOWN_FORMS}{known}.",
        hint=_how_to_write(address),
    )


def _how_to_write(address: str) -> str | None:
    """What was probably meant."""
    if "," in address:
        return "One device is meant here, and that is a list: name one of them."
    if _SSH.fullmatch(address):
        return f"Write a board over SSH with its user, such as pi@{address}"
    return None


def _open_local(address: str, rest: str, python: str | None) -> Device:
    from edgeq.device_runners.devices.local import LocalDevice

    if rest and python is not None:
        raise UsageError(f"--device {address} and --python {python} name two interpreters.")
    chosen = rest or python
    return LocalDevice(None if chosen is None else Path(chosen))


def _open_emulated(machine: str, name: str, python: str | None) -> Device:
    from edgeq.device_runners.devices.emulated import open_board

    return open_board(machine, name, python)


def _open_adb(serial: str | None, name: str, python: str | None) -> Device:
    from edgeq.device_runners.devices.adb import AdbDevice

    return AdbDevice(name, serial, python=python)


def _open_ssh(found: SshPlace, name: str, python: str | None) -> Device:
    from edgeq.device_runners.devices.board import BoardDevice
    from edgeq.device_runners.links import ssh  # asyncssh takes a while to import

    # Where a board has no python3 in its PATH, the one that is named serves the keeper, too.
    where = ssh.SshAddress(found.host, found.user, found.port, shlex.quote(python or "python3"))
    return BoardDevice(name, lambda: ssh.connect(where), python=python)


@dataclass(frozen=True)
class SshPlace:
    """Host, user and port, None for what ~/.ssh/config or the defaults say."""

    host: str
    user: str | None = None
    port: int | None = None


def parse_ssh(text: str) -> SshPlace | None:
    """`ssh://[user@]host[:port]`, `user@host[:port]`, or an alias of ssh; else None.

    Raises:
        UsageError: such a form with a part that makes no sense.
    """
    is_url = text.startswith("ssh://")
    if not is_url and "@" not in text:
        return SshPlace(text) if _ALIAS.fullmatch(text) and ssh_files.names(text) else None
    match = _SSH.fullmatch(text)
    if match is None or int(match["port"] or 22) not in range(1, 65536):
        raise UsageError(
            f"{text!r} is no SSH address.", hint="Write it as ssh://user@host or ssh://user@host:22"
        )
    port = match["port"]
    host = match["bracketed"] or match["host"]
    return SshPlace(host, match["user"], None if port is None else int(port))
