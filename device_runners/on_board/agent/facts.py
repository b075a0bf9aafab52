"""Facts of this machine: processor, cores, system, memory, runtimes."""

from __future__ import annotations

import contextlib
import platform
import re
import shutil
import sys
import tempfile
from typing import Any

from .energy import Meter
from .health import temperature_celsius, throttle_states
from .job import PROTOCOL
from .machine import (
    ask,
    available_bytes,
    cpuinfo,
    load_average,
    memory_bytes,
    own_cores,
    read_number,
    read_text,
)
from .runtimes import distribution_version, find_runtimes

ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd0d": "Cortex-A77",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710",
}

# XNNPACK chooses its INT8 and float kernels by these features; names as in /proc/cpuinfo.
CPU_FEATURES = (
    "neon", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme",
    "ssse3", "sse4_1", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni",
    "avx_vnni", "avx512_bf16", "amx_tile", "amx_int8",
)  # fmt: skip
KIND_GAP = 1.10  # cores of one kind differ by less: binning, or a favoured core


def cpu_model() -> str | None:
    """The processor's name, followed by the board's if it has one.

    The part number names ARM's own cores; a processor may mix several.
    """
    fields = cpuinfo()
    parts = fields.get("CPU part", [])
    if parts and set(fields.get("CPU implementer", [])) == {"0x41"}:
        kinds = sorted(set(parts), key=parts.index)
        name: str | None = " + ".join(ARM_PARTS.get(kind, f"ARM {kind}") for kind in kinds)
    else:
        name = fields.get("model name", [""])[0] or apple_model() or platform.processor() or None
    board = read_text("/proc/device-tree/model")
    return f"{name or platform.machine()} ({board})" if board else name


def apple_model() -> str | None:
    """The processor's name on macOS."""
    is_apple = platform.system() == "Darwin"
    return ask("sysctl", "-n", "machdep.cpu.brand_string") if is_apple else None


def cpu_features() -> list[str]:
    """The `CPU_FEATURES` that every core has."""
    fields = cpuinfo()
    cores = [set(text.split()) for text in fields.get("Features", []) + fields.get("flags", [])]
    return [name for name in CPU_FEATURES if cores and all(name in core for core in cores)]


def emulator() -> str | None:
    """Name of what emulates this processor; None without a sign of an emulator.

    QEMU's user mode does not implement ptrace; a kernel does, even if it forbids its use.
    """
    if ask("getprop", "ro.boot.qemu") == "1" or ask("getprop", "ro.kernel.qemu") == "1":
        return "Android emulator"
    with contextlib.suppress(ImportError, OSError, AttributeError, TypeError):  # the last: Windows
        import ctypes
        import errno

        # Both request and process are invalid: nothing happens, and the error shows it.
        ptrace = ctypes.CDLL(None, use_errno=True).ptrace
        ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
        if ptrace(0x7FFF, 0, None, None) == -1 and ctypes.get_errno() == errno.ENOSYS:
            return "QEMU user mode"
    return None


def core_kinds() -> list[dict[str, Any]]:
    """Cores by kind, the slowest first: by the kernel's capacity, or by the highest clock."""
    cores = own_cores()
    base = "/sys/devices/system/cpu/cpu{}/"
    capacities = [read_number(base.format(core) + "cpu_capacity") for core in cores]
    clocks = [read_number(base.format(core) + "cpufreq/cpuinfo_max_freq") for core in cores]
    speeds = capacities if all(capacities) else clocks if all(clocks) else [1] * len(cores)
    kinds: list[dict[str, Any]] = []
    last = 0.0
    for place in sorted(range(len(cores)), key=lambda place: speeds[place] or 0):
        speed, clock = speeds[place] or 0, clocks[place]
        if not kinds or speed > KIND_GAP * last:
            kinds.append({"numbers": []})
        kind = kinds[-1]
        kind["numbers"] = sorted([*kind["numbers"], cores[place]])
        kind["capacity"] = capacities[place] or None
        kind["max_mhz"] = clock / 1000 if clock else None
        last = speed
    return kinds


def release() -> str | None:
    """The operating system's name and release."""
    android = ask("getprop", "ro.build.version.release")
    if android:
        return f"Android {android}"
    if apple := platform.mac_ver()[0]:
        return f"macOS {apple}"
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', read_text("/etc/os-release") or "", re.M)
    return found.group(1) if found else None


def scratch() -> tuple[str | None, int | None]:
    """The folder for temporary files and its free space."""
    try:
        folder = tempfile.gettempdir()
        return folder, shutil.disk_usage(folder).free
    except OSError:  # nowhere may be written
        return None, None


def machine_facts() -> dict[str, Any]:
    """All facts of this machine; None for those that cannot be found out."""
    meter = Meter()
    folder, free = scratch()
    throttling, throttled_before = throttle_states()
    return {
        "protocol": PROTOCOL,
        "system": f"{platform.system()} {platform.release()}",
        "release": release(),
        "machine": platform.machine(),
        "emulator": emulator(),
        "cpu_model": cpu_model(),
        "cpu_features": cpu_features(),
        "core_count": len(own_cores()),
        "core_kinds": core_kinds(),
        "memory_bytes": memory_bytes(),
        "available_bytes": available_bytes(),
        "scratch_folder": folder,
        "scratch_bytes": free,
        "governor": read_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "energy_meter": meter.kind,
        "energy_refusal": meter.refusal,
        "python": platform.python_version(),
        "python_path": sys.executable,
        "numpy": distribution_version("numpy"),
        "temperature_celsius": temperature_celsius(),
        "throttling": throttling,
        "throttled_before": throttled_before,
        "load_average": load_average(),
        "runtimes": [{"name": name, "version": version} for name, version in find_runtimes()],
    }
