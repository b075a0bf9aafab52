"""The state of the machine at this moment: clock, temperature, throttling, processor time."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from typing import Any

from .machine import (
    ask,
    ask_number,
    cpuinfo,
    find_files,
    load_average,
    read_number,
    read_numbers,
    read_text,
    ticks_per_second,
)

# Bits 0 to 3 of a Raspberry Pi's firmware; bits 16 to 19 are the same since boot.
THROTTLE_BITS = ("under-voltage", "clock capped", "throttled", "soft temperature limit")
# Android's PowerManager.THERMAL_STATUS_*, from 1.
THERMAL_STATUS = ("light", "moderate", "severe", "critical", "emergency", "shutdown")


def android_thermal() -> str | None:
    """The report of Android's thermal service; None on other systems."""
    return ask("dumpsys", "thermalservice")


def temperature_celsius() -> float | None:
    """Temperature of the hottest thermal zone; without zones, from the firmware or Android."""
    heat = read_numbers("/sys/class/thermal/thermal_zone*/temp")
    if heat:
        return max(heat) / 1000
    firmware = ask_number(r"temp=([\d.]+)", "vcgencmd", "measure_temp")
    return android_heat(android_thermal() or "") if firmware is None else firmware


def android_heat(thermal: str) -> float | None:
    """Temperature of the processor's hottest sensor (mType=0) in degrees Celsius.

    Cached values may be of any age: they are used only if there are no current ones.

    Args:
        thermal: the report of the thermal service.
    """
    now = thermal.partition("Current temperatures from HAL:")[2] or thermal
    sensors = re.findall(r"mValue=([\d.]+), mType=0,", now)
    return max(map(float, sensors)) if sensors else None


def android_states(thermal: str) -> list[str] | None:
    """Reasons why the processor is slowed, from the thermal service's report; None if unknown."""
    status = re.search(r"Thermal Status: (\d)", thermal)
    if not status:
        return None
    level = int(status.group(1))
    return [f"thermal status {name}" for name in THERMAL_STATUS[level - 1 : level] if level]


def clock_mhz(cores: Sequence[int]) -> float | None:
    """Clock of the fastest of some cores at this moment; None where it cannot be read."""
    base = "/sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq"
    clocks = [number for number in (read_number(base.format(core)) for core in cores) if number]
    if clocks:
        return max(clocks) / 1000
    fields = cpuinfo()
    listed = fields.get("cpu MHz", [])
    if listed and "hypervisor" not in (fields.get("flags") or [""])[0]:  # a guest sees a constant
        return max(map(float, listed))
    firmware = ask_number(r"=(\d+)", "vcgencmd", "measure_clock", "arm")
    return firmware / 1e6 if firmware else None


def throttle_states() -> tuple[list[str] | None, list[str]]:
    """Reasons why the processor is slowed now (None if unknown), and why it was since boot."""
    paths = find_files("/sys/devices/platform/soc*/*firmware/get_throttled")
    word = read_text(paths[0]) if paths else None
    found = re.search(r"(?:0x|^)([0-9a-fA-F]+)$", word or ask("vcgencmd", "get_throttled") or "")
    if found:
        bits = int(found.group(1), 16)
        states = [[name for bit, name in enumerate(THROTTLE_BITS) if bits >> shift + bit & 1]
                  for shift in (0, 16)]  # fmt: skip
        return states[0], states[1]
    return android_states(android_thermal() or ""), []


def throttle_count() -> int | None:
    """How often an Intel processor has slowed itself down since boot; None on others."""
    pattern = "/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count"
    return sum(read_numbers(pattern)) if find_files(pattern) else None


def busy_seconds() -> float | None:
    """Processor time that all processes have used since boot; None without /proc/stat."""
    first = (read_text("/proc/stat") or "").split("\n", 1)[0].split()
    if len(first) < 9 or first[0] != "cpu":
        return None
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, first[1:9])
    return (user + nice + system + irq + softirq + steal) / ticks_per_second()


def health(cores: Sequence[int]) -> dict[str, Any]:
    """Clock, temperature and processor time at this moment; None for what cannot be read."""
    clock = clock_mhz(cores)  # before the programs below change it
    throttling, throttled_before = throttle_states()
    return {
        "clock_mhz": clock,
        "temperature_celsius": temperature_celsius(),
        "throttling": throttling,
        "throttled_before": throttled_before,
        "throttle_count": throttle_count(),
        "busy_s": busy_seconds(),
        "own_s": sum(os.times()[:4]),
        "time_s": time.monotonic(),
        "load_average": load_average(),
    }
