"""The ssh configuration, as ssh reads it; and logins over it, against real sshds on loopback."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.device_runners.devices.board import BoardDevice
from edgeq.device_runners.links import ssh_config, ssh_files
from edgeq.device_runners.links.ssh_address import SshAddress, parse
from edgeq.device_runners.links.ssh_config import SshHost
from edgeq.errors import DeviceError
from tests.device_runners.boards import (
    SSHD,
    USER,
    Board,
    free_port,
    make_key,
    start_sshd,
    wait_until,
)

needs_sshd = pytest.mark.skipif(not Path(SSHD).exists(), reason="openssh-server is not installed")

Configure = Callable[..., Path]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder without anything, and no agent."""
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(ssh_files, "SYSTEM_FILE", tmp_path / "none")
    return folder


@pytest.fixture
def configure(home: Path) -> Configure:
    """Write ~/.ssh/config, and files beside it; the folder."""

    def write(text: str, **files: str) -> Path:
        (home / ".ssh" / "config").write_text(text)
        for name, content in files.items():
            path = home / ".ssh" / "config.d" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return home / ".ssh"

    return write


@pytest.fixture(params=["ssh", "asyncssh"])
def reader(request: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """With an ssh here, and without one."""
    if request.param == "ssh" and shutil.which("ssh") is None:
        pytest.skip("openssh-client is not installed")
    if request.param == "asyncssh":
        monkeypatch.setattr(ssh_config, "_has_ssh", lambda: False)
    yield request.param


def read(host: str, user: str | None = None, port: int | None = None) -> SshHost:
    return ssh_config.route(host, user, port)[-1]


# ---------------------------------------------------------------- what it says


def test_without_a_configuration_there_are_defaults(home: Path, reader: str) -> None:
    found = read("10.0.0.7")
    assert (found.host, found.port, found.user) == ("10.0.0.7", 22, USER)
    assert home / ".ssh" / "id_ed25519" in found.keys
    assert found.known_hosts[0] == home / ".ssh" / "known_hosts"
    assert (found.agent, found.jumps, found.proxy_command) == (None, (), None)
    assert not any(line.split()[0] in ("ciphers", "macs") for line in found.choices)


def test_include_match_wildcards_and_the_first_value(configure: Configure, reader: str) -> None:
    configure(
        "Include config.d/*\nHost pi*\n  User pi\n  Port 2222\n"
        'Match host 10.0.0.4 exec "test -n x"\n  Compression yes\n'
        "Host *\n  Port 22\n  User other\n",
        **{
            "boards": "Host=pi4\n  HostName = 10.0.0.4\n  Include config.d/sub/more\n",
            "sub/more": "Port 7\n",
        },
    )
    found = read("pi4")
    assert (found.host, found.user, found.port) == ("10.0.0.4", "pi", 7)
    assert "compression yes" in found.choices
    assert (read("pi5").host, read("pi5").port) == ("pi5", 2222)
    assert (read("x").user, read("x").port) == ("other", 22)
    assert (read("pi4", "me", 9).user, read("pi4", "me", 9).port) == ("me", 9)


def test_tokens_and_lists(
    configure: Configure, reader: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KEYS", str(tmp_path / "keys"))
    folder = configure(
        "Host pi4\n  HostName %h.lan\n  User pi\n  IdentityFile ~/.ssh/%r@%h\n"
        '  IdentityFile "${KEYS}/a b"\n  IdentitiesOnly yes\n  HostKeyAlias board\n'
        "  UserKnownHostsFile ~/.ssh/boards /etc/boards\n  ConnectTimeout 90\n"
        "  SetEnv A=1 B=2\n  ProxyCommand nc -X 5 %h %p\n"
    )
    found = read("pi4")
    assert found.host == "pi4.lan"
    assert found.keys == (folder / "pi@pi4.lan", tmp_path / "keys" / "a b")
    assert found.only_these
    assert found.known_as == "board"
    assert found.known_hosts[:2] == (folder / "boards", Path("/etc/boards"))
    assert found.proxy_command == "nc -X 5 pi4.lan 22"
    assert found.connect_s == 90
    assert dict(found.environment) == {"A": "1", "B": "2"}


def test_a_comment_behind_a_value(configure: Configure) -> None:
    """Older readers treat it as one more value."""
    configure("Host pi4\n  Port 7 # of the second one\n")
    assert read("pi4").port == 7


def test_a_chain_of_jump_hosts(configure: Configure, reader: str) -> None:
    configure(
        "Host board\n  ProxyJump me@gate:2200,inner\nHost inner\n  HostName 10.1.1.1\n"
        "  ProxyJump elsewhere\nHost gate\n  HostName gate.example\n  ProxyJump outer\n"
    )
    shown = [(hop.host, hop.user, hop.port) for hop in ssh_config.route("board", "pi")]
    assert shown == [
        ("outer", USER, 22), ("gate.example", "me", 2200), ("10.1.1.1", USER, 22),
        ("board", "pi", 22),
    ]  # fmt: skip


def test_jump_hosts_in_a_circle_are_told(configure: Configure, reader: str) -> None:
    configure("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n")
    with pytest.raises(DeviceError, match="The way to a goes through more than 10 jump hosts"):
        ssh_config.route("a")


def test_files_that_include_each_other_are_told(configure: Configure) -> None:
    configure("Include ~/.ssh/config\n")
    with pytest.raises(DeviceError, match="The ssh configuration includes itself, at "):
        ssh_config.route("a")
    assert not ssh_files.names("a")


def test_a_mistake_is_told_with_its_file_and_line(configure: Configure) -> None:
    folder = configure("Include config.d/*\n", mine="\nPort many\n")
    with pytest.raises(DeviceError) as caught:
        ssh_config.route("a")
    assert f"{folder}/config.d/mine line 2: " in caught.value.message
    assert caught.value.hint == "Fix it until this works: ssh -G a"


def test_the_systems_file_counts_after_the_users(
    configure: Configure, reader: str, tmp_path: Path
) -> None:
    configure("Host pi4\n  Port 7\n")
    (tmp_path / "none").write_text("Host pi4\n  Port 8\n  User pi\nHost *\n  Compression yes\n")
    found = read("pi4")
    assert (found.port, found.user, "compression yes" in found.choices) == (7, "pi", True)


def test_chosen_algorithms_are_passed_on(configure: Configure) -> None:
    configure("Host old\n  KexAlgorithms +diffie-hellman-group1-sha1\n")
    (line,) = [line for line in read("old").choices if line.startswith("kexalgorithms ")]
    assert line.endswith(",diffie-hellman-group1-sha1")


def test_what_is_no_openssh_is_not_asked(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """dropbear's client calls itself ssh on some systems."""
    other = tmp_path / "bin" / "ssh"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\necho Dropbear v2022.83 >&2\nexit 1\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(other.parent))
    monkeypatch.setattr(ssh_config, "_has_ssh", functools.cache(ssh_config._has_ssh.__wrapped__))
    configure("Host pi4\n  HostName 10.0.0.4\n")
    assert read("pi4").host == "10.0.0.4"


@pytest.mark.parametrize(
    ("config", "word", "is_named"),
    [
        ("Host pi4 pi5\n", "pi5", True),
        ("host=PI4\n", "pi4", True),
        ("Host pi? !pi6\n", "pi5", True),
        ("Host pi? !pi6\n", "pi6", False),
        ("Host *\n  User x\n", "pi4", False),
        ("Match originalhost a,pi* exec true\n", "pi4", True),
        ("Match all\n", "pi4", False),
        ("# Host pi4\nHost other # pi4\n", "pi4", False),
        ("Host [pi4]\n", "p", False),
        ('Include "config.d/with blanks"\n', "inner", True),
        ("Include ~/.ssh/config.d/w*\n", "inner", True),
        ("Include nothing/*\n", "inner", False),
    ],
)
def test_a_word_is_an_alias_where_a_line_is_about_it(
    configure: Configure, config: str, word: str, is_named: bool
) -> None:
    configure(config, **{"with blanks": "Host inner\n"})
    assert parse(word) == (SshAddress(word) if is_named else None)


# ---------------------------------------------------------------- logins


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    """A board whose key is in no known_hosts yet."""
    made = start_sshd(tmp_path / "board", tmp_path / "cache")
    yield made
    made.stop()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Board]:
    """A jump host with its own keys."""
    made = start_sshd(tmp_path / "gate", tmp_path / "gate-cache")
    yield made
    made.stop()


def block(name: str, board: Board, *lines: str, port: int | None = None) -> str:
    """The lines of a configuration for a board under an alias."""
    usual = (
        "HostName 127.0.0.1",
        f"Port {port or board.port}",
        f"User {USER}",
        f"IdentityFile {board.folder / 'key'}",
        f"UserKnownHostsFile {board.folder / 'known_hosts'}",
    )
    given = {line.split()[0] for line in lines}
    rest = [line for line in usual if line.split()[0] not in given]
    return "\n  ".join((f"Host {name}", *lines, *rest)) + "\n"


def login(name: str) -> BoardDevice:
    found = resolve_device(name, python=Path(sys.executable))
    assert isinstance(found, BoardDevice)
    return found


def works(name: str) -> None:
    device = login(name)
    device.session.open()
    device.close()


def refused(name: str) -> DeviceError:
    with pytest.raises(DeviceError) as caught:
        works(name)
    return caught.value


@needs_sshd
def test_an_alias_of_an_included_file(configure: Configure, board: Board, reader: str) -> None:
    configure("Include config.d/*\n", mine=block("pi4", board))
    assert login("pi4").facts().device == "pi4"


@needs_sshd
def test_an_alias_for_the_host_key(configure: Configure, board: Board, reader: str) -> None:
    """Without the port, whatever that is."""
    configure(block("pi4", board, "HostKeyAlias the-board"))
    (board.folder / "known_hosts").write_text(f"the-board {board.host_key()}\n")
    works("pi4")


@needs_sshd
def test_a_board_behind_a_jump_host(
    configure: Configure, board: Board, gate: Board, reader: str
) -> None:
    configure(block("pi4", board, "ProxyJump gate") + block("gate", gate))
    works("pi4")
    assert (gate.logins(), board.logins()) == (1, 1)


@needs_sshd
def test_each_host_of_a_chain_has_its_own_errors(
    configure: Configure, board: Board, gate: Board, home: Path
) -> None:
    stranger = make_key(home / "stranger")

    def say(*board_lines: str, gate_lines: tuple[str, ...] = (), port: int | None = None) -> str:
        configure(block("pi4", board, "ProxyJump gate", *board_lines, port=port)
                  + block("gate", gate, *gate_lines))  # fmt: skip
        told = refused("pi4")
        return f"{told.message}\n{told.hint}"

    jump, way = f"{USER}@gate:{gate.port} (a jump host)", f"-p {gate.port} {USER}@gate"
    told = say(gate_lines=(f"IdentityFile {stranger}", "IdentitiesOnly yes"))
    assert told.startswith(f"{jump} accepts none of your SSH keys: ")
    assert told.endswith(f"\nGive it yours: ssh-copy-id {way}")
    told = say(f"IdentityFile {stranger}", "IdentitiesOnly yes")
    assert told.startswith("pi4 accepts none of your SSH keys: ")
    assert told.endswith("\nGive it yours: ssh-copy-id pi4")
    told = say(gate_lines=("UserKnownHostsFile /dev/null",))
    assert told.startswith(f"The host key of {jump}, which is SHA256:")
    assert told.endswith(f"fingerprint: ssh {way}, with a UserKnownHostsFile that keeps it")
    told = say("UserKnownHostsFile ~/.ssh/empty")
    assert told.startswith("The host key of pi4, which is SHA256:")
    assert told.endswith("compare the fingerprint: ssh pi4")
    told = say(port=free_port())
    assert told.startswith(
        f"pi4 cannot be reached: {jump} opens no connection to pi4: Connection refused."
    )
    nobody = free_port()
    told = say(gate_lines=(f"Port {nobody}",))
    assert told.startswith(
        f"pi4 cannot be reached: {USER}@gate:{nobody} (a jump host): connection refused."
    )
    assert board.logins() == 0


RELAY = """
import os, socket, sys, threading
link = socket.create_connection((sys.argv[1], int(sys.argv[2])))
print("a line that ssh does not read either", file=sys.stderr)
def up():
    while data := os.read(0, 65536):
        link.sendall(data)
threading.Thread(target=up, daemon=True).start()
while data := link.recv(65536):
    os.write(1, data)
"""


@needs_sshd
def test_a_program_that_connects(configure: Configure, board: Board, home: Path) -> None:
    (home / "relay.py").write_text(RELAY)
    configure(block("pi4", board, f"ProxyCommand {sys.executable} {home / 'relay.py'} %h %p"))
    works("pi4")
    configure(block("pi4", board, "ProxyCommand echo there is no way >&2; exit 1"))
    told = refused("pi4")
    assert told.message.startswith("pi4 cannot be reached: ")
    assert told.message.endswith("; of its ProxyCommand: there is no way.")


@needs_sshd
@pytest.mark.parametrize("kind", ["plain", "hashed", "pattern", "without a port", "another file"])
def test_only_the_right_entry_is_to_be_forgotten(
    configure: Configure, board: Board, home: Path, kind: str
) -> None:
    other = " ".join(make_key(home / "other").with_suffix(".pub").read_text().split()[:2])
    name = "127.0.0.1" if kind == "without a port" else f"[127.0.0.1]:{board.port}"
    shown = f"[127.0.0.*]:{board.port}" if kind == "pattern" else name
    usual, own = home / ".ssh" / "known_hosts", home / "my boards"
    file = own if kind == "another file" else usual
    file.write_text(f"elsewhere {other}\n\n{shown} {other}\n")
    if kind == "hashed":
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
    else:
        file.write_text(file.read_text().replace("\n\n", "\ndamaged\n"))
    if kind == "another file":
        usual.write_text("unrelated " + other + "\n")
    configure(block("pi4", board, f'UserKnownHostsFile {usual} "{own}"'))
    told = refused("pi4")
    assert told.message.startswith("pi4 shows another host key than the one in known_hosts, SHA2")
    quoted = name if kind == "without a port" else f"'{name}'"
    expected = {
        "pattern": f"line 3 of {file}, which is about other hosts as well",
        "another file": f"ssh-keygen -f '{own}' -R {quoted}",
    }.get(kind, f"ssh-keygen -R {quoted}")
    assert str(told.hint).endswith(f"remove the old key: {expected}")


# ---------------------------------------------------------------- keys


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """A real ssh-agent; gives it a key."""
    path = tmp_path / "agent"
    child = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    wait_until(path.exists)

    def add(key: Path) -> None:
        subprocess.run(["ssh-add", "-q", str(key)], check=True, capture_output=True)

    yield add
    child.terminate()
    child.wait()


def lock(key: Path) -> Path:
    """Give a key's file a passphrase."""
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(key)],
                   check=True, capture_output=True)  # fmt: skip
    return key


@needs_sshd
def test_a_key_with_a_passphrase_is_named(configure: Configure, board: Board) -> None:
    key = lock(board.folder / "key")
    configure(block("pi4", board))
    told = refused("pi4")
    assert told.message.endswith(
        f"; {key}, which has a passphrase, was not tried, as the agent does not have it."
    )
    assert told.hint == (
        f"Add the key to ssh-agent: ssh-add {key}. If the board does not have it yet: "
        "ssh-copy-id pi4"
    )


@needs_sshd
def test_the_agent_has_a_key_with_a_passphrase(
    configure: Configure, board: Board, agent: Callable[[Path], None]
) -> None:
    agent(board.folder / "key")
    lock(board.folder / "key")
    configure(block("pi4", board, "IdentitiesOnly yes"))
    works("pi4")
    configure(block("pi4", board, f"IdentityFile {board.folder / 'key'}.pub", "IdentitiesOnly yes"))
    works("pi4")


@needs_sshd
def test_a_named_key_comes_before_all_others_of_the_agent(
    configure: Configure, tmp_path: Path, home: Path, agent: Callable[[Path], None]
) -> None:
    board = start_sshd(tmp_path / "strict", tmp_path / "cache", ["MaxAuthTries 2"])
    try:
        for number in range(3):
            agent(make_key(home / f"other{number}"))
        agent(board.folder / "key")
        configure(block("pi4", board))
        works("pi4")
        configure(block("pi4", board, f"IdentityFile {home / 'none'}"))
        told = refused("pi4")
        assert told.message == (
            "pi4 ended the login before edgeq offered the right one of 4 keys: Too many "
            "authentication failures."
        )
        assert told.hint == (
            'Name the key for it in ~/.ssh/config: "Host pi4", "IdentityFile KEY" and '
            '"IdentitiesOnly yes".'
        )
    finally:
        board.stop()


@needs_sshd
def test_without_any_key_one_is_to_be_made(configure: Configure, board: Board) -> None:
    configure(block("pi4", board, "IdentityFile none"))
    told = refused("pi4")
    assert str(told.hint).startswith("There is no key here to offer; make one with ssh-keygen. ")
