"""Reads files of /proc, /sys and /etc, and asks the machine's own tools."""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = os.environ.get("EDGEQ_MACHINE_ROOT", "")  # in front of /proc, /sys and /etc, for tests
TOOL_S = 5.0  # for vcgencmd, dumpsys and getprop


def read_text(path: str) -> str | None:
    """A small file's content; None if it is missing or unreadable."""
    try:
        return Path(ROOT + path).read_text("utf-8", "replace").strip("\0\n ")
    except OSError:
        return None


def read_number(path: str) -> int | None:
    """The integer in a small file; None without one."""
    text = read_text(path)
    return int(text) if text and text.lstrip("-").isdigit() else None


def find_files(pattern: str) -> list[str]:
    """Paths that match, for `read_text`."""
    return sorted(path[len(ROOT) :] for path in glob.glob(ROOT + pattern))  # noqa: PTH207


def read_numbers(pattern: str) -> list[int]:
    """The numbers above zero in all files that match."""
    return [number for number in map(read_number, find_files(pattern)) if number]


def ask(*command: str) -> str | None:
    """Output of a program; None if it is missing, fails or does not answer."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TOOL_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None


def ask_number(pattern: str, *command: str) -> float | None:
    """The number that a pattern finds in what a program prints; None without one."""
    found = re.search(pattern, ask(*command) or "")
    return float(found.group(1)) if found else None


def cpuinfo() -> dict[str, list[str]]:
    """/proc/cpuinfo: each field with its values, one per core."""
    fields: dict[str, list[str]] = {}
    for line in (read_text("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), []).append(value.strip())
    return fields


def own_cores() -> list[int]:
    """Numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def available_bytes() -> int | None:
    """Memory that a new process can have without swapping, as the kernel estimates it."""
    found = re.search(r"^MemAvailable:\s*(\d+) kB", read_text("/proc/meminfo") or "", re.M)
    return int(found.group(1)) * 1024 if found else None
