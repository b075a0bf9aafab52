from __future__ import annotations

from pathlib import Path

import pytest

from edgeq.device_runners.devices import registry
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.device_runners.links.ssh_address import SshAddress, parse
from edgeq.errors import UsageError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's files and the current folder, empty."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    project = tmp_path / "project" / "inside"
    project.mkdir(parents=True)
    monkeypatch.chdir(project)
    return tmp_path


def test_names_are_kept_and_comments_stay(home: Path) -> None:
    file = home / "config" / "edgeq" / "devices.toml"
    file.parent.mkdir(parents=True)
    file.write_text('# mine\n[devices.old]\naddress = "ssh://pi@old"  # slow\n')
    registry.add_device("pi4", "ssh://pi@raspberrypi", "/usr/bin/python3.11", in_project=False)
    assert list(registry.read_devices()) == ["old", "pi4"]
    found = registry.read_devices()["pi4"]
    assert (found.address, found.python, found.file) == (
        "ssh://pi@raspberrypi", "/usr/bin/python3.11", file
    )  # fmt: skip
    registry.remove_device("pi4")
    assert file.read_text().startswith('# mine\n[devices.old]\naddress = "ssh://pi@old"  # slow\n')
    assert list(registry.read_devices()) == ["old"]


def test_the_nearest_project_file_goes_first(home: Path) -> None:
    registry.add_device("pi", "ssh://pi@mine", None, in_project=False)
    (home / "project" / "edgeq.toml").write_text('[devices.pi]\naddress = "ssh://pi@ours"\n')
    assert registry.read_devices()["pi"].address == "ssh://pi@ours"
    assert registry.remove_device("pi").file == home / "project" / "edgeq.toml"
    assert registry.read_devices()["pi"].address == "ssh://pi@mine"


def test_a_project_gets_its_file_here(home: Path) -> None:
    entry = registry.add_device("pi", "ssh://pi@ours", None, in_project=True)
    assert entry.file == home / "project" / "inside" / "edgeq.toml"
    assert entry.file.read_text() == '[devices.pi]\naddress = "ssh://pi@ours"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("devices = 3 4", "cannot be read as TOML: "),
        ("[devices.pi]\npython = 'x'", "Device 'pi' in "),
        (
            "[devices.pi]\naddress = 'ssh://a@b'\nport = 1",
            "an unknown key 'port'; known keys: ",
        ),
        ("[devices.local]\naddress = 'ssh://a@b'", "'local' cannot be a device's name."),
    ],
)
def test_a_broken_file_is_told(home: Path, text: str, message: str) -> None:
    (home / "project" / "edgeq.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        registry.read_devices()
    assert message in caught.value.message


def test_a_taken_name_and_an_unknown_one() -> None:
    registry.add_device("pi", "ssh://pi@here", None, in_project=False)
    with pytest.raises(UsageError, match="Device 'pi' already exists: ssh://pi@here, in "):
        registry.add_device("pi", "ssh://pi@there", None, in_project=False)
    with pytest.raises(UsageError, match=r"There is no device 'po'; known devices: pi\."):
        registry.remove_device("po")
    for name in ("-o", "a b", "adb", ""):
        with pytest.raises(UsageError, match="cannot be a device's name"):
            registry.add_device(name, "ssh://pi@there", None, in_project=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pi@raspberrypi.local", SshAddress("raspberrypi.local", "pi")),
        ("pi@10.0.0.7:2222", SshAddress("10.0.0.7", "pi", 2222)),
        ("ssh://board", SshAddress("board")),
        ("ssh://pi@board:22/", SshAddress("board", "pi", 22)),
        ("ssh://pi@[fe80::1%eth0]:22", SshAddress("fe80::1%eth0", "pi", 22)),
        ("toaster", None),
        ("mypi", SshAddress("mypi")),
    ],
)
def test_ssh_addresses(home: Path, text: str, expected: SshAddress | None) -> None:
    (home / ".ssh").mkdir()
    (home / ".ssh" / "config").write_text("Host mypi other*\n  HostName 10.0.0.7\nhost=x\n")
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "-oProxyCommand=touch@oops", "ssh://-oProxyCommand=touch oops", "ssh://pi@-oops",
        "pi@host:0", "pi@host:99999", "pi@ho st", "pi@host;reboot", "ssh://", "pi@",
    ],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_device(text)
    assert caught.value.message == f"{text!r} is not an SSH address."
