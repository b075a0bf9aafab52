"""The user's ssh configuration of a host, as `ssh` itself reads it.

`ssh -G` reads it: no other reader handles Include, Match, tokens, defaults and the system's file as
ssh does. Without an ssh, asyncssh reads the same files (docs/decisions/0007-boards.md).
"""

from __future__ import annotations

import functools
import getpass
import hashlib
import os
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeq.device_runners.links import ssh_files
from edgeq.errors import DeviceError
from edgeq.files import scratch
from edgeq.host import own_home, user_number

_READ_S = 30.0  # Match exec may start programs
_MOST_HOPS = 10
_USUAL_KEYS = tuple(
    f"~/.ssh/{name}"
    for name in ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")
)
# Options that asyncssh has as well as ssh, with the same names. Those for algorithms are passed on
# only if the user set them: asyncssh's default lists differ from ssh's.
_PASSED = ("addressfamily", "bindaddress", "compression")
_ALGORITHMS = ("ciphers", "kexalgorithms", "macs", "hostkeyalgorithms")

# For a reader that does not report them.
_USUAL_KNOWN_HOSTS = {
    "userknownhostsfile": "~/.ssh/known_hosts",
    "globalknownhostsfile": "/etc/ssh/ssh_known_hosts",
}

_Found = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class SshHost:
    """A host, and how to get there.

    Attributes:
        alias: as the user wrote it.
        host, port, user: the meaning of the alias.
        keys, certificates: files, in the order to try them; missing ones are skipped.
        only_these: no other key of the agent.
        agent: its socket, None without one.
        known_hosts: files; missing ones are skipped.
        known_as: the name in them, None if it is `host`.
        jumps: hosts to go through, as `[user@]host[:port]`.
        proxy_command: to a shell, that connects.
        environment: variables to set there.
        choices: lines of a configuration file.
        connect_s: None for the default.
    """

    alias: str
    host: str
    port: int
    user: str
    keys: tuple[Path, ...] = ()
    certificates: tuple[Path, ...] = ()
    only_these: bool = False
    agent: str | None = None
    known_hosts: tuple[Path, ...] = ()
    known_as: str | None = None
    jumps: tuple[str, ...] = ()
    proxy_command: str | None = None
    environment: tuple[tuple[str, str], ...] = ()
    choices: tuple[str, ...] = ()
    connect_s: float | None = None


def route(host: str, user: str | None = None, port: int | None = None) -> list[SshHost]:
    """A host behind all that have to be gone through, the nearest first.

    Raises:
        DeviceError: ssh refuses the configuration, or the way leads in a circle.
    """
    with scratch.folder() as folder:
        file = ssh_files.Copies(folder).write()
        found = [_read(file, host, user, port, None)]
        while found[0].jumps:
            *earlier, last = found[0].jumps
            if len(found) > _MOST_HOPS:
                raise DeviceError(
                    f"The way to {host} goes through more than {_MOST_HOPS} jump hosts.",
                    hint=f"See whether ProxyJump leads in a circle: ssh -G {shlex.quote(last)}",
                )
            found.insert(0, _read(file, *split_jump(last), ",".join(earlier) or None))
    return found


def split_jump(text: str) -> tuple[str, str | None, int | None]:
    """Host, user and port of `[ssh://][user@]host[:port]`."""
    user, _, place = text.removeprefix("ssh://").rstrip("/").rpartition("@")
    host, port = place, ""
    if match := re.fullmatch(r"\[(.+)\](?::(\d+))?|([^:]+):(\d+)", place):
        host, port = match[1] or match[3], match[2] or match[4] or ""
    return host, user or None, int(port) if port else None


# ---------------------------------------------------------------- what it says of one


def _read(file: Path, host: str, user: str | None, port: int | None, jumps: str | None) -> SshHost:
    ask = _ask_ssh if _has_ssh() else _ask_asyncssh
    found = ask(file, host, user, port, jumps)
    plain = SshHost(
        alias=host,
        host=_one(found, "hostname") or host,
        port=int(_one(found, "port") or 22),
        user=_one(found, "user") or getpass.getuser(),
        known_as=_one(found, "hostkeyalias"),
        jumps=tuple(filter(None, (_one(found, "proxyjump") or "").split(","))),
    )
    expand = functools.partial(_expand, tokens=_tokens(plain))
    command = None if plain.jumps else _one(found, "proxycommand")
    seconds = _one(found, "connecttimeout") or ""
    pairs = [text.partition("=") for text in found.get("setenv", ())]
    return replace(
        plain,
        keys=tuple(map(_path, map(expand, found.get("identityfile") or _USUAL_KEYS))),
        certificates=tuple(map(_path, map(expand, found.get("certificatefile", ())))),
        only_these=_one(found, "identitiesonly") == "yes",
        agent=_agent(expand((found.get("identityagent") or ["SSH_AUTH_SOCK"])[0])),
        known_hosts=tuple(
            path
            for key, usual in _USUAL_KNOWN_HOSTS.items()
            for text in found.get(key) or (usual,)
            for path in _paths(expand(text))
        ),
        proxy_command=None if command is None else expand(command),
        environment=tuple((name, value) for name, mark, value in pairs if mark),
        choices=tuple(_choices(found)),
        connect_s=float(seconds) if seconds.isdigit() else None,
    )


def _one(found: _Found, key: str) -> str | None:
    value = (found.get(key) or ["none"])[0]
    return None if value.lower() == "none" else value


def _ask_ssh(
    file: Path, host: str, user: str | None, port: int | None, jumps: str | None
) -> dict[str, list[str]]:
    options = []
    for name, value in (("-l", user), ("-p", port), ("-J", jumps)):
        options += [] if value is None else [name, str(value)]
    try:
        done = subprocess.run(
            ["ssh", "-G", "-F", str(file), *options, "--", host], check=False,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=_READ_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"ssh did not read its configuration for {host} within {_READ_S:g} s.",
            hint="A Match exec may wait for something: see ~/.ssh/config.",
        ) from error
    if done.returncode != 0:
        said = re.sub(rf"{re.escape(str(file.parent))}/\d+(?=/)", "",
                      done.stderr.decode("utf-8", "replace")).splitlines()  # fmt: skip
        raise DeviceError(
            f"ssh cannot read its configuration for {host}: {(said or ['it printed nothing'])[0]}."
            .replace("..", "."),
            hint=f"Fix it until this works: ssh -G {shlex.quote(host)}",
        )  # fmt: skip
    found: dict[str, list[str]] = {}
    for line in done.stdout.decode("utf-8", "surrogateescape").splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key.lower(), []).append(value)
    return found


def _ask_asyncssh(
    file: Path, host: str, user: str | None, port: int | None, jumps: str | None
) -> dict[str, list[str]]:
    """The same without an ssh; an error if asyncssh cannot read a Match line."""
    import asyncssh

    given = {"username": user, "port": port}
    try:
        options = asyncssh.SSHClientConnectionOptions(
            host=host, config=[str(file)], client_keys=None, known_hosts=None,
            **{name: value for name, value in given.items() if value is not None},
        )  # fmt: skip
    except ValueError as error:
        raise DeviceError(
            f"The ssh configuration for {host} cannot be read: {error}.",
            hint="Install ssh, which edgeq asks where it is there (Debian: apt install "
            "openssh-client).",
        ) from error
    shown = {None: "none", True: "yes", False: "no"}  # as in the file
    found = {
        key.lower(): [
            shown[item] if item is None or isinstance(item, bool) else str(item)
            for item in (value if isinstance(value, list) else [value])
        ]
        for key, value in options.config.get_options(False).items()
    }
    if jumps is not None:
        found["proxyjump"] = [jumps]
    if user is not None:
        found["user"] = [user]
    return found


@functools.cache
def _has_ssh() -> bool:
    """Whether there is one, and it works: it refuses users that the system's list lacks.

    dropbear's client may be called ssh, too, and reads no configuration.
    """
    if shutil.which("ssh") is None or own_home() is None:
        return False
    told = subprocess.run(["ssh", "-V"], check=False, stdin=subprocess.DEVNULL,
                          capture_output=True)  # fmt: skip
    return b"OpenSSH" in told.stdout + told.stderr


@functools.cache
def _usual_choices() -> tuple[tuple[str, str], ...]:
    """Ssh's default algorithms."""
    done = subprocess.run(["ssh", "-G", "-F", os.devnull, "host"], check=False,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          encoding="utf-8", errors="replace")  # fmt: skip
    pairs = (line.partition(" ")[::2] for line in done.stdout.splitlines())
    return tuple(pair for pair in pairs if pair[0] in _ALGORITHMS)


def _choices(found: _Found) -> Iterator[str]:
    usual = dict(_usual_choices()) if _has_ssh() else {}
    for key in (*_PASSED, *_ALGORITHMS):
        for value in found.get(key, ()):
            if value.lower() != "none" and value != usual.get(key):
                yield f"{key} {value}"


def _tokens(host: SshHost) -> dict[str, str]:
    own = socket.gethostname()
    local = getpass.getuser()
    jump = ",".join(host.jumps)
    joined = "".join((own, host.host, str(host.port), host.user, jump))
    return {
        "%": "%", "d": str(Path.home()), "h": host.host, "i": user_number(), "j": jump,
        "k": host.known_as or host.alias, "L": own.partition(".")[0], "l": own, "n": host.alias,
        "p": str(host.port), "r": host.user, "u": local,
        "C": hashlib.sha1(joined.encode(), usedforsecurity=False).hexdigest(),
    }  # fmt: skip


def _expand(text: str, tokens: Mapping[str, str]) -> str:
    return re.sub(r"%(.)", lambda match: tokens.get(match[1], match[0]), text)


def _path(text: str) -> Path:
    return ssh_files.expand_home(os.path.expandvars(text))


def _paths(text: str) -> list[Path]:
    """The paths in a list as ssh prints it: without quotes, each starting with / or ~."""
    parts = re.split(r"\s+(?=[/~])", text)
    return [_path(part) for part in parts if part.lower() not in ("", "none")]


def _agent(text: str) -> str | None:
    if text.lower() == "none":
        return None
    named = "SSH_AUTH_SOCK" if text == "SSH_AUTH_SOCK" else text[1:] if text[:1] == "$" else None
    path = os.environ.get(named.strip("{}"), "") if named else str(_path(text))
    return path or None
