"""Asks the machine: files of /proc, /sys and /etc, its own tools, and its operating system.

The agent also runs on the machine of edgeq, so this module has an equivalent for Windows and macOS
of each function that only Linux has.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
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


def pin(cores: Sequence[int]) -> None:
    """Bind this process, and the threads that it will start, to some cores.

    Raises:
        OSError: the system refuses.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise OSError(f"edgeq cannot choose cores on {sys.platform}")
    os.sched_setaffinity(0, cores)


def load_average() -> float | None:
    """Load average of the last minute; None on Windows."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def ticks_per_second() -> int:
    """Unit of the times in /proc/stat."""
    return int(os.sysconf("SC_CLK_TCK"))


def parent_has_ended(parent: int) -> bool:
    """Whether the process with this number is no longer our parent.

    Windows does not tell: in a virtual environment our parent is the `python.exe` that it started.
    """
    return sys.platform != "win32" and os.getppid() != parent


def memory_bytes() -> int | None:
    """Size of the physical memory."""
    if sys.platform == "win32":
        return _windows_memory()[0]
    try:
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        return None


def available_bytes() -> int | None:
    """Memory that a new process can have without swapping, as the system estimates it."""
    if sys.platform == "win32":
        return _windows_memory()[1]
    found = re.search(r"^MemAvailable:\s*(\d+) kB", read_text("/proc/meminfo") or "", re.M)
    return int(found.group(1)) * 1024 if found else None


def peak_bytes() -> int:
    """Largest resident size of this process so far."""
    for line in (read_text("/proc/self/status") or "").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return _windows_peak()
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _windows_memory() -> tuple[int, int]:
    """Physical and available bytes, from MEMORYSTATUSEX."""
    import ctypes

    layout = "=II7Q"
    status = ctypes.create_string_buffer(struct.pack(layout, struct.calcsize(layout), *[0] * 8))
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(status):  # type: ignore[attr-defined,unused-ignore]
        raise OSError("GlobalMemoryStatusEx failed")
    _, _, physical, available = struct.unpack_from("=IIQQ", status)
    return physical, available


def _windows_peak() -> int:
    """PeakWorkingSetSize of PROCESS_MEMORY_COUNTERS."""
    import ctypes

    layout = "@II8N"
    size = struct.calcsize(layout)
    counters = ctypes.create_string_buffer(struct.pack(layout, size, *[0] * 9))
    read = ctypes.windll.kernel32.K32GetProcessMemoryInfo  # type: ignore[attr-defined,unused-ignore]
    if not read(ctypes.c_void_p(-1), counters, ctypes.c_uint32(size)):  # of this process
        raise OSError("K32GetProcessMemoryInfo failed")
    return int(struct.unpack_from("@IIN", counters)[2])
