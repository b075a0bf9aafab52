"""A link over SSH: asyncssh, with the user's own keys, agent, known hosts and ~/.ssh/config.

A host key has to be known before: nothing is trusted on first use. No shell ever sees a word of
ours unquoted, and no password is asked for or taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import asyncssh

from edgeq.device_runners import keeper
from edgeq.device_runners.session import LinkLostError, OnBytes
from edgeq.errors import DeviceError

_Result = TypeVar("_Result")

_SSH_PORT = 22
_CONNECT_S = 20.0
_KEEPALIVE_S = 5.0
_KEEPALIVES = 3  # unanswered, before a link counts as lost
_ANSWER_S = 900.0  # of the keeper: it may have to take a large archive apart
_BLOCK_BYTES = 1 << 20  # written at a time; SFTP sends its parts in parallel
_MOST_NOISE = 200  # lines that a login prints before the keeper's first one


@dataclass(frozen=True)
class SshAddress:
    """Where and as whom.

    Attributes:
        host: a name, an address, or an alias of ~/.ssh/config.
        user, port: None takes what ~/.ssh/config says, or the defaults.
        python: that the keeper runs under, as words for a shell.
        keys: private key files; by default those of the user and of the agent.
        known_hosts: a file; by default the user's.
    """

    host: str
    user: str | None = None
    port: int | None = None
    python: str = "python3"
    keys: tuple[str, ...] = ()
    known_hosts: str | None = None

    def __str__(self) -> str:
        user = "" if self.user is None else f"{self.user}@"
        port = "" if self.port is None else f":{self.port}"
        return f"{user}{self.host}{port}"


class _Loop:
    """One event loop in a thread of its own, for all links."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="edgeq-ssh", daemon=True).start()

    def run(self, work: Coroutine[Any, Any, _Result], timeout_s: float | None = None) -> _Result:
        """The result of a coroutine.

        Raises:
            TimeoutError: it took longer.
        """
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, timeout_s), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C in this thread
            raise


_LOOP = _Loop()


def connect(address: SshAddress) -> SshLink:
    """Log in and start the keeper.

    Raises:
        LinkLostError: nobody answers at this moment.
        DeviceError: the host is not known, refuses us, or has no Python.
    """
    client = _Client(_known_hosts(address))
    try:
        return _LOOP.run(_connect(address, client), 2 * _CONNECT_S)
    except asyncssh.HostKeyNotVerifiable as error:
        raise _stranger(address, client, error) from error
    except asyncssh.PermissionDenied as error:
        raise DeviceError(
            f"{address} accepts none of our keys: {error}.",
            hint=f"Give it yours: ssh-copy-id {_by_hand(address).partition(' ')[2]}; one with a "
            "passphrase has to be in the agent: ssh-add",
        ) from error
    except (TimeoutError, asyncio.TimeoutError) as error:
        raise LinkLostError(f"no answer within {_CONNECT_S:g} s") from error
    except (asyncssh.Error, OSError) as error:
        raise LinkLostError(_short(error)) from error
    except (asyncssh.KeyImportError, ValueError) as error:
        raise DeviceError(
            f"The keys for {address} cannot be used: {error}.",
            hint="A key and its .pub file have to belong together, and `ssh-keygen -y -f KEY` "
            "prints what has to stand in the latter.",
        ) from error


class _Client(asyncssh.SSHClient):
    """Trusts no key that known_hosts does not have, and remembers which one that was."""

    def __init__(self, known_hosts: Path):
        self._known_hosts = known_hosts
        self.shown: str | None = None
        self.entry: str | None = None  # of known_hosts, where that has another key

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        """Asked about a key that is not among the known ones; False refuses it."""
        self.shown = key.get_fingerprint()
        with contextlib.suppress(OSError, ValueError):
            usual = port == _SSH_PORT
            found = asyncssh.match_known_hosts(
                str(self._known_hosts), host, addr, None if usual else port
            )
            self.entry = (host if usual else f"[{host}]:{port}") if found[0] else None
        return False


def _known_hosts(address: SshAddress) -> Path:
    return Path(address.known_hosts or Path.home() / ".ssh" / "known_hosts")


def _stranger(address: SshAddress, client: _Client, error: Exception) -> DeviceError:
    """An unknown host is nothing unusual; another key than before may be an attack."""
    if client.entry is None:
        shown = "" if client.shown is None else f", which is {client.shown}"
        return DeviceError(
            f"The host key of {address}{shown}, is not in known_hosts: {error}.",
            hint=f"Log in once by hand and compare the fingerprint: {_by_hand(address)}",
        )
    file = "" if address.known_hosts is None else f"-f {shlex.quote(address.known_hosts)} "
    return DeviceError(
        f"{address} shows another host key than the one in known_hosts, {client.shown}: {error}.",
        hint="Somebody else may answer in its place; only if the board was set up anew, forget the "
        f"old key: ssh-keygen {file}-R {shlex.quote(client.entry)}",
    )


def _by_hand(address: SshAddress) -> str:
    port = "" if address.port is None else f"-p {address.port} "
    user = "" if address.user is None else f"{address.user}@"
    return f"ssh {port}{user}{address.host}"


def _short(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


async def _connect(address: SshAddress, client: _Client) -> SshLink:
    options: dict[str, Any] = {}
    if address.user is not None:
        options["username"] = address.user
    if address.port is not None:
        options["port"] = address.port
    if address.keys:
        options["client_keys"] = list(address.keys)
        options["config"] = None
    if address.known_hosts is not None:
        options["known_hosts"] = address.known_hosts
    connection = await asyncssh.connect(
        address.host,
        client_factory=lambda: client,
        connect_timeout=_CONNECT_S,
        login_timeout=_CONNECT_S,
        keepalive_interval=_KEEPALIVE_S,
        keepalive_count_max=_KEEPALIVES,
        preferred_auth=["publickey"],  # a password would have to be asked for
        **options,
    )
    try:
        return await _start_keeper(address, connection)
    except BaseException:
        connection.abort()
        raise


async def _start_keeper(address: SshAddress, connection: Any) -> SshLink:
    """Send the keeper's text to the board's Python, and wait for its first line."""
    text = Path(keeper.__file__).read_bytes()
    code = f'import sys;exec(compile(sys.stdin.buffer.read({len(text)}),"keeper","exec"))'
    command = shlex.join([*shlex.split(address.python), "-c", code])
    process = await connection.create_process(command, encoding=None)
    process.stdin.write(text)
    noise: list[bytes] = []
    while len(noise) < _MOST_NOISE:
        line = await process.stdout.readline()
        if line.strip() == keeper.MARKER.encode():
            return SshLink(connection, process)
        if not line:
            break
        noise.append(line)
    errors = (await process.stderr.read()).decode("utf-8", "replace").strip()
    await process.wait_closed()
    if connection.is_closed():
        raise LinkLostError("the connection was closed")
    status = process.exit_status
    last = errors.splitlines()[-1:] or ["it printed nothing"]
    if status in (126, 127):
        raise DeviceError(
            f"{address} has no {address.python}: {last[0]}.",
            hint="Install Python 3.8 or newer there (Debian: sudo apt install python3), or name "
            "the interpreter with --python.",
        )
    raise DeviceError(
        f"{address.python} on {address} ended with {status}: {last[0]}.".replace("..", "."),
        hint="Name an interpreter there of Python 3.8 or newer with --python.",
    )


class SshLink:
    """See `board.Link`."""

    def __init__(self, connection: Any, process: Any):
        self._connection, self._process = connection, process
        self._sftp: Any = None

    def ask(self, line: bytes) -> bytes:
        """See `board.Link`."""
        reply: bytes = self._guarded(self._ask(line), _ANSWER_S)
        return reply

    async def _ask(self, line: bytes) -> bytes:
        self._process.stdin.write(line)
        await self._process.stdin.drain()
        reply: bytes = await self._process.stdout.readline()
        if not reply.endswith(b"\n"):
            raise LinkLostError("the connection was closed")
        return reply

    def send(self, path: Path, target: str, offset: int, on_bytes: OnBytes) -> None:
        """See `board.Link`."""
        stream = self._guarded(self._open_to_write(target))
        with path.open("rb") as source:
            source.seek(offset)
            while block := source.read(_BLOCK_BYTES):
                self._guarded(stream.write(block, offset))
                offset += len(block)
                on_bytes(len(block))  # in this thread: it may stop the run
        self._guarded(stream.close())

    async def _open_to_write(self, target: str) -> Any:
        sftp = await self._open_sftp()
        return await sftp.open(target, asyncssh.FXF_WRITE | asyncssh.FXF_CREAT, encoding=None)

    def fetch(self, source: str, path: Path) -> None:
        """See `board.Link`."""
        self._guarded(self._fetch(source, path))

    async def _fetch(self, source: str, path: Path) -> None:
        sftp = await self._open_sftp()
        await sftp.get(source.encode(), str(path).encode())

    async def _open_sftp(self) -> Any:
        if self._sftp is None:
            self._sftp = await self._connection.start_sftp_client()
        return self._sftp

    def _guarded(self, work: Coroutine[Any, Any, _Result], timeout_s: float | None = None) -> Any:
        """The one place where asyncssh's errors become ours."""
        try:
            return _LOOP.run(work, timeout_s)
        except LinkLostError:
            raise
        except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection) as error:
            raise LinkLostError(str(error)) from error
        except asyncssh.SFTPError as error:
            raise OSError(error.reason) from error
        except asyncssh.ChannelOpenError as error:
            raise LinkLostError(str(error)) from error
        except (asyncssh.Error, ConnectionError, BrokenPipeError) as error:
            raise LinkLostError(_short(error)) from error
        except (TimeoutError, asyncio.TimeoutError) as error:
            raise LinkLostError(f"no answer within {timeout_s:g} s") from error

    def close(self) -> None:
        """See `board.Link`."""
        _LOOP.run(self._close())

    async def _close(self) -> None:
        # The keeper ends at the end of its stdin; a dead connection is not waited for.
        self._connection.abort()
