"""The keeper: keeps files and jobs on a board, for one caller, while a connection lasts.

It is sent over the connection as text and runs under the board's own Python 3.8+, with the standard
library alone; it imports nothing of edgeq. Requests are JSON lines on stdin, answers frames on
stdout (`keeper_link.py` reads them). Files come and go the same way, so that a board needs no SFTP
and a connection no second channel. A job runs in a session of its own: it goes on when the
connection ends, and the next keeper finds it.

    ROOT/files/DIGEST        what was sent, by SHA-256: models, agents, environments
    ROOT/incoming/NAME       what is being sent
    ROOT/jobs/ID/            one run: its events, errors and status; in work/ its inputs and outputs
    ROOT/environments/NAME/  a virtual environment with a runtime
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import platform
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any, BinaryIO, Dict, Iterator, List, Optional, Tuple

# Around each answer. In two parts, for something may echo this text, which is no answer then.
MARK = b"edgeq" + b"-keeper-1"

POLL_S = 0.25  # between looks at a running job; each one wakes a core
FACTS_S = 120.0  # for an interpreter to tell what it has
PART_BYTES = 4000  # of an answer; with its marks, less than the 4096 of PIPE_BUF
KEPT_BYTES = 1 << 16  # of what a failed agent printed
FORGOTTEN_S = 7 * 24 * 3600.0  # jobs and broken uploads that nobody asked for

NO_EXEC = getattr(os, "ST_NOEXEC", 8)

# A part of the loader's path, as a program names it, and the C library that it belongs to.
LOADERS = (
    (b"/ld-musl-", "musl"),
    (b"/ld-uClibc", "uClibc"),
    (b"/system/bin/linker", "bionic"),
    (b"/ld-linux", "glibc"),
)


class KeeperError(Exception):
    """A failure with a stable code."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


# ---------------------------------------------------------------- where things lie


def places() -> List[Path]:
    """Folders that may hold the cache, best first."""
    own = str(os.getuid())
    cache = os.environ.get("XDG_CACHE_HOME")
    homes = [Path(cache)] if cache else []
    home = Path("~").expanduser()
    if home.is_absolute():
        homes.append(home / ".cache")
    shared = [Path("/var/tmp"), Path("/data/local/tmp"), Path("/tmp")]
    return [folder / "edgeq" for folder in homes] + [folder / ("edgeq-" + own) for folder in shared]


def why_not(root: Path) -> Optional[str]:
    """Why a folder cannot hold the cache; None when it can. It is made if need be."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = root.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            return "belongs to somebody else"  # in a shared folder, anybody may take the name
        if os.statvfs(str(root)).f_flag & NO_EXEC:
            return "is mounted noexec"  # a runtime's libraries could not be loaded from there
        probe = root / ("probe-" + str(os.getpid()))
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None


def choose_root() -> Path:
    """The first place that works.

    Raises:
        KeeperError: none does.
    """
    refused = []
    for root in places():
        reason = why_not(root)
        if reason is None:
            for name in ("files", "incoming", "jobs", "environments"):
                (root / name).mkdir(exist_ok=True)
            return root
        refused.append(f"{root} {reason}")
    raise KeeperError("no_place", "; ".join(refused))


def remove_forgotten(root: Path) -> None:
    """Jobs that ended, and uploads that broke, long ago."""
    for path in [*(root / "jobs").iterdir(), *(root / "incoming").iterdir()]:
        with contextlib.suppress(FileNotFoundError):  # another keeper finished it meanwhile
            if age_s(path) > FORGOTTEN_S and not (path.is_dir() and is_running(path)):
                remove(path)


def age_s(path: Path) -> float:
    """Of an upload or a job.

    A board without a battery for its clock starts in the past and jumps to the present once it has
    a network: since the last start, jobs are dated by the uptime.
    """
    started = json.loads(read_text(str(path / "process.json")) or "{}")
    if "uptime_s" in started and started["boot"] == boot_id():
        return uptime_s() - float(started["uptime_s"])
    return abs(time.time() - path.lstat().st_mtime)


def remove(path: Path) -> None:
    """A file or a folder, there or not."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(str(path), ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def read_text(path: str) -> Optional[str]:
    """A small file's content, None where it is missing."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


# ---------------------------------------------------------------- a job's own process


def is_running(folder: Path) -> bool:
    """Whether a job's watcher lives: it holds a lock, which ends with it however it ends."""
    try:
        with (folder / "alive").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def start_watcher(folder: Path, command: List[str]) -> None:
    """Run a command in a session of its own, and note how it ends."""
    ready, ours = os.pipe()
    child = os.fork()
    if child:
        os.close(ours)
        os.read(ready, 1)  # it holds its lock now
        os.close(ready)
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        watch(folder, command, ours)
    finally:
        os._exit(0)


def watch(folder: Path, command: List[str], ready: int) -> None:
    """The watcher: start the command, wait for it, write status.json."""
    os.closerange(3, ready)  # the connection's own, which would not end before the job
    os.closerange(ready + 1, 256)
    with (folder / "alive").open("wb") as lock, Path(os.devnull).open("r+b") as nothing:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for descriptor in (0, 1, 2):
            os.dup2(nothing.fileno(), descriptor)
        with (folder / "events").open("wb") as events, (folder / "errors").open("wb") as errors:
            try:
                child = subprocess.Popen(
                    command, cwd=str(folder / "work"), stdin=nothing, stdout=events, stderr=errors
                )
            except OSError as error:
                errors.write(str(error).encode())
                write_json(folder / "status.json", {"returncode": 127})
                os.write(ready, b"1")
                return
            write_json(
                folder / "process.json",
                {"group": os.getpgrp(), "boot": boot_id(), "uptime_s": uptime_s()},
            )
            os.write(ready, b"1")
            os.close(ready)
            write_json(folder / "status.json", {"returncode": child.wait()})


def unpack(archive: Path, folder: Path) -> List[str]:
    """Take a tar file apart that edgeq made, and whose digest is right; the names in it."""
    with tarfile.open(str(archive)) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(str(folder), filter="data")
        else:
            tar.extractall(str(folder))
        return tar.getnames()


def is_usable(environment: Path) -> bool:
    """Whether its interpreter is still there: an upgrade of Python may have taken it away."""
    return (environment / "pyvenv.cfg").exists() and os.access(
        str(environment / "bin" / "python3"), os.X_OK
    )


def write_json(path: Path, value: Any) -> None:
    """Whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


def uptime_s() -> float:
    """A clock that nobody sets."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def boot_id() -> Optional[str]:
    """Of the running system, None where it does not tell."""
    return read_text("/proc/sys/kernel/random/boot_id")


def libc() -> Tuple[str, str]:
    """Name and version of the C library, which decides which wheels fit; "" where unknown."""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        if version:
            return name, version
    name = loader_kind(sys.executable)
    found = platform.libc_ver()
    return found if name in ("", found[0]) else (name, "")


def loader_kind(program: str) -> str:
    """The C library that a program's loader belongs to; "" where it is none that is known."""
    try:
        with Path(program).open("rb") as stream:
            start = stream.read(1 << 14)  # the loader's name lies behind the program's headers
    except OSError:
        return ""
    for mark, name in LOADERS:
        if mark in start:
            return name
    return ""


# ---------------------------------------------------------------- requests


class Keeper:
    """Answers requests; each public method is one.

    Args:
        source: where the bytes come from that follow a request.
    """

    def __init__(self, source: BinaryIO) -> None:
        self.root = Path()
        self._source = source

    def hello(self) -> Dict[str, Any]:
        """What this board is, and where its cache lies."""
        self.root = choose_root()
        remove_forgotten(self.root)
        room = os.statvfs(str(self.root))
        return {
            "root": str(self.root),
            "free_bytes": room.f_bavail * room.f_frsize,
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

    def missing(self, files: Dict[str, int]) -> List[str]:
        """Those of some digests that the cache does not have in the right size."""
        return [
            digest
            for digest, size in files.items()
            if self._size(self.root / "files" / digest) != size
        ]

    def received(self, name: str) -> int:
        """Bytes of an upload that are here already."""
        return self._size(self.root / "incoming" / name) or 0

    def write(self, path: str, offset: int, size: int) -> None:
        """A part of a file, whose bytes follow the request."""
        content = self._source.read(size)
        if len(content) < size:
            raise EOFError  # the connection ended
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as stream:
            stream.seek(offset)
            stream.write(content)

    def read(self, path: str, offset: int, size: int) -> bytes:
        """A part of a file; fewer bytes at its end."""
        with Path(path).open("rb") as stream:
            stream.seek(offset)
            return stream.read(size)

    def accept(self, name: str, digest: str) -> None:
        """Take a finished upload into the cache.

        Raises:
            KeeperError: it is not what was sent.
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

    def _size(self, path: Path) -> Optional[int]:
        try:
            return path.stat().st_size
        except OSError:
            return None

    # -- environments

    def make_environment(self, name: str, archive: str) -> None:
        """A virtual environment from a tar file of its site-packages."""
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
            (folder / "pyvenv.cfg").write_text(text.format(python.parent, version))
            remove(final)
            folder.replace(final)
            (self.root / "files" / archive).unlink()
        finally:
            remove(folder)

    def remove_environment(self, name: str) -> None:
        """Delete one."""
        remove(self.root / "environments" / name)

    def forget(self) -> int:
        """Delete the whole cache; returns the bytes that were freed.

        Raises:
            KeeperError: a run needs what lies there.
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

    def facts(self, python: str, agent: str) -> Dict[str, Any]:
        """What the agent says of this machine under an interpreter."""
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
            facts: Dict[str, Any] = json.loads(done.stdout.decode().splitlines()[-1])
        except (ValueError, IndexError):
            raise KeeperError("no_python", f"{python}: it does not answer like one") from None
        return facts

    def start(self, job: str, python: str, agent: str, files: Dict[str, str], inputs: str) -> None:
        """Start a job, once.

        Args:
            python: interpreter for the agent.
            agent: digest of it.
            files: name in the job's folder to digest in the cache.
            inputs: digest of a tar file with job.json and other inputs; it leaves the cache.
        """
        folder = self.root / "jobs" / job
        if (folder / "alive").exists():
            return  # the reply to an earlier call was lost
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

    def poll(self, job: str, offset: int, wait_s: float) -> Dict[str, Any]:
        """New events of a job, as soon as there are some, and its state."""
        folder = self.root / "jobs" / job
        if not folder.is_dir():
            return {"state": "unknown", "events": "", "offset": offset}
        end = time.monotonic() + wait_s
        while True:
            state = self._state(folder)  # before the events: none comes after the end
            events = self._read(folder / "events", offset)
            if events or state != "running" or time.monotonic() >= end:
                break
            time.sleep(POLL_S)
        text = events.decode("utf-8", "replace")
        reply: Dict[str, Any] = {"state": state, "events": text, "offset": offset + len(events)}
        if state != "running":
            status = json.loads(read_text(str(folder / "status.json")) or "{}")
            started = json.loads(read_text(str(folder / "process.json")) or "{}")
            reply.update(
                returncode=status.get("returncode"),
                rebooted=boot_id() != started.get("boot"),
                errors=self._tail(folder / "errors"),
            )
        return reply

    def _state(self, folder: Path) -> str:
        if is_running(folder):
            return "running"
        return "ended" if (folder / "status.json").exists() else "gone"

    def _read(self, path: Path, offset: int) -> bytes:
        """Whole lines behind an offset."""
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

    def outputs(self, job: str) -> Dict[str, Any]:
        """Name to path and digest of all files that a job wrote."""
        folder = self.root / "jobs" / job
        given = set(json.loads((folder / "inputs.json").read_text()))
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


def answer(keeper: Keeper, line: bytes) -> Tuple[Dict[str, Any], bytes]:
    """Do what a line asks for; what there is to say, and the bytes of a file."""
    request = json.loads(line.decode())
    try:
        found = getattr(keeper, request["call"])(**request["arguments"])
        return ({"ok": None}, found) if isinstance(found, bytes) else ({"ok": found}, b"")
    except KeeperError as error:
        return {"error": {"code": error.code, "message": str(error)}}, b""
    except subprocess.TimeoutExpired as error:
        return {"error": {"code": "agent_failed", "message": str(error)}}, b""
    except OSError as error:
        code = "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "os"
        return {"error": {"code": code, "message": str(error)}}, b""


def frames(said: Dict[str, Any], content: bytes) -> Iterator[bytes]:
    """An answer in parts with marks around them; `keeper_link.Frames` puts it together again.

    A part is so short that the system writes it in one go: what another program prints to the same
    output comes between parts.
    """
    body = json.dumps(said).encode() + b"\n" + content
    for start in range(0, len(body), PART_BYTES):
        part = body[start : start + PART_BYTES]
        more = b"+" if start + PART_BYTES < len(body) else b"."
        yield b"".join((b"\n", MARK, b" %d" % len(part), more, b"\n", part, b"\n", MARK, b" end\n"))


def write_all(descriptor: int, content: bytes) -> None:
    """In one go where that is possible."""
    while content:
        content = content[os.write(descriptor, content) :]


def main() -> None:
    """Answer until stdin ends."""
    source = sys.stdin.buffer
    replies = os.dup(1)
    os.dup2(2, 1)
    keeper = Keeper(source)
    for line in iter(source.readline, b""):
        try:
            for part in frames(*answer(keeper, line)):
                write_all(replies, part)
        except (EOFError, BrokenPipeError):
            break


if __name__ == "__main__":
    main()
