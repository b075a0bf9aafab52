"""`emulated:arm64`: a virtual arm64 board on this machine, reached over the same SSH as a real one.

An arm64 Debian userland runs under qemu-user behind its own sshd on loopback: real aarch64 wheels
and XNNPACK's real NEON kernels, so outputs and accuracy are those of a Cortex-A72. Latency is not:
the emulation is about a hundred times slower, and is marked.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeq import host
from edgeq.device_runners.devices.board import BoardDevice
from edgeq.device_runners.links import ssh
from edgeq.device_runners.links.ssh_address import SshAddress
from edgeq.errors import DeviceError, UsageError

MACHINES = ("arm64",)
SCRIPT = Path(__file__).with_name("virtual_board.sh")

_TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "qemu-aarch64-static": "qemu-user-static",
    "ssh-keygen": "openssh-client",
}
_BUILD_S = 900.0
_START_S = 60.0


@dataclass(frozen=True)
class VirtualBoard:
    """One virtual board's files.

    Attributes:
        folder: holds root/ and what the script writes beside it.
    """

    folder: Path

    @classmethod
    def of(cls, machine: str) -> VirtualBoard:
        """The board of a machine in the user's cache; EDGEQ_BOARDS moves them all."""
        own = os.environ.get("EDGEQ_BOARDS")
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        folder = Path(own) if own else Path(cache) / "edgeq" / "boards"
        return cls(folder.resolve() / machine)  # its processes are recognized by this path

    @property
    def root(self) -> Path:
        """The arm64 file system."""
        return self.folder / "root"

    @property
    def key(self) -> Path:
        """The private key that it accepts."""
        return self.folder / "key"

    @property
    def known_hosts(self) -> Path:
        """Its host key."""
        return self.folder / "known_hosts"

    @property
    def is_built(self) -> bool:
        """Whether the build came to its end."""
        return (self.folder / "built").exists()

    @property
    def port(self) -> int | None:
        """The port of its sshd; None if it does not run."""
        port, pid = self._running()
        return port if pid is not None and _answers(port) else None

    @property
    def pid(self) -> int | None:
        """The process that ends all of its processes; None if it does not run."""
        return self._running()[1]

    def _running(self) -> tuple[int, int | None]:
        """Port and process as written at its start, if the process is still the same.

        After a restart of this machine, the number may belong to another process.
        """
        try:
            port, pid = map(int, (self.folder / "running").read_text("utf-8").split())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return 0, None
        return port, pid if os.fsencode(self.root) in words else None


def open_device(machine: str, name: str, python: str | None) -> BoardDevice:
    """The board; its sshd is started when it is first needed.

    Raises:
        UsageError: an unknown machine.
    """
    kind, _, copy = machine.partition("-")
    if kind not in MACHINES or not (copy == "" or copy.isalnum()):
        raise UsageError(f"Unknown board 'emulated:{machine}'; use emulated:arm64, or a "
                         "copy of it such as emulated:arm64-2.")  # fmt: skip
    board = VirtualBoard.of(machine)

    def connect() -> ssh.SshLink:
        if not board.is_built:
            raise DeviceError(
                f"emulated:{machine} is not built yet.",
                hint=f"Build it once, as root: edgeq devices setup emulated:{machine}",
            )
        words = shlex.quote(python or "python3")
        keys, known = (str(board.key),), str(board.known_hosts)
        return ssh.connect(SshAddress("127.0.0.1", "pi", start(board), words, keys, known))

    return BoardDevice(name, connect, python=python)


@contextmanager
def _locked(board: VirtualBoard) -> Iterator[None]:
    """One process at a time builds, starts or stops a board."""
    board.folder.mkdir(parents=True, exist_ok=True)
    with (board.folder / "lock").open("ab") as lock:
        host.lock(lock.fileno(), wait=True)
        yield


def build(machine: str) -> None:
    """Make the file system from this machine's own Debian sources; as root, in a minute or two.

    A second board is copied from the first.

    Args:
        machine: "arm64", or a copy of it such as "arm64-2".

    Raises:
        DeviceError: not root, a tool is missing, or the script failed.
    """
    board = VirtualBoard.of(machine)
    missing = sorted({package for tool, package in _TOOLS.items() if shutil.which(tool) is None})
    if missing:
        raise DeviceError(
            f"A virtual board needs {', '.join(missing)}, which this machine does not have.",
            hint=f"Install it: sudo apt install {' '.join(missing)}",
        )
    if not host.is_root():
        raise DeviceError(
            "A virtual board is built and run as root: it mounts binfmt_misc and uses chroot.",
            hint="Run this command with sudo, or use a real board.",
        )
    with _locked(board):
        if board.is_built:
            return
        _stop(board)
        shutil.rmtree(board.root, ignore_errors=True)
        # A copy of a built board of the same machine takes seconds.
        others = board.folder.parent.glob(f"{machine.partition('-')[0]}*")
        twins = [str(other) for other in sorted(others) if VirtualBoard(other).is_built]
        _run_script(board, "build", _BUILD_S, *twins[:1])
        (board.folder / "built").touch()


def start(board: VirtualBoard) -> int:
    """Start its sshd unless it runs; the port on loopback.

    Raises:
        DeviceError: not root, or it does not start.
    """
    with _locked(board):
        if (port := board.port) is not None:
            return port
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        pid = _run_script(board, "start", _START_S, str(port)).split()[-1]
        (board.folder / "running").write_bytes(f"{port} {pid}".encode())
        end = time.monotonic() + _START_S
        while not _answers(port):
            if time.monotonic() > end:
                log = (board.folder / "log").read_text("utf-8", "replace")
                raise DeviceError("The virtual board's sshd does not start.", details=log)
            time.sleep(0.05)
        return port


def stop(machine: str) -> None:
    """End a virtual board, with everything that runs in it."""
    _stop(VirtualBoard.of(machine))


def _stop(board: VirtualBoard) -> None:
    if (pid := board.pid) is not None:
        with contextlib.suppress(OSError):
            host.kill(pid)  # SIGTERM is not passed on; its children end with it
    (board.folder / "running").unlink(missing_ok=True)


def _run_script(board: VirtualBoard, verb: str, timeout_s: float, *arguments: str) -> str:
    done = subprocess.run(
        ["bash", str(SCRIPT), verb, str(board.folder), *arguments],
        check=False, capture_output=True, encoding="utf-8", errors="replace",
        timeout=timeout_s, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise DeviceError(
            f"The virtual board cannot be {'built' if verb == 'build' else 'started'}: {last}.",
            details=done.stderr,
        )
    return done.stdout


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as peer:
        peer.settimeout(5.0)
        return peer.recv(4) == b"SSH-"
    return False
