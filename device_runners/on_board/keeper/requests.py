"""The requests that the keeper answers."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

from .cache import KeeperError, choose_root, digest_of, read_text, remove, write_json
from .environments import is_usable, libc, unpack
from .jobs import boot_id, is_running, remove_forgotten, start_watcher

POLL_S = 0.25  # between looks at a running job; each look wakes a core
FACTS_S = 120.0  # for the agent under an interpreter
KEPT_BYTES = 1 << 16  # of the errors that a failed agent printed


class Keeper:
    """Answers requests; each public method is one.

    Args:
        source: stream of the bytes that follow a request.
    """

    def __init__(self, source: BinaryIO) -> None:
        self.root = Path()
        self._source = source

    def hello(self) -> dict[str, Any]:
        """Facts of this board, and the place of its cache."""
        self.root = choose_root()
        remove_forgotten(self.root)
        return {
            "root": str(self.root),
            "free_bytes": self.room(),
            "python": sys.executable,
            "version": list(sys.version_info[:3]),
            "is_64_bit": sys.maxsize > 1 << 32,
            "machine": platform.machine(),
            "libc": libc(),
            "environments": sorted(
                path.name for path in (self.root / "environments").iterdir()
                if is_usable(path)
            ),
        }  # fmt: skip

    # -- files

    def missing(self, files: dict[str, int]) -> list[str]:
        """Digests of files that the cache does not have in the right size."""
        return [
            digest
            for digest, size in files.items()
            if self._size(self.root / "files" / digest) != size
        ]

    def received(self, name: str) -> int:
        """Number of bytes of an upload that have arrived already."""
        return self._size(self.root / "incoming" / name) or 0

    def write(self, path: str, offset: int, size: int) -> None:
        """Write a part of a file; its bytes follow the request."""
        content = self._source.read(size)
        if len(content) < size:
            raise EOFError  # the connection ended
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as stream:
            stream.seek(offset)
            stream.write(content)

    def read(self, path: str, offset: int, size: int) -> bytes:
        """Read a part of a file; fewer bytes at its end."""
        with Path(path).open("rb") as stream:
            stream.seek(offset)
            return stream.read(size)

    def accept(self, name: str, digest: str) -> None:
        """Move a complete upload into the cache.

        Raises:
            KeeperError: its digest is wrong.
        """
        path = self.root / "incoming" / name
        found = digest_of(path)
        if found != digest:
            path.unlink()
            raise KeeperError("corrupt", f"{digest} arrived as {found}")
        path.replace(self.root / "files" / digest)

    def room(self) -> int:
        """Free bytes for this user."""
        found = os.statvfs(str(self.root))
        return found.f_bavail * found.f_frsize

    def _size(self, path: Path) -> int | None:
        try:
            return path.stat().st_size
        except OSError:
            return None

    # -- environments

    def make_environment(self, name: str, archive: str) -> None:
        """Make a virtual environment from a tar file of its site-packages."""
        final = self.root / "environments" / name
        if is_usable(final):
            return
        for path in final.parent.iterdir():
            if not is_usable(path):
                remove(path)
        folder = self.root / "incoming" / f"{name}-{os.getpid()}"
        remove(folder)
        version = "{}.{}".format(*sys.version_info[:2])
        site = folder / "lib" / ("python" + version) / "site-packages"
        try:
            site.mkdir(parents=True)
            unpack(self.root / "files" / archive, site)
            (folder / "bin").mkdir()
            python = Path(sys.executable).resolve()
            (folder / "bin" / "python3").symlink_to(python)
            text = "home = {}\ninclude-system-site-packages = false\nversion = {}\n"
            (folder / "pyvenv.cfg").write_text(text.format(python.parent, version), "utf-8")
            remove(final)
            folder.replace(final)
            (self.root / "files" / archive).unlink()
        finally:
            remove(folder)

    def remove_environment(self, name: str) -> None:
        """Delete a virtual environment."""
        remove(self.root / "environments" / name)

    def forget(self) -> int:
        """Delete the whole cache; returns the bytes that were freed.

        Raises:
            KeeperError: a run needs it.
        """
        before = self.room()
        busy = [path.name for path in (self.root / "jobs").iterdir() if is_running(path)]
        if busy:
            raise KeeperError("busy", ", ".join(busy))
        for path in [*(self.root / "files").iterdir(), *(self.root / "incoming").iterdir(),
                     *(self.root / "environments").iterdir()]:  # fmt: skip
            remove(path)
        for path in (self.root / "jobs").iterdir():
            remove(path)
        return max(0, self.room() - before)

    # -- jobs

    def facts(self, python: str, agent: str) -> dict[str, Any]:
        """The agent's facts of this machine under an interpreter."""
        command = [python, str(self.root / "files" / agent), "facts"]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                timeout=FACTS_S,
            )  # fmt: skip
        except OSError as error:
            raise KeeperError("no_python", f"{python}: {error.strerror or error}") from error
        if done.returncode != 0:
            text = done.stderr.decode("utf-8", "replace").strip()
            raise KeeperError("agent_failed", text or f"status {done.returncode}")
        try:
            facts: dict[str, Any] = json.loads(done.stdout.decode().splitlines()[-1])
        except (ValueError, IndexError):
            raise KeeperError("no_python", f"{python}: it does not answer like one") from None
        return facts

    def start(self, job: str, python: str, agent: str, files: dict[str, str], inputs: str) -> None:
        """Start a job, once.

        Args:
            python: interpreter for the agent.
            agent: digest of the agent.
            files: name in the job's folder to digest in the cache.
            inputs: digest of a tar file with job.json and other inputs; it is deleted.
        """
        folder = self.root / "jobs" / job
        if (folder / "alive").exists():
            return  # the reply to an earlier request was lost
        remove(folder)
        work = folder / "work"
        work.mkdir(mode=0o700, parents=True)
        archive = self.root / "files" / inputs
        write_json(folder / "inputs.json", unpack(archive, work))
        archive.unlink()
        for name, digest in files.items():
            (work / name).symlink_to(self.root / "files" / digest)
            os.utime(str(self.root / "files" / digest))
        command = [python, str(self.root / "files" / agent), "run", str(work)]
        start_watcher(folder, command)

    def poll(self, job: str, offset: int, wait_s: float) -> dict[str, Any]:
        """New events of a job, as soon as there are some, and its state."""
        folder = self.root / "jobs" / job
        if not folder.is_dir():
            return {"state": "unknown", "events": "", "offset": offset}
        end = time.monotonic() + wait_s
        while True:
            # Before the events: none are added after the end.
            state = "running" if is_running(folder) else "ended"
            if state == "ended" and not (folder / "status.json").exists():
                state = "gone"
            events = self._read(folder / "events", offset)
            if events or state != "running" or time.monotonic() >= end:
                break
            time.sleep(POLL_S)
        text = events.decode("utf-8", "replace")
        reply: dict[str, Any] = {"state": state, "events": text, "offset": offset + len(events)}
        if state != "running":
            status = json.loads(read_text(str(folder / "status.json")) or "{}")
            started = json.loads(read_text(str(folder / "process.json")) or "{}")
            reply.update(
                returncode=status.get("returncode"),
                rebooted=boot_id() != started.get("boot"),
                errors=self._tail(folder / "errors"),
            )
        return reply

    def _read(self, path: Path, offset: int) -> bytes:
        """Complete lines from an offset on."""
        try:
            with path.open("rb") as stream:
                stream.seek(offset)
                content = stream.read()
        except OSError:
            return b""
        return content[: content.rfind(b"\n") + 1]

    def _tail(self, path: Path) -> str:
        try:
            with path.open("rb") as stream:
                stream.seek(max(0, path.stat().st_size - KEPT_BYTES))
                return stream.read().decode("utf-8", "replace")
        except OSError:
            return ""

    def outputs(self, job: str) -> dict[str, Any]:
        """Path and digest of each file that a job wrote, by name."""
        folder = self.root / "jobs" / job
        given = set(json.loads((folder / "inputs.json").read_text("utf-8")))
        return {
            path.name: {"path": str(path), "digest": digest_of(path)}
            for path in (folder / "work").iterdir()
            if path.is_file() and not path.is_symlink() and path.name not in given
        }

    def finish(self, job: str) -> None:
        """End a job if it runs, and delete its folder."""
        folder = self.root / "jobs" / job
        if folder.is_dir() and is_running(folder):
            group = json.loads(read_text(str(folder / "process.json")) or "{}").get("group")
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(group, number)
                except ProcessLookupError:
                    break
                end = time.monotonic() + 2
                while is_running(folder) and time.monotonic() < end:
                    time.sleep(0.02)
        remove(folder)
