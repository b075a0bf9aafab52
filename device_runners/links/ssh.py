"""A link over SSH: asyncssh, with the user's own keys, agent, known hosts and configuration.

`ssh_config.py` reads the configuration, `ssh_login.py` has the parts of a login. One session per
connection carries everything: requests, answers and files. Every word for a shell is quoted.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import threading
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import asyncssh

from edgeq.device_runners.links import keeper_link, ssh_config, ssh_login
from edgeq.device_runners.links.keeper_link import Frames, last_line
from edgeq.device_runners.links.link import Link, LinkLostError
from edgeq.device_runners.links.ssh_address import SshAddress
from edgeq.device_runners.links.ssh_config import SshHost
from edgeq.device_runners.links.ssh_login import (
    SSH_PORT,
    Client,
    Hop,
    Keys,
    Proxy,
    short,
    usual_known_hosts,
)
from edgeq.errors import DeviceError
from edgeq.files import scratch

_Result = TypeVar("_Result")

_CONNECT_S = 20.0
_START_S = 60.0  # for the board's Python: an SD card is slow
_KEEPALIVE_S = 5.0
_KEEPALIVES = 3  # unanswered, before a link counts as lost
_ANSWER_S = 900.0  # for the keeper's answer: it may have to unpack a large archive
_READ_BYTES = 1 << 16
_KEPT_BYTES = 1 << 13  # of a login's output to stderr


class _Loop:
    """One event loop in a separate thread, for all links."""

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
    hops = _hops(address)

    async def work() -> SshLink:
        chain = _Chain()
        try:
            for hop in hops:
                await chain.extend(hop)
            return await _start_keeper(address, chain, hops[-1])
        except BaseException:
            chain.close()
            raise

    try:
        return _LOOP.run(work())
    except (asyncssh.Error, ConnectionError) as error:
        raise LinkLostError(short(error)) from error


def _hops(address: SshAddress) -> list[Hop]:
    """The board behind its jump hosts."""
    known = [] if address.known_hosts is None else [Path(address.known_hosts)]
    if address.keys:
        port, user = address.port or SSH_PORT, address.user or getpass.getuser()
        keys = tuple(map(Path, address.keys))
        board = SshHost(address.host, address.host, port, user, keys, only_these=True)
        route = [replace(board, known_hosts=tuple(known or [usual_known_hosts()]))]
    else:
        route = ssh_config.route(address.host, address.user, address.port)
        if known:
            route[-1] = replace(route[-1], known_hosts=tuple(known))
    found: list[Hop] = []
    for host in route[:-1]:
        way = SshAddress(host.alias, host.user, None if host.port == SSH_PORT else host.port)
        previous = found[-1].name if found else None
        found.append(Hop(host, f"{way} (a jump host)", way.by_hand, previous, is_jump=True))
    previous = found[-1].name if found else None
    return [*found, Hop(route[-1], str(address), address.by_hand, previous)]


class _Chain:
    """Logins of a link, each through the previous one, and programs that connect."""

    def __init__(self) -> None:
        self.connections: list[Any] = []
        self.proxies: list[Proxy] = []

    async def extend(self, hop: Hop) -> None:
        """Log in at the next host."""
        client, proxy = Client(), None
        agent = await ssh_login.open_agent(hop.host)
        keys = await ssh_login.collect_keys(hop.host, agent)
        try:
            if hop.host.proxy_command is not None:
                proxy = Proxy(hop.host.proxy_command)
                self.proxies.append(proxy)
            self.connections.append(await self._log_in(hop, client, keys, proxy))
        except (TimeoutError, asyncio.TimeoutError) as error:
            raise LinkLostError(f"{hop.prefix}no answer within {_patience_s(hop):g} s") from error
        except (asyncssh.Error, OSError, ValueError) as error:
            told = ssh_login.explain(hop, client, keys, error)
            if proxy is not None and isinstance(told, LinkLostError):
                told = LinkLostError(f"{told}; of its ProxyCommand: {proxy.said()}", told.hint)
            raise told from error
        finally:
            if agent is not None:
                agent.close()

    async def _log_in(self, hop: Hop, client: Client, keys: Keys, proxy: Proxy | None) -> Any:
        seconds = _patience_s(hop)  # for each of two steps
        with scratch.folder() as folder:
            choices = folder / "choices"
            choices.write_bytes("".join(f"{line}\n" for line in hop.host.choices).encode("utf-8"))
            return await asyncssh.connect(
                hop.host.host,
                hop.host.port,
                config=str(choices),
                username=hop.host.user,
                client_factory=lambda: client,
                client_keys=keys.pairs or None,
                agent_path=None,
                known_hosts=ssh_login.trusted(hop.host),
                host_key_alias=hop.host.known_as,
                tunnel=self.connections[-1] if self.connections else None,
                sock=None if proxy is None else proxy.socket,
                connect_timeout=seconds,
                login_timeout=seconds,
                keepalive_interval=_KEEPALIVE_S,
                keepalive_count_max=_KEEPALIVES,
                preferred_auth=["publickey"],  # edgeq asks for no password
            )

    def close(self) -> None:
        """End all of it; a dead connection is not waited for."""
        for connection in reversed(self.connections):
            connection.abort()
        for proxy in self.proxies:
            proxy.close()


def _patience_s(hop: Hop) -> float:
    return max(_CONNECT_S, hop.host.connect_s or 0)


async def _start_keeper(address: SshAddress, chain: _Chain, hop: Hop) -> SshLink:
    """Send the prologue and the keeper to the board's Python, and wait for the first answer."""
    try:
        process = await chain.connections[-1].create_process(
            keeper_link.command(address.python), encoding=None, env=dict(hop.host.environment)
        )
    except asyncssh.ChannelOpenError as error:
        raise DeviceError(
            f"{address} lets us in, and opens no session: {error.reason.rstrip('.')}.",
            hint="See MaxSessions in its sshd_config.",
        ) from error
    link = SshLink(chain, process)
    try:
        process.stdin.write(b"".join(keeper_link.programs()))
        answer = await asyncio.wait_for(link.receive(), _START_S)
    except (LinkLostError, asyncssh.Error, ConnectionError):
        raise await _why_none(address, link) from None
    except (TimeoutError, asyncio.TimeoutError) as error:
        said = link.printed()
        raise LinkLostError(
            f"it lets us in, but {address.python} did not answer within {_START_S:g} s"
            + (f"; the login printed: {last_line(said)}" if said.strip() else ""),
            hint=_how_to_see(address),
        ) from error
    keeper_link.check_start(answer, address.python, str(address))
    return link


async def _why_none(address: SshAddress, link: SshLink) -> Exception:
    """The reason why a login ended before the board's Python answered."""
    status = await link.end()
    last = last_line(link.printed())
    if status is None:
        return LinkLostError(f"the connection was closed: {last}", hint=_how_to_see(address))
    if status in (126, 127):
        return DeviceError(
            f"{address} has no {address.python}: {last}.",
            hint="Install Python 3.8 or newer there (Debian: sudo apt install python3), or name "
            "the interpreter with --python.",
        )
    return DeviceError(
        f"{address} did not start {address.python}; the login ended with {status}: {last}.",
        hint=f"{_how_to_see(address)}; another interpreter there is named with --python.",
        details=link.printed().decode("utf-8", "replace"),
    )


def _how_to_see(address: SshAddress) -> str:
    return f"See what a login there says to a command: ssh {address.by_hand} {address.python} -V"


class SshLink(Link):
    """A keeper's standard input and output in an SSH session."""

    def __init__(self, chain: _Chain, process: Any):
        self._chain, self._process = chain, process
        self._frames = Frames()
        self._errors = bytearray()
        # Unread errors fill the channel's window, and then it sends nothing more.
        self._drain = asyncio.ensure_future(self._read_errors())

    async def _read_errors(self) -> None:
        with contextlib.suppress(asyncssh.Error, OSError):
            while data := await self._process.stderr.read(_READ_BYTES):
                self._errors += data
                del self._errors[:-_KEPT_BYTES]

    def ask(self, request: bytes) -> bytes:
        """Send one request and read its answer; asyncssh's errors become edgeq's here."""

        async def work() -> bytes:
            self._process.stdin.write(request)
            await self._process.stdin.drain()
            return await self.receive()

        try:
            return _LOOP.run(work(), _ANSWER_S)
        except (asyncssh.Error, ConnectionError) as error:
            raise LinkLostError(short(error)) from error
        except (TimeoutError, asyncio.TimeoutError) as error:
            raise DeviceError(
                f"The board did not answer within {_ANSWER_S:g} s, though its link holds.",
                hint="Check whether the board's memory or disk is full, then restart the board.",
            ) from error

    async def receive(self) -> bytes:
        """The next answer."""
        while (answer := self._frames.next()) is None:
            data = await self._process.stdout.read(_READ_BYTES)
            if not data:
                raise LinkLostError("the connection was closed")
            self._frames.feed(data)
        return answer

    async def end(self) -> int | None:
        """Wait until the process has ended; its status, None if the connection ended."""
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(self._process.wait_closed(), _CONNECT_S)
            await self._drain
        status: int | None = self._process.exit_status
        return status

    def printed(self) -> bytes:
        """The end of the output beside answers: errors last, they say more."""
        return self._frames.rest() + b"\n" + bytes(self._errors)

    def close(self) -> None:
        """End the connection, and the keeper with it."""

        async def work() -> None:
            self._drain.cancel()
            self._chain.close()

        _LOOP.run(work())
