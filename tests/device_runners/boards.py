"""A real sshd on loopback as a board, and a cable to it that can be cut."""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeq.device_runners.devices.board import BoardDevice
from edgeq.device_runners.links import ssh
from edgeq.device_runners.links.ssh_address import SshAddress

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
USER = pwd.getpwuid(os.getuid()).pw_name


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


@dataclass
class Board:
    """A running sshd.

    Attributes:
        folder: keys, configuration and log.
        cache: what edgeq finds as its cache there.
    """

    folder: Path
    cache: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def root(self) -> Path:
        return self.cache / "edgeq"

    def address(self, **changes: Any) -> SshAddress:
        settings = {
            "host": "127.0.0.1",
            "user": USER,
            "port": self.port,
            "python": sys.executable,
            "keys": (str(self.folder / "key"),),
            "known_hosts": str(self.folder / "known_hosts"),
            **changes,
        }
        return SshAddress(**settings)

    def device(self, *, patience_s: float = 30, **changes: Any) -> BoardDevice:
        where = self.address(**changes)
        return BoardDevice(
            "board", lambda: ssh.connect(where), python=sys.executable, patience_s=patience_s
        )

    def logins(self) -> int:
        """How often somebody was let in."""
        return (self.folder / "log").read_text().count("Accepted publickey")

    def host_key(self) -> str:
        """Its host key, in the form of a line of known hosts."""
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])

    def know(self, port: int) -> None:
        """The same host key behind another port."""
        with (self.folder / "known_hosts").open("a") as known:
            known.write(f"[127.0.0.1]:{port} {self.host_key()}\n")

    def jobs(self) -> list[Path]:
        return sorted((self.root / "jobs").iterdir())

    def agents(self) -> list[int]:
        """Processes of agents that run jobs of this board."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().split(b"\0")
                if b"run" in words and any(str(self.root).encode() in word for word in words):
                    found.append(int(path.parent.name))
        return found

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start_sshd(
    folder: Path,
    cache: Path,
    settings: Sequence[str] = (),
    wrapper: Sequence[str] = (),
    **environment: str,
) -> Board:
    """An sshd that lets this user in with folder/key.

    Args:
        settings: lines of its configuration, before those that every board has.
        wrapper: words in front of its command: a program that starts it.
        environment: of what it starts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # needed to separate privileges
    make_key(folder / "key")
    make_key(folder / "host_key")
    shutil.copy(folder / "key.pub", folder / "authorized_keys")
    port = free_port()
    variables = {"XDG_CACHE_HOME": str(cache), **environment}
    lines = [
        *settings,
        f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {folder / 'host_key'}",
        f"AuthorizedKeysFile {folder / 'authorized_keys'}", "StrictModes no", "UsePAM no",
        "PasswordAuthentication no", "KbdInteractiveAuthentication no", "PidFile none",
        "SetEnv " + " ".join(f'"{name}={value}"' for name, value in variables.items()),
    ]  # fmt: skip
    (folder / "config").write_text("\n".join(lines) + "\n")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*wrapper, SSHD, "-D", "-e", "-f", str(folder / "config")],
            stderr=log,
            start_new_session=True,
        )
    board = Board(folder, cache, port, process)
    board.know(port)
    wait_until(lambda: answers(port))
    return board


def descendants(pid: int) -> list[int]:
    """A process and all it started."""
    done = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [pid, *(item for child in done.stdout.split() for item in descendants(int(child)))]


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def wait_until(condition: Any, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@dataclass
class Cable:
    """A port on loopback that leads to another, until it is cut.

    Attributes:
        cut_after: bytes towards the board, of one connection; None never cuts.
        cuts: how often it did.
        carried: bytes towards the board, of all connections.
    """

    target: int
    cut_after: int | None = None
    cuts: int = 0
    carried: int = 0
    port: int = 0
    is_dead: bool = False
    _live: list[socket.socket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break all connections now."""
        self.cuts += 1
        for item in self._live:
            with contextlib.suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)
        self._live.clear()

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self._listener.accept()
            except OSError:
                return
            if self.is_dead:
                ours.close()
                continue
            theirs = socket.create_connection(("127.0.0.1", self.target))
            self._live += [ours, theirs]
            threading.Thread(target=self._carry, args=(ours, theirs), daemon=True).start()

    def _carry(self, ours: socket.socket, theirs: socket.socket) -> None:
        sent = 0
        with contextlib.suppress(OSError), ours, theirs:
            while True:
                for ready in select.select([ours, theirs], [], [])[0]:
                    block = ready.recv(65536)
                    if not block:
                        return
                    (theirs if ready is ours else ours).sendall(block)
                    if ready is ours:
                        sent += len(block)
                        self.carried += len(block)
                    if self.cut_after is not None and sent > self.cut_after:
                        self.cut_after = None
                        self.cut()
                        return
