"""A board over SSH: `user@host`, `ssh://user@host:port`, or a host of ~/.ssh/config."""

from __future__ import annotations

import shlex
from dataclasses import replace

from edgeq.device_runners.devices.board import BoardDevice
from edgeq.device_runners.links import ssh, ssh_address


def open_device(text: str, name: str, python: str | None) -> BoardDevice:
    """The board at an address that `ssh_address.parse` reads."""
    address = ssh_address.parse(text)
    assert address is not None
    # If the board has no python3 in its PATH, the interpreter that is named runs the keeper, too.
    where = replace(address, python=shlex.quote(python or "python3"))
    return BoardDevice(name, lambda: ssh.connect(where), python=python)
