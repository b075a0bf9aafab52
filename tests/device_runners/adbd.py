"""A device for the real adb server, on loopback: the device's side of ADB's transport, in short.

    python adbd.py PORT [--root FOLDER] [--never-authorize] [NAME=VALUE]...

It is not Android. `exec:` starts a shell of this machine, or of a file system that it changes into
(an arm64 one runs under qemu-user), with the variables given and no others.
Messages are those of AOSP's packages/modules/adb (protocol.txt, SERVICES.TXT). As with
the real one, input and output of a command are one socket, and a command outlives its stream.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import socket
import struct
import subprocess
from pathlib import Path

MOST_BYTES = 256 * 1024
VERSION = 0x01000001
CHROOT = shutil.which("chroot", path="/usr/sbin:/usr/bin") or "chroot"
BANNER = b"device::ro.product.name=edgeq;ro.product.model=virtual;features=cmd,shell_v2"
A_TOKEN, A_PUBLIC_KEY = 1, 3


def number(name: bytes) -> int:
    return int.from_bytes(name, "little")


CNXN, AUTH, OPEN, OKAY, CLSE, WRTE = map(
    number, (b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"CLSE", b"WRTE")
)


class Stream:
    """One service's bytes, both ways."""

    def __init__(self, peer: Peer, own: int, theirs: int):
        self.peer, self.own, self.theirs = peer, own, theirs
        self.incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self.ready = asyncio.Event()
        self.is_closed = False

    async def write(self, content: bytes) -> None:
        """Send blocks; each has to be acknowledged before the next."""
        for start in range(0, len(content), self.peer.most_bytes):
            if self.is_closed:
                raise ConnectionError
            self.ready.clear()
            block = content[start : start + self.peer.most_bytes]
            await self.peer.send(WRTE, self.own, self.theirs, block)
            await self.ready.wait()

    async def receive(self) -> bytes:
        """The next block, empty at the end; only then the other side may send another."""
        block = await self.incoming.get()
        if block and not self.is_closed:
            await self.peer.send(OKAY, self.own, self.theirs)
        return block

    def end(self) -> None:
        """The other side has closed it."""
        self.is_closed = True
        self.ready.set()
        self.incoming.put_nowait(b"")


class Peer:
    """One connection of an adb server."""

    def __init__(self, device: Device, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.device, self.reader, self.writer = device, reader, writer
        self.streams: dict[int, Stream] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.most_bytes = MOST_BYTES
        self.opened = 0

    async def send(self, command: int, first: int, second: int, content: bytes = b"") -> None:
        head = struct.pack(
            "<6I", command, first, second, len(content), sum(content) & 0xFFFFFFFF,
            command ^ 0xFFFFFFFF,
        )  # fmt: skip
        self.writer.write(head + content)
        await self.writer.drain()

    async def serve(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = struct.unpack("<6I", await self.reader.readexactly(24))
                content = await self.reader.readexactly(head[3])
                await self.handle(head[0], head[1], head[2], content)
        for stream in self.streams.values():
            stream.end()
        self.writer.close()

    async def handle(self, command: int, first: int, second: int, content: bytes) -> None:
        if self.device.never_authorize and command in (CNXN, AUTH):
            if (command, first) != (AUTH, A_PUBLIC_KEY):  # now a person would be asked
                await self.send(AUTH, A_TOKEN, 0, os.urandom(20))
        elif command == CNXN:
            self.most_bytes = min(MOST_BYTES, second)
            await self.send(CNXN, VERSION, MOST_BYTES, BANNER)
        elif command == OPEN:
            self.opened += 1
            stream = self.streams[self.opened] = Stream(self, self.opened, first)
            await self.send(OKAY, stream.own, first)
            task = asyncio.create_task(self.run(stream, content.rstrip(b"\0").decode()))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        elif second in self.streams and command == WRTE:
            self.streams[second].incoming.put_nowait(content)
        elif second in self.streams and command == OKAY:
            self.streams[second].ready.set()
        elif second in self.streams and command == CLSE:
            self.streams.pop(second).end()

    async def run(self, stream: Stream, service: str) -> None:
        kind, _, command = service.partition(":")
        with contextlib.suppress(ConnectionError):
            if kind == "exec":
                await self.device.execute(stream, command)
        if not stream.is_closed:
            await self.send(CLSE, stream.own, stream.theirs)


class Device:
    """The device behind the endpoint."""

    def __init__(self, root: Path | None, variables: dict[str, str], never_authorize: bool):
        self.root, self.variables, self.never_authorize = root, variables, never_authorize

    async def execute(self, stream: Stream, command: str) -> None:
        """Run a command with the stream as its input, output and errors."""
        ours, theirs = socket.socketpair()
        shell = [self.variables.get("SHELL", "/bin/sh"), "-c", command]
        if self.root is not None:
            shell = [CHROOT, "--userspec=1000:1000", str(self.root), *shell]
        with theirs:
            child = subprocess.Popen(
                shell, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                cwd="/", env=self.variables,
            )  # fmt: skip
        reader, writer = await asyncio.open_connection(sock=ours)
        feeding = asyncio.create_task(self.feed(stream, writer))
        try:
            while block := await reader.read(1 << 16):
                await stream.write(block)
        finally:
            feeding.cancel()
            writer.close()
            asyncio.get_running_loop().run_in_executor(None, child.wait)

    async def feed(self, stream: Stream, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while block := await stream.receive():
                writer.write(block)
                await writer.drain()
            writer.close()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--never-authorize", action="store_true")
    parser.add_argument("variables", nargs="*")
    given = parser.parse_intermixed_args()
    pairs = dict(item.split("=", 1) for item in given.variables)
    device = Device(given.root, pairs, given.never_authorize)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Peer(device, reader, writer).serve()

    server = await asyncio.start_server(serve, "127.0.0.1", given.port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
