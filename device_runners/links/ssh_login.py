"""One login of a chain: which keys are offered, which host key is trusted, and what went wrong.

Only known host keys are accepted: nothing is trusted on first use. There are no passwords. Each
host of a chain has its own errors, so that a hint names the right one.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from edgeq import host
from edgeq.device_runners.links.keeper_link import last_line
from edgeq.device_runners.links.link import LinkLostError
from edgeq.device_runners.links.ssh_config import SshHost
from edgeq.errors import DeviceError

SSH_PORT = 22
_KEPT_BYTES = 1 << 12


@dataclass(frozen=True)
class Hop:
    """A host of a chain.

    Attributes:
        host: what the configuration says of it.
        name: in messages.
        by_hand: words for ssh that mean it.
        previous: name of the jump host in front of it.
        is_jump: not the board itself.
    """

    host: SshHost
    name: str
    by_hand: str
    previous: str | None = None
    is_jump: bool = False

    @property
    def prefix(self) -> str:
        """In front of an error of a jump host, since messages begin with the board's name."""
        return f"{self.name}: " if self.is_jump else ""


# ---------------------------------------------------------------- keys


@dataclass
class Keys:
    """The keys for a login.

    Attributes:
        pairs: offered in this order, for asyncssh.
        locked: files with a passphrase, whose key the agent does not have.
        unusable: files with the reason.
    """

    pairs: list[Any] = field(default_factory=list)
    locked: list[Path] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)


async def collect_keys(host: SshHost, agent: Any) -> Keys:
    """Keys in ssh's order: named ones that the agent has, the agent's others, and then files."""
    try:
        pairs: Sequence[Any] = [] if agent is None else await agent.get_keys()
    except ValueError:  # the agent ended
        pairs = []
    held = {pair.public_data: pair for pair in pairs}
    keys, named, files = Keys(), [], []
    for path in host.keys:
        public = _public_parts(path)
        if found := [held[part] for part in public if part in held]:
            named += [pair for pair in found if pair not in named]
        elif path.exists():
            files += _load(path, host, keys, is_public=bool(public))
    others = [] if host.only_these else [pair for pair in held.values() if pair not in named]
    keys.pairs = [*named, *others, *files]
    return keys


async def open_agent(host: SshHost) -> Any:
    """The user's agent, None where there is none that answers."""
    if host.agent is None:
        return None
    try:
        return await asyncssh.connect_agent(host.agent)
    except (OSError, asyncssh.Error):
        return None


def _public_parts(path: Path) -> list[bytes]:
    """Public keys in a private key's certificate and .pub file, or in a public key's file."""
    found = []
    for read, name in (
        (asyncssh.read_certificate, f"{path}-cert.pub"),
        (asyncssh.read_public_key, f"{path}.pub"),
        (asyncssh.read_public_key, str(path)),
    ):
        with contextlib.suppress(OSError, asyncssh.KeyImportError, ValueError):
            found.append(read(name).public_data)
    return found


def _load(path: Path, host: SshHost, keys: Keys, *, is_public: bool) -> list[Any]:
    """The pair of a private key's file."""
    try:
        certificates = [str(item) for item in host.certificates if item.exists()]
        return list(asyncssh.load_keypairs([str(path)], None, certificates))
    except OSError as error:
        keys.unusable.append(f"{path}: {(error.strerror or str(error)).lower()}")
    except (asyncssh.KeyImportError, ValueError) as error:
        if str(error).startswith("Passphrase"):
            keys.locked.append(path)
        elif not (is_public and b"PRIVATE" not in path.read_bytes()):
            keys.unusable.append(f"{path}: {error}")
    return []


# ---------------------------------------------------------------- known hosts


@dataclass(frozen=True)
class _Entry:
    """A line of a file of known hosts that is about a host."""

    file: Path
    number: int
    name: str  # that it was found by
    is_pattern: bool
    keys: tuple[Sequence[Any], ...]  # of the host, of those who sign, revoked


def usual_known_hosts() -> Path:
    """The file that ssh-keygen changes without -f."""
    return Path.home() / ".ssh" / "known_hosts"


def known_entries(host: SshHost, address: str) -> list[_Entry]:
    """Entries in ssh's order: by alias only, or by name and address with the port, then without."""
    if host.known_as is not None:
        return list(_entries(host, [host.known_as]))
    plain = [name for name in dict.fromkeys((host.host, address)) if name]
    if host.port == SSH_PORT:
        return list(_entries(host, plain))
    exact = list(_entries(host, [f"[{name}]:{host.port}" for name in plain]))
    return exact if any(entry.keys[0] or entry.keys[1] for entry in exact) else [
        *exact, *_entries(host, plain)
    ]  # fmt: skip


def _entries(host: SshHost, names: Sequence[str]) -> Iterator[_Entry]:
    for path in host.known_hosts:
        try:
            lines = path.read_text("utf-8", "replace").splitlines()
        except OSError:
            continue
        for number, line in enumerate(lines, 1):
            try:
                known = asyncssh.import_known_hosts(line)
            except ValueError:
                continue  # ssh passes over a damaged line as well
            for name in names:
                found = known.match(name, "", None)
                if any(found[:3]):
                    is_pattern = bool(set(line.split()[0]) & set("*?!@"))
                    yield _Entry(path, number, name, is_pattern, tuple(found[:3]))
                    break


class Client(asyncssh.SSHClient):
    """Trusts no key that the known hosts do not have, and remembers which one that was."""

    def __init__(self) -> None:
        self.shown: str | None = None
        self.address = ""

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        """Asked about a key that is not among the known ones; False refuses it."""
        self.shown, self.address = key.get_fingerprint(), addr
        return False


def trusted(host: SshHost) -> Any:
    """For asyncssh: keys of the host, keys of those who sign, revoked keys."""

    def look(_name: str, address: str, _port: int | None) -> tuple[list[Any], ...]:
        entries = known_entries(host, address)
        return tuple([key for entry in entries for key in entry.keys[kind]] for kind in range(3))

    return look


# ---------------------------------------------------------------- a program that connects


class Proxy:
    """The program of a ProxyCommand, with a socket as its input and output."""

    def __init__(self, command: str):
        if host.IS_WINDOWS:  # a program there cannot read a socket
            raise DeviceError(
                f"The ProxyCommand {command!r} of the ssh configuration cannot be used on Windows.",
                hint="Connect with a ProxyJump in the configuration.",
            )
        self.socket, theirs = socket.socketpair()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        shell = os.environ.get("SHELL") or "/bin/sh"
        with theirs:
            self._child = subprocess.Popen(
                [shell, "-c", f"exec {command}"], stdin=theirs.fileno(),
                stdout=theirs.fileno(), stderr=self._said,
                **host.SEPARATE,  # Ctrl-C ends the run over it
            )  # fmt: skip

    def said(self) -> str:
        """The last line of its output, without a full stop."""
        self._said.seek(0)
        return last_line(self._said.read()[-_KEPT_BYTES:])

    def close(self) -> None:
        """End it."""
        self.socket.close()
        self._child.terminate()
        try:
            self._child.wait(1)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._said.close()


# ---------------------------------------------------------------- errors


def explain(  # noqa: PLR0911 - a row of cases
    hop: Hop, client: Client, keys: Keys, error: Exception
) -> Exception:
    """The error of a login, which asyncssh raised, as a sentence with its host."""
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return _unknown_host(hop, client, error)
    if isinstance(error, asyncssh.PermissionDenied):
        return _refused(hop, keys, error)
    reason = error.reason.rstrip(".") if isinstance(error, asyncssh.Error) else str(error)
    if isinstance(error, asyncssh.ChannelOpenError):
        return LinkLostError(
            f"{hop.previous} opens no connection to {hop.name}: {reason}",
            hint=f"Check whether it can connect to it: ssh {hop.by_hand}",
        )
    if isinstance(error, asyncssh.DisconnectError) and "too many auth" in reason.lower():
        return DeviceError(
            f"{hop.name} ended the login before edgeq offered the right one of {len(keys.pairs)} "
            f"keys: {reason}.",
            hint=f'Name the key for it in ~/.ssh/config: "Host {hop.host.alias}", "IdentityFile '
            'KEY" and "IdentitiesOnly yes".',
        )
    if isinstance(error, asyncssh.KeyExchangeFailed):
        return DeviceError(
            f"{hop.name} and edgeq have no encryption method in common: {reason}.",
            hint="Update the sshd there, or choose methods that both have in ~/.ssh/config: "
            "KexAlgorithms, HostKeyAlgorithms, Ciphers, MACs.",
        )
    if isinstance(error, (asyncssh.Error, OSError)):
        return LinkLostError(f"{hop.prefix}{short(error)}")
    return DeviceError(
        f"The ssh configuration for {hop.name} cannot be used: {error}.".replace("..", "."),
        hint=f"Check it: ssh -G {hop.by_hand}",
    )


def short(error: Exception) -> str:
    """An error's text without error numbers and class names."""
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return (str(error) or type(error).__name__).rstrip(".")


def _unknown_host(hop: Hop, client: Client, error: Exception) -> DeviceError:
    """An unknown host is usual; a different key than before may be an attack."""
    entries = [entry for entry in known_entries(hop.host, client.address) if entry.keys[0]]
    if not entries or client.shown is None:
        shown = "" if client.shown is None else f", which is {client.shown}"
        hint = f"Log in once by hand and compare the fingerprint: ssh {hop.by_hand}"
        if Path(os.devnull) in hop.host.known_hosts:
            hint += ", with a UserKnownHostsFile that keeps it"
        return DeviceError(
            f"The host key of {hop.name}{shown}, is not in known_hosts: {error}.", hint=hint
        )
    return DeviceError(
        f"{hop.name} shows another host key than the one in known_hosts, {client.shown}: {error}.",
        hint="Another machine may answer in its place. If the board was installed again, remove "
        f"the old key: {', and '.join(dict.fromkeys(map(_how_to_forget, entries)))}",
    )


def _how_to_forget(entry: _Entry) -> str:
    if entry.is_pattern:  # ssh-keygen would delete it for all hosts that it fits
        return f"line {entry.number} of {entry.file}, which is about other hosts as well"
    file = "" if entry.file == usual_known_hosts() else f"-f {shlex.quote(str(entry.file))} "
    return f"ssh-keygen {file}-R {shlex.quote(entry.name)}"


def _refused(hop: Hop, keys: Keys, error: Exception) -> DeviceError:
    give = f"ssh-copy-id {hop.by_hand}"
    hint = f"Give it yours: {give}"
    unusable, beside = ", ".join(keys.unusable), ""
    if unusable and not keys.pairs:
        return DeviceError(
            f"The keys for {hop.name} cannot be used: {unusable}.",
            hint="A key and its .pub file must belong together; `ssh-keygen -y -f KEY` prints the "
            "right content of the .pub file.",
        )
    if keys.locked:
        names = " ".join(shlex.quote(str(path)) for path in keys.locked)
        beside = f"; {names}, which has a passphrase, was not tried, as the agent does not have it"
        hint = (
            f"Add the key to ssh-agent: ssh-add {names}. If the board does not have it yet: {give}"
        )
    elif not keys.pairs:
        hint = f"There is no key here to offer; make one with ssh-keygen. {hint}"
    if unusable:
        beside += f"; not usable is {unusable}"
    return DeviceError(f"{hop.name} accepts none of your SSH keys: {error}{beside}.", hint=hint)
