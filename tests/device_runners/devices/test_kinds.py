"""The table of kinds: every kind can be opened, and its addresses name it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeq.device_runners.devices.kinds import KINDS, Kind, find_kind

NAMES = [kind.module for kind in KINDS]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ssh configuration with an alias that is also a kind's word."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host adb mypi\n")


@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
def test_a_kind_has_the_functions_of_its_row(kind: Kind) -> None:
    module = kind.load()
    assert callable(module.open_device)
    assert kind.is_virtual == hasattr(module, "build") == hasattr(module, "stop")


@pytest.mark.parametrize(
    ("address", "module", "place"),
    [
        ("local", "local", ""),
        ("local:/usr/bin/python3", "local", "/usr/bin/python3"),
        ("pi@host:22", "ssh_board", "pi@host:22"),
        ("ssh://host", "ssh_board", "ssh://host"),
        ("mypi", "ssh_board", "mypi"),
        ("adb", "adb", ""),  # not the alias of ssh
        ("adb:127.0.0.1:5555", "adb", "127.0.0.1:5555"),
        ("emulated:arm64-2", "emulated", "arm64-2"),
    ],
)
def test_an_address_names_its_kind(address: str, module: str, place: str) -> None:
    found = find_kind(address)
    assert found is not None
    assert (found[0].module, found[1]) == (module, place)


@pytest.mark.parametrize("address", ["", "adb:", "local:", "host", "usb:1"])
def test_other_text_names_none(address: str) -> None:
    assert find_kind(address) is None
