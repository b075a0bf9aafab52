"""From the text that names a device to the device."""

from __future__ import annotations

from pathlib import Path

from edgeq.device_runners.devices.device import Device
from edgeq.device_runners.devices.kinds import FORMS, WORDS, find_kind
from edgeq.device_runners.devices.registry import read_devices, require_trusted
from edgeq.device_runners.links import ssh_address
from edgeq.errors import UsageError, did_you_mean


def resolve_device(text: str | Device, python: Path | None = None) -> Device:
    """The device that a user names.

    Args:
        text: an address (see `kinds.KINDS`), or a name of the registry; a device stays as it is.
        python: interpreter there that runs the agent.

    Raises:
        UsageError: an unknown form, two interpreters, or a program that an `edgeq.toml` names and
            the user has not trusted.
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
        address: see `kinds.KINDS`.
        name: of the device, in messages and results.
        python: interpreter there.

    Raises:
        UsageError: an unknown form.
    """
    if (found := find_kind(address)) is not None:
        kind, place = found
        device: Device = kind.load().open_device(place, name, python)
        return device
    hint = None
    if "," in address:
        hint = "Name one device of this list."
    elif ssh_address.FORM.fullmatch(address):
        is_word = address.replace("-", "").isalnum()  # others are certainly hosts
        guess = did_you_mean(address, [*WORDS, *read_devices()]) if is_word else ""
        hint = f"{guess}For a board over SSH, add its user, such as pi@{address}"
    known = "".join(f", {item}" for item in read_devices())
    raise UsageError(f"Unknown device {address!r}; known forms are {FORMS}{known}.", hint=hint)
