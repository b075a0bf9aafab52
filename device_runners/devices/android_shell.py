"""An Android device without Python, through its shell: facts, and looks at clock and temperature.

The sources are the agent's. On some phones the kernel does not let adb's user read all of them;
the values that it cannot read are None.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from edgeq.device_runners.links.adb_shell import Shell
from edgeq.device_runners.on_board.agent import facts, health
from edgeq.values import CoreKind, DeviceFacts

BINARY = "benchmark_model"  # in the folder that adb's environment names
_SECTION = "@@edgeq "
_NO_METER = "no meter that adb's user may read"

_FACTS = """
section() { echo; echo "@@edgeq $1"; }
section system; uname -sr
section machine; uname -m
for name in ro.product.manufacturer ro.product.model ro.soc.model ro.build.version.release \
    ro.kernel.qemu ro.boot.qemu; do section "$name"; getprop "$name" 2>/dev/null; done
for path in /proc/cpuinfo /proc/meminfo /etc/os-release \
    /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor; do
    section "$path"; cat "$path" 2>/dev/null; done
section cores
for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
    [ -e "$cpu" ] || continue
    echo "${cpu##*cpu}" "$(cat "$cpu/cpu_capacity" 2>/dev/null || echo 0)" \
        "$(cat "$cpu/cpufreq/cpuinfo_max_freq" 2>/dev/null || echo 0)"; done
section count; nproc 2>/dev/null
folder="${TMPDIR:-/data/local/tmp}"
section folder; echo "$folder"
section room; df -Pk "$folder" 2>/dev/null | tail -n 1
section binary; [ -x "$folder/benchmark_model" ] && echo "$folder/benchmark_model"
section zones; cat /sys/class/thermal/thermal_zone*/temp 2>/dev/null
section dumpsys; dumpsys thermalservice 2>/dev/null
:
"""

# $1 the job's folder, or nothing.
_LOOK = """
section() { echo; echo "@@edgeq $1"; }
section clocks; grep -H . /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq 2>/dev/null
section zones; cat /sys/class/thermal/thermal_zone*/temp 2>/dev/null
section dumpsys; dumpsys thermalservice 2>/dev/null
section load; cat /proc/loadavg 2>/dev/null
[ -n "$1" ] && cd "$1" || exit 0
child=$(cat child 2>/dev/null)
# After the first line of figures, everything is loaded and allocated.
section peak; [ -n "$child" ] && grep -q count= log && grep VmHWM: "/proc/$child/status" 2>/dev/null
section state
state=gone
# Its status is written a moment after it has ended, on a busy phone a long one.
for pause in 1 2 3 4 5 6; do
    if [ -e status ]; then state=ended; break; fi
    if [ -n "$child" ] && kill -0 "$child" 2>/dev/null &&
        [ "$(cat boot)" = "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)" ]; then
        state=running; break
    fi
    sleep 0.5 2>/dev/null || sleep 1
done
echo "$state"
section status; cat status 2>/dev/null
:
"""


def read_sections(text: str) -> dict[str, str]:
    """A script's output: heading to the text below it."""
    found: dict[str, str] = {}
    for part in text.split(f"\n{_SECTION}")[1:]:
        name, _, content = part.partition("\n")
        found[name] = content.strip("\n\0 ")
    return found


def read_facts(shell: Shell) -> DeviceFacts:
    """The facts of a device without a Python.

    Raises:
        DeviceError: the link does not come back.
    """
    sections = read_sections(shell.call(_FACTS))
    kinds = read_core_kinds(sections["cores"])
    fields: dict[str, list[str]] = {}  # of /proc/cpuinfo: to its values, one per core
    for line in sections["/proc/cpuinfo"].splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), []).append(value.strip())
    parts = dict.fromkeys(fields.get("CPU part", []))
    cpu = " + ".join(facts.ARM_PARTS.get(part, f"ARM {part}") for part in parts)
    cpu = cpu or (fields.get("model name") or [sections["machine"]])[0]
    properties = ("ro.product.manufacturer", "ro.product.model", "ro.soc.model")
    phone = " ".join(sections[key] for key in properties if sections[key])
    cores = [set(text.split()) for text in (*fields.get("Features", ()), *fields.get("flags", ()))]
    features = [name for name in facts.CPU_FEATURES if cores and all(name in c for c in cores)]
    count = sections["count"]
    memory = dict(re.findall(r"^(\w+):\s*(\d+) kB", sections["/proc/meminfo"], re.MULTILINE))
    room = sections["room"].split()
    release = sections["ro.build.version.release"]
    is_emulated = "1" in (sections["ro.kernel.qemu"], sections["ro.boot.qemu"])
    return DeviceFacts(
        device=shell.name,
        system=sections["system"],
        release=f"Android {release}" if release else None,
        machine=sections["machine"],
        cpu_model=f"{cpu} ({phone})" if phone else cpu,
        cpu_features=tuple(features),
        core_count=sum(len(kind.numbers) for kind in kinds)
        or (int(count) if count.isdigit() else len(fields.get("processor", [""]))),
        core_kinds=kinds,
        memory_bytes=1024 * int(memory["MemTotal"]) if "MemTotal" in memory else None,
        available_bytes=1024 * int(memory["MemAvailable"]) if "MemAvailable" in memory else None,
        governor=sections["/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"] or None,
        python=None,
        runtimes=(),
        emulator="Android emulator" if is_emulated else None,
        scratch_folder=sections["folder"],
        scratch_bytes=1024 * int(room[3]) if len(room) > 3 and room[3].isdigit() else None,
        energy_refusal=_NO_METER,
        temperature_celsius=_temperature(sections),
        throttling=_throttling(sections),
        benchmark_model=sections["binary"] or None,
    )


def look(shell: Shell, job: str = "", cores: Sequence[int] = ()) -> tuple[dict[str, Any], Any]:
    """The device at this moment, in the form of the agent's `health`, and a job there.

    Args:
        job: folder of the job, empty without one.
        cores: their highest clock counts; of all cores if there are none.

    Returns:
        The look; and the sections "state", "status" and "peak" of the job.
    """
    sections = read_sections(shell.call(_LOOK, job))
    clocks = re.findall(r"/cpu(\d+)/.*:(\d+)$", sections["clocks"], re.MULTILINE)
    khz = max((int(clock) for core, clock in clocks if not cores or int(core) in cores), default=0)
    load = sections["load"].split()
    seen = {
        "clock_mhz": khz / 1000 if khz else None,
        "temperature_celsius": _temperature(sections),
        "throttling": _throttling(sections),
        "throttled_before": (),
        "throttle_count": None,
        "busy_s": None,  # our own looks are among the other processes: nothing could be said
        "own_s": 0.0,
        "time_s": time.monotonic(),
        "load_average": float(load[0]) if load else None,
    }
    return seen, sections


def read_core_kinds(text: str) -> tuple[CoreKind, ...]:
    """Cores by kind, the slowest first.

    Args:
        text: a line for each core: number, capacity, highest clock in kHz; 0 where not known.
    """
    rows = [[int(word) for word in line.split()] for line in text.splitlines()]
    rows = [row for row in rows if len(row) == 3]
    column = 1 if all(row[1] for row in rows) else 2 if all(row[2] for row in rows) else None
    kinds: list[CoreKind] = []
    last = 0.0
    for row in sorted(rows, key=lambda row: row[column] if column else 0):
        speed = float(row[column]) if column else 1.0
        capacity, mhz = row[1] or None, row[2] / 1000 if row[2] else None
        if kinds and speed <= facts.KIND_GAP * last:
            numbers = tuple(sorted((*kinds.pop().numbers, row[0])))
        else:
            numbers = (row[0],)
        kinds.append(CoreKind(numbers, capacity, mhz))
        last = speed
    return tuple(kinds)


def _temperature(sections: Mapping[str, str]) -> float | None:
    """The hottest thermal zone, in the kernel's thousandths; without one, Android's value."""
    zones = [int(word) for word in sections["zones"].split() if word.isdigit() and int(word)]
    hottest = max(zones, default=None)
    return hottest / 1000 if hottest else health.android_heat(sections["dumpsys"])


def _throttling(sections: Mapping[str, str]) -> tuple[str, ...] | None:
    states = health.android_states(sections["dumpsys"])
    return None if states is None else tuple(states)
