"""A job's own process, which continues when the connection ends."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import time
from pathlib import Path

from .cache import read_text, remove, write_json

FORGOTTEN_S = 7 * 24 * 3600.0  # age at which ended jobs and broken uploads are deleted


def is_running(folder: Path) -> bool:
    """Whether a job's watcher lives: it holds a lock that is freed however the watcher ends."""
    try:
        with (folder / "alive").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def start_watcher(folder: Path, command: list[str]) -> None:
    """Run a command in a new session; its watcher writes down how it ends."""
    ready, ours = os.pipe()
    child = os.fork()
    if child:
        os.close(ours)
        os.read(ready, 1)  # the watcher holds its lock now
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


def watch(folder: Path, command: list[str], ready: int) -> None:
    """The watcher: start the command, wait for it, write status.json."""
    os.closerange(
        3, ready
    )  # the connection's descriptors: open, they would keep it until the job ends
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


def remove_forgotten(root: Path) -> None:
    """Delete old jobs that do not run, and old uploads that broke."""
    for path in [*(root / "jobs").iterdir(), *(root / "incoming").iterdir()]:
        with contextlib.suppress(FileNotFoundError):  # another keeper deleted it meanwhile
            if age_s(path) > FORGOTTEN_S and not (path.is_dir() and is_running(path)):
                remove(path)


def age_s(path: Path) -> float:
    """Age of an upload or a job.

    The clock of a board without a battery starts in the past and jumps to the present when there is
    a network, so a job of this start is dated by the uptime.
    """
    started = json.loads(read_text(str(path / "process.json")) or "{}")
    if "uptime_s" in started and started["boot"] == boot_id():
        return uptime_s() - float(started["uptime_s"])
    return abs(time.time() - path.lstat().st_mtime)


def uptime_s() -> float:
    """Time since the start of the system, which nobody sets."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def boot_id() -> str | None:
    """ID of this start of the system; None if it has none."""
    return read_text("/proc/sys/kernel/random/boot_id")
