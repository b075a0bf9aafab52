"""Names for devices: `edgeq.toml` beside the project, and the user's own list.

    [devices.pi4]
    address = "ssh://pi@raspberrypi.local"
    python = "/usr/bin/python3.11"     # optional

The nearest `edgeq.toml` upwards from the current folder goes before the user's list. Its author may
be unknown: a program that it names for a device is started only if the user has agreed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from edgeq.device_runners.devices.kinds import KINDS, WORDS
from edgeq.errors import UsageError
from edgeq.files import storage
from edgeq.project import NamedCode, find_lines
from edgeq.values.showing import bounded

PROJECT_FILE = "edgeq.toml"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_KEYS = ("address", "python")


@bounded
@dataclass(frozen=True)
class NamedDevice:
    """An entry.

    Attributes:
        name: the value of `--device`.
        address: see `kinds.KINDS`.
        python: interpreter there, None for the default.
        file: that contains it.
    """

    name: str
    address: str
    python: str | None
    file: Path


# Entries of an `edgeq.toml` whose programs the user agreed to, for as long as this process lives.
_trusted: set[NamedDevice] = set()


def user_file() -> Path:
    """The path of the user's own list; the file is optional."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "edgeq" / "devices.toml"


def project_file() -> Path | None:
    """The nearest `edgeq.toml`, None without one."""
    here = Path.cwd()
    return next((f / PROJECT_FILE for f in (here, *here.parents) if (f / PROJECT_FILE).is_file()),
                None)  # fmt: skip


def read_devices(project: str | Path | None = None) -> dict[str, NamedDevice]:
    """All named devices, by name.

    Args:
        project: the `edgeq.toml` that goes before the user's list, by default the nearest one.

    Raises:
        UsageError: a file is not TOML, or an entry is wrong.
    """
    found: dict[str, NamedDevice] = {}
    own = project_file() if project is None else Path(project)
    for path in filter(None, (user_file(), own)):
        if path.is_file():
            for name, entry in _load(path).get("devices", {}).items():
                found[str(name)] = _read_entry(path, str(name), entry)
    return found


def programs_of(device: NamedDevice) -> tuple[NamedCode, ...]:
    """Programs that an `edgeq.toml` makes a device start; none in the user's own list."""
    if device.file == user_file():
        return ()
    word, colon, _ = device.address.partition(":")
    found = []
    if colon and any(kind.word == word and kind.starts_program for kind in KINDS):
        found.append(("address", device.address, "on this machine"))
    if device.python is not None:
        where = "on this machine" if word == "local" else "on the device"
        found.append(("python", device.python, where))
    lines = find_lines(device.file.read_text("utf-8-sig")) if found else {}
    return tuple(
        NamedCode(
            str(device.file) if line is None else f"{device.file}, line {line}",
            f"[devices.{device.name}] {key} = {json.dumps(value)}",
            f"starts this program {place}",
        )
        for key, value, place in found
        for line in [lines.get(("devices", device.name, key))]
    )


def trust(device: NamedDevice) -> None:
    """Let the programs of exactly this entry be started, until this process ends."""
    _trusted.add(device)


def require_trusted(device: NamedDevice) -> None:
    """Refuse a device with programs that the user has not trusted.

    Raises:
        UsageError: it has such programs.
    """
    programs = programs_of(device)
    if programs and device not in _trusted:
        raise UsageError(
            f"{programs[0].where} names a program for device {device.name!r}: "
            f"{programs[0].written}.",
            hint="If you trust who wrote it, pass --trust-project; from Python, name the address "
            "itself.",
        )


def _load(path: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError, TOMLKitError) as error:
        raise UsageError(f"{path} cannot be read as TOML: {error}.") from error


def _read_entry(path: Path, name: str, entry: Any) -> NamedDevice:
    check_name(name)
    if not isinstance(entry, Mapping) or not isinstance(entry.get("address"), str):
        raise UsageError(
            f"Device {name!r} in {path} has no address.", hint='Write: address = "ssh://user@host"'
        )
    unknown = sorted(set(entry) - set(_KEYS))
    if unknown:
        raise UsageError(
            f"Device {name!r} in {path} has an unknown key {unknown[0]!r}; known keys: "
            f"{', '.join(_KEYS)}."
        )
    python = entry.get("python")
    return NamedDevice(name, str(entry["address"]), None if python is None else str(python), path)


def check_name(name: str) -> None:
    """Refuse a name that cannot be distinguished from an address.

    Raises:
        UsageError: it cannot.
    """
    if not _NAME.fullmatch(name) or name in WORDS:
        *first, last = WORDS
        raise UsageError(
            f"{name!r} cannot be a device's name.",
            hint="Use letters, digits, '-', '_' and '.'; "
            f"{', '.join(first)} and {last} are reserved.",
        )


def add_device(name: str, address: str, python: str | None, *, in_project: bool) -> NamedDevice:
    """Write an entry; comments and other entries stay as they are.

    Raises:
        UsageError: the name is used or not possible.
    """
    check_name(name)
    known = read_devices().get(name)
    if known is not None:
        raise UsageError(
            f"Device {name!r} already exists: {known.address}, in {known.file}.",
            hint=f"Remove it first: edgeq devices remove {name}",
        )
    path = (project_file() or Path.cwd() / PROJECT_FILE) if in_project else user_file()
    document = _load(path) if path.is_file() else tomlkit.document()
    entry = tomlkit.table()
    entry["address"] = address
    if python is not None:
        entry["python"] = python
    devices = document.setdefault("devices", tomlkit.table(is_super_table=True))
    devices[name] = entry
    path.parent.mkdir(parents=True, exist_ok=True)
    storage.write_atomically(path, tomlkit.dumps(document).encode())
    return NamedDevice(name, address, python, path)


def remove_device(name: str) -> NamedDevice:
    """Delete an entry from the file that holds it.

    Raises:
        UsageError: no entry has this name.
    """
    devices = read_devices()
    if name not in devices:
        known = ", ".join(devices) or "none"
        raise UsageError(f"There is no device {name!r}; known devices: {known}.")
    found = devices[name]
    document = _load(found.file)
    del document["devices"][name]
    storage.write_atomically(found.file, tomlkit.dumps(document).encode())
    return found
