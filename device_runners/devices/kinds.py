"""The kinds of devices: how an address names one, and which module opens it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from edgeq.device_runners.links import ssh_address


@dataclass(frozen=True)
class Kind:
    """One kind of device.

    Attributes:
        word: in front of the colon of an address; no device may have it as its name. None for SSH.
        forms: how to write an address, for error messages.
        example: the shortest form that needs no explanation, for help texts.
        module: in this folder. It has `open_device(place, name, python)`, and for virtual devices
            `build(place)` and `stop(place)`; place is the text behind the colon.
        starts_program: whether the text behind the colon names a program on this machine.
        is_virtual: whether edgeq builds and stops it.
    """

    word: str | None
    forms: tuple[str, ...]
    example: str
    module: str
    starts_program: bool = False
    is_virtual: bool = False

    def load(self) -> Any:
        """The module, imported when it is needed: asyncssh alone takes a while."""
        return import_module(f"{__package__}.{self.module}")


KINDS = (
    Kind("local", ("local", "local:/path/to/python"), "local", "local", starts_program=True),
    Kind(None, ("user@host", "ssh://user@host:port", "a host of ~/.ssh/config"), "user@host",
         "ssh_board"),
    Kind("adb", ("adb", "adb:SERIAL"), "adb:SERIAL", "adb"),
    Kind("emulated", ("emulated:arm64",), "emulated:arm64", "emulated", is_virtual=True),
)  # fmt: skip

FORMS = ", ".join(form for kind in KINDS for form in kind.forms)
EXAMPLES = ", ".join(kind.example for kind in KINDS)
WORDS = tuple(kind.word for kind in KINDS if kind.word is not None)


def find_kind(address: str) -> tuple[Kind, str] | None:
    """The kind of an address, and what the address names of that kind; None if it is unknown.

    Raises:
        UsageError: an SSH address with a part that cannot be.
    """
    word, colon, place = address.partition(":")
    for kind in sorted(KINDS, key=lambda kind: kind.word is None):  # words go before ssh's aliases
        if kind.word == word and (place or not colon):
            return kind, place
        if kind.word is None and ssh_address.parse(address) is not None:
            return kind, address
    return None
