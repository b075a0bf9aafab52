"""The agent: one self-contained file that runs models on whatever machine it is put on.

    python agent.py facts          what this machine is, as one JSON line
    python agent.py run JOBDIR     do JOBDIR/job.json; events on stdout, JOBDIR/result.json
    python agent.py worker FD PID  (internal) the process that holds one interpreter
    python agent.py script PID     (internal) another self-contained file, from stdin, as the job's

It needs the standard library, numpy, and one of ai_edge_litert, tflite_runtime, tensorflow; it
imports nothing of edgeq. Native code can crash, so the agent only coordinates: each model lives
in a worker process of its own, which makes a crash a line in the result, and memory a figure per
model. A job names files relative to its folder; the last event is {"event": "end"}, so that a
reader knows a cut-off stream from a finished one. Runs on Python 3.8 and newer.

A model may be hostile. Whoever opens it has imported the runtime, then confines itself to the job's
folder with the source of edgeq's `sandbox.py`, which travels in the job. No code is loaded from
that folder, because an earlier model could have put it there.
"""

from __future__ import annotations

import contextlib
import gc
import glob
import importlib
import importlib.util
import json
import math
import os
import platform
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Callable, ClassVar, Dict, List, Optional, Sequence, Tuple

PROTOCOL = 1
AGENT = Path(__file__).resolve()  # before the job's folder becomes the current one
ROOT = os.environ.get("EDGEQ_MACHINE_ROOT", "")  # in front of /proc, /sys and /etc, for tests

# Name, package, distributions that may hold the package; in the order they are looked for.
RUNTIMES = (
    ("ai-edge-litert", "ai_edge_litert", ("ai-edge-litert", "ai-edge-litert-nightly")),
    ("tflite-runtime", "tflite_runtime", ("tflite-runtime", "tflite-runtime-nightly")),
    ("tensorflow", "tensorflow", ("tensorflow", "tensorflow-cpu", "tf-nightly")),
)

BURST_S = 0.03  # of inferences in a row before the next model has its turn
MIN_RUNS = 30  # below this an interval of the median says little
MAX_BURST = 1000  # inferences in a row
MAX_RUNS = 20000  # once the minimum time is over: more only fill the record with times
MOST_RUNS = 200000  # whatever the minimum time
FEWEST_ROUNDS = 3  # of fresh processes, however long loading takes
TIGHT = 0.01  # half-width of the times' own interval, relative to the median, that is enough
STEADY = 0.05  # between the medians of two windows of a model that has warmed up
WARMUP_S = 2.0  # at most, once a model has run three times
WINDOW_S = 0.05  # of warming up
SAMPLE_S = 0.5  # between looks at clock and temperature
MAX_LOOKS = 1200  # in a sustained run; that is every half second of ten minutes
LOOK_S = 0.05  # of inferences that run while the machine is looked at, and do not count
TOOL_S = 5.0  # for vcgencmd, dumpsys and getprop
METERED_S = 0.1  # of metered inferences at least: RAPL counts once a millisecond
BEAT_S = 1.0  # between a busy worker's signs of life
PATIENCE_S = 600.0  # without a sign of life, a worker hangs
PROFILE_TURNS = 3  # processes per model
SINGLE_THREADED = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
ALIGNMENT = 64  # of tensors in the arena


class JobError(Exception):
    """A failure with a stable code, for the result."""

    def __init__(self, code: str, message: str, details: str = ""):
        super().__init__(message)
        self.code = code
        self.details = details

    def plain(self) -> Dict[str, Any]:
        """As JSON."""
        return {"code": self.code, "message": str(self), "details": self.details}


# ---------------------------------------------------------------- statistics


def median_interval(times: Sequence[float]) -> Tuple[float, float, float]:
    """95 % interval of the median from order statistics; assumes no distribution.

    The number of values below the true median is binomial with p = 1/2, so the values of the
    ranks l and n + 1 - l enclose it with P(l <= B < n + 1 - l) (Conover, "Practical Nonparametric
    Statistics", section 3.2). l is the binomial's 2.5 % quantile in the normal approximation with
    continuity correction: the exact rank or, for 1 per cent of n, the next wider.

    Args:
        times: at least one number, any order.

    Returns:
        (low, median, high); the extremes below six numbers, where no interval has 95 %.
    """
    ordered = sorted(times)
    count = len(ordered)
    middle = count // 2
    median = ordered[middle] if count % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    rank = max(1, math.floor((count + 1 - 1.959964 * math.sqrt(count)) / 2))
    return ordered[rank - 1], median, ordered[count - rank]


def is_tight(times: Sequence[float]) -> bool:
    """Whether the median is known well enough to stop."""
    low, median, high = median_interval(times)
    return len(times) >= MIN_RUNS and max(high - median, median - low) <= TIGHT * median


# ---------------------------------------------------------------- reading the machine


def read_text(path: str) -> Optional[str]:
    """A small file's content, None where it is missing or unreadable."""
    try:
        return Path(ROOT + path).read_text("utf-8", "replace").strip("\0\n ")
    except OSError:
        return None


def read_number(path: str) -> Optional[int]:
    """The integer in a small file, None where there is none."""
    text = read_text(path)
    return int(text) if text and text.lstrip("-").isdigit() else None


def find_files(pattern: str) -> List[str]:
    """Paths that match, for `read_text`."""
    return sorted(path[len(ROOT) :] for path in glob.glob(ROOT + pattern))


def read_numbers(pattern: str) -> List[int]:
    """The numbers above zero in all files that match."""
    return [number for number in map(read_number, find_files(pattern)) if number]


def ask(*command: str) -> Optional[str]:
    """What a program prints; None where it is missing, fails or does not answer."""
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


def ask_number(pattern: str, *command: str) -> Optional[float]:
    """The number that a pattern finds in what a program prints."""
    found = re.search(pattern, ask(*command) or "")
    return float(found.group(1)) if found else None


def cpuinfo() -> Dict[str, List[str]]:
    """/proc/cpuinfo: field to its values, one per core."""
    fields: Dict[str, List[str]] = {}
    for line in (read_text("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), []).append(value.strip())
    return fields


# ---------------------------------------------------------------- facts: processor and cores

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


# As /proc/cpuinfo spells them: what the INT8 and float kernels of XNNPACK choose by.
CPU_FEATURES = (
    "neon", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme",
    "ssse3", "sse4_1", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni",
    "avx_vnni", "avx512_bf16", "amx_tile", "amx_int8",
)  # fmt: skip
KIND_GAP = 1.10  # cores of one kind may differ by less, through binning or a favoured core


def cpu_model() -> Optional[str]:
    """The processor's name, with the board's where there is one.

    Of ARM's own cores the part number names the core, and a processor may mix several.
    """
    fields = cpuinfo()
    parts = fields.get("CPU part", [])
    if parts and set(fields.get("CPU implementer", [])) == {"0x41"}:
        kinds = sorted(set(parts), key=parts.index)
        name: Optional[str] = " + ".join(ARM_PARTS.get(kind, f"ARM {kind}") for kind in kinds)
    else:
        name = fields.get("model name", [""])[0] or platform.processor() or None
    board = read_text("/proc/device-tree/model")
    return f"{name or platform.machine()} ({board})" if board else name


def cpu_features() -> List[str]:
    """Those of `CPU_FEATURES` that every core has."""
    fields = cpuinfo()
    cores = [set(text.split()) for text in fields.get("Features", []) + fields.get("flags", [])]
    return [name for name in CPU_FEATURES if cores and all(name in core for core in cores)]


def emulator() -> Optional[str]:
    """Who emulates this processor, None when nothing tells of one.

    QEMU's user mode does not know ptrace; a kernel does, even where it forbids it.
    """
    if ask("getprop", "ro.boot.qemu") == "1" or ask("getprop", "ro.kernel.qemu") == "1":
        return "Android emulator"
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes
        import errno

        # No such request to no such process: nothing happens, and the error tells.
        ptrace = ctypes.CDLL(None, use_errno=True).ptrace
        ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
        if ptrace(0x7FFF, 0, None, None) == -1 and ctypes.get_errno() == errno.ENOSYS:
            return "QEMU user mode"
    return None


def own_cores() -> List[int]:
    """Numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def core_kinds() -> List[Dict[str, Any]]:
    """Cores by kind, the slowest first: by the kernel's capacity or, without, by highest clock."""
    cores = own_cores()
    base = "/sys/devices/system/cpu/cpu{}/"
    capacities = [read_number(base.format(core) + "cpu_capacity") for core in cores]
    clocks = [read_number(base.format(core) + "cpufreq/cpuinfo_max_freq") for core in cores]
    speeds = capacities if all(capacities) else clocks if all(clocks) else [1] * len(cores)
    kinds: List[Dict[str, Any]] = []
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


def pin(cores: Sequence[int]) -> None:
    """Bind this process, and the threads it will start, to some cores.

    Raises:
        JobError: the kernel refuses.
    """
    try:
        os.sched_setaffinity(0, cores)
    except (OSError, AttributeError) as error:
        listed = ", ".join(map(str, cores))
        raise JobError("cores_refused", f"cores {listed} cannot be used: {error}") from error


# ---------------------------------------------------------------- facts: system and runtimes


def release() -> Optional[str]:
    """The operating system's name and release."""
    android = ask("getprop", "ro.build.version.release")
    if android:
        return f"Android {android}"
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', read_text("/etc/os-release") or "", re.M)
    return found.group(1) if found else None


def distribution_version(*names: str) -> Optional[str]:
    """Version of the first of these distributions that is installed, None without any."""
    for name in names:
        with contextlib.suppress(PackageNotFoundError):
            return installed_version(name)
    return None


def find_runtimes() -> List[Tuple[str, str]]:
    """Installed runtimes as (name, version), best first; none is imported."""
    found = []
    for name, package, distributions in RUNTIMES:
        if importlib.util.find_spec(package) is not None:
            found.append((name, distribution_version(*distributions) or "unknown"))
    return found


def memory_bytes() -> Optional[int]:
    """Physical memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def available_bytes() -> Optional[int]:
    """Memory that a new process can have without swapping, as the kernel estimates it."""
    found = re.search(r"^MemAvailable:\s*(\d+) kB", read_text("/proc/meminfo") or "", re.M)
    return int(found.group(1)) * 1024 if found else None


def scratch() -> Tuple[Optional[str], Optional[int]]:
    """The folder for temporary files and its free space."""
    try:
        folder = tempfile.gettempdir()
        return folder, shutil.disk_usage(folder).free
    except OSError:  # nowhere may be written
        return None, None


def machine_facts() -> Dict[str, Any]:
    """What this machine is; None for what it does not tell."""
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


# ---------------------------------------------------------------- health: looks at the machine

# What a Raspberry Pi's firmware tells in bits 0 to 3, and in bits 16 to 19 of the time since boot.
THROTTLE_BITS = ("under-voltage", "clock capped", "throttled", "soft temperature limit")
# Android's PowerManager.THERMAL_STATUS_*, from 1.
THERMAL_STATUS = ("light", "moderate", "severe", "critical", "emergency", "shutdown")


def android_thermal() -> Optional[str]:
    """What Android's thermal service tells, None elsewhere."""
    return ask("dumpsys", "thermalservice")


def temperature_celsius() -> Optional[float]:
    """Of the hottest thermal zone; where sysfs has none, as firmware or Android tell it."""
    heat = read_numbers("/sys/class/thermal/thermal_zone*/temp")
    if heat:
        return max(heat) / 1000
    told = ask_number(r"temp=([\d.]+)", "vcgencmd", "measure_temp")
    return android_heat(android_thermal() or "") if told is None else told


def android_heat(thermal: str) -> Optional[float]:
    """Of the processor's hottest sensor (mType=0); cached values, of any age, only without others.

    Args:
        thermal: what the thermal service tells.
    """
    now = thermal.partition("Current temperatures from HAL:")[2] or thermal
    told = re.findall(r"mValue=([\d.]+), mType=0,", now)
    return max(map(float, told)) if told else None


def android_states(thermal: str) -> Optional[List[str]]:
    """What the thermal service says of slowing; None where it says nothing."""
    status = re.search(r"Thermal Status: (\d)", thermal)
    if not status:
        return None
    level = int(status.group(1))
    return [f"thermal status {name}" for name in THERMAL_STATUS[level - 1 : level] if level]


def clock_mhz(cores: Sequence[int]) -> Optional[float]:
    """Of the fastest of some cores at this moment."""
    base = "/sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq"
    clocks = [number for number in (read_number(base.format(core)) for core in cores) if number]
    if clocks:
        return max(clocks) / 1000
    told = cpuinfo().get("cpu MHz", [])
    if told and "hypervisor" not in (cpuinfo().get("flags") or [""])[0]:  # a guest sees a constant
        return max(map(float, told))
    firmware = ask_number(r"=(\d+)", "vcgencmd", "measure_clock", "arm")
    return firmware / 1e6 if firmware else None


def throttle_states() -> Tuple[Optional[List[str]], List[str]]:
    """What slows the processor now (None: nobody tells), and what has done so since boot."""
    paths = find_files("/sys/devices/platform/soc*/*firmware/get_throttled")
    told = read_text(paths[0]) if paths else None
    found = re.search(r"(?:0x|^)([0-9a-fA-F]+)$", told or ask("vcgencmd", "get_throttled") or "")
    if found:
        word = int(found.group(1), 16)
        states = [[name for bit, name in enumerate(THROTTLE_BITS) if word >> shift + bit & 1]
                  for shift in (0, 16)]  # fmt: skip
        return states[0], states[1]
    return android_states(android_thermal() or ""), []


def throttle_count() -> Optional[int]:
    """How often Intel processors have slowed themselves down since boot."""
    pattern = "/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count"
    return sum(read_numbers(pattern)) if find_files(pattern) else None


def load_average() -> Optional[float]:
    """Over the last minute."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def busy_seconds() -> Optional[float]:
    """Processor time that all processes together have used, None without /proc/stat."""
    first = (read_text("/proc/stat") or "").split("\n", 1)[0].split()
    if len(first) < 9 or first[0] != "cpu":
        return None
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, first[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def health(cores: Sequence[int]) -> Dict[str, Any]:
    """Clock, temperature and processor time right now; None for what cannot be read."""
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


# ---------------------------------------------------------------- energy


class Meter:
    """The energy meter of this machine, if there is one that may be read.

    Attributes:
        kind: "RAPL" (counts joules of the processor packages), "PMIC" (a Raspberry Pi 5's power
            management chip: volts and amperes of its rails), or None.
        refusal: why there is none.
    """

    def __init__(self) -> None:
        self.kind: Optional[str] = None
        self.refusal: Optional[str] = None
        self.packages: List[str] = []
        for folder in find_files("/sys/class/powercap/intel-rapl:*"):
            # Of the domains only the packages: the others are parts of them.
            if (read_text(f"{folder}/name") or "").startswith("package"):
                self.packages.append(folder)
        if self.packages and self.counters() is not None:
            self.kind = "RAPL"
        elif self.packages:
            self.refusal = f"{self.packages[0]}/energy_uj can be read by root only"
        elif self.watts() is not None:
            self.kind = "PMIC"
        else:
            self.refusal = "no meter found (RAPL, or a Raspberry Pi 5's PMIC)"

    def counters(self) -> Optional[List[int]]:
        """Microjoules of each package since some moment; None without RAPL."""
        counts = [read_number(f"{folder}/energy_uj") for folder in self.packages]
        known = [count for count in counts if count is not None]
        return known if known and len(known) == len(counts) else None

    def joules(self, before: List[int], after: List[int]) -> float:
        """Energy between two looks at the counters, which wrap around."""
        spent = 0
        for place, folder in enumerate(self.packages):
            step = after[place] - before[place]
            limit = read_number(f"{folder}/max_energy_range_uj") or 0
            spent += step if step >= 0 else step + limit
        return spent / 1e6

    @staticmethod
    def watts() -> Optional[float]:
        """Power of all rails that have both an ammeter and a voltmeter; None without a PMIC."""
        told = re.findall(
            r"(\w+)_([AV]) \w+\(\d+\)=([\d.]+)", ask("vcgencmd", "pmic_read_adc") or ""
        )
        found = {(rail, unit): float(value) for rail, unit, value in told}
        rails = [rail for rail, unit in found if unit == "A" and (rail, "V") in found]
        return sum(found[rail, "A"] * found[rail, "V"] for rail in rails) if rails else None


# ---------------------------------------------------------------- the worker process


def import_runtime(wanted: Optional[str]) -> Tuple[Any, Any, Dict[str, str]]:
    """The wanted or best runtime: its Interpreter, its OpResolverType, its name and version.

    Raises:
        JobError: it is not installed, or cannot be imported.
    """
    found = find_runtimes()
    chosen = [item for item in found if wanted in (None, item[0])]
    if not chosen:
        known = ", ".join(name for name, _ in found) or "none"
        raise JobError("runtime_missing", f"{wanted or 'a runtime'} is not installed ({known} is)")
    name, version = chosen[0]
    info = {"name": name, "version": version}
    try:
        if name == "tensorflow":
            lite = importlib.import_module("tensorflow").lite
            return lite.Interpreter, lite.experimental.OpResolverType, info
        module = importlib.import_module(name.replace("-", "_") + ".interpreter")
        return module.Interpreter, module.OpResolverType, info
    except (ImportError, AttributeError) as error:
        text = f"{type(error).__name__}: {error}"
        message = f"{name} {version} cannot be imported: {text.splitlines()[0]}"
        raise JobError("runtime_broken", message, text) from error


def load_interpreter(
    path: str, runtime: Optional[str], threads: int, kernels: str = "xnnpack"
) -> Tuple[Any, Dict[str, str], float]:
    """An interpreter, allocated when its shapes are fixed; its runtime; milliseconds it took.

    Raises:
        JobError: no runtime, or it cannot load the model.
    """
    make, resolvers, info = import_runtime(runtime)
    options: Dict[str, Any] = {"num_threads": threads}
    if kernels != "xnnpack":  # which the default resolver brings
        kind = {"builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "reference": "BUILTIN_REF"}[kernels]
        options["experimental_op_resolver_type"] = getattr(resolvers, kind)
    began = time.perf_counter_ns()
    try:
        interpreter = make(model_path=path, **options)
        if not has_dynamic_input(interpreter):
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise explain_load(str(error), info["name"], info["version"]) from error
    except SystemError as error:  # how tflite-runtime fails under numpy 2
        message = f"{info['name']} {info['version']} does not work with the numpy that is there"
        text = f"numpy {distribution_version('numpy')}: {error}"
        raise JobError("runtime_broken", message, text) from error
    return interpreter, info, (time.perf_counter_ns() - began) / 1e6


def has_dynamic_input(interpreter: Any) -> bool:
    """Whether an input has to be resized first; until then, its dynamic dimensions are 1."""
    details = interpreter.get_input_details()
    return any(-1 in detail.get("shape_signature", detail["shape"]) for detail in details)


def explain_load(text: str, name: str, version: str) -> JobError:
    """The runtime's complaint as a coded error."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "no message")
    if "Didn't find op for builtin opcode" in text:
        return JobError("runtime_too_old", f"{name} {version} is too old: {first}", text)
    if "unresolved custom op" in text or "Select TensorFlow op" in text:
        return JobError("unsupported_op", f"{name} {version} lacks an operator: {first}", text)
    return JobError("bad_model", f"{name} {version} cannot load the model: {first}", text)


class Worker:
    """What runs inside a worker process: one interpreter, driven by commands.

    Args:
        beat: tells the coordinator that a long call is still at work.
    """

    def __init__(self, beat: Callable[[], None]) -> None:
        self.beat = beat
        self.is_confined = False
        self.interpreter: Any = None
        self.names: Tuple[Dict[str, Any], Dict[str, Any]] = ({}, {})
        self.shapes: Dict[str, Tuple[int, ...]] = {}

    def check(self, runtime: Optional[str], sandbox: Optional[str]) -> List[str]:
        """Import a runtime, or fail as it does; what the sandbox lacks on this machine."""
        import_runtime(runtime)
        self.is_confined = True
        return enter_sandbox(sandbox)

    def pin(self, cores: List[int]) -> None:
        """Stay on these cores, with all threads that the runtime starts later."""
        pin(cores)

    def load(
        self,
        model: str,
        runtime: Optional[str],
        threads: int,
        sandbox: Optional[str],
        kernels: str = "xnnpack",
    ) -> Dict[str, Any]:
        """Load and allocate; the time it took, without importing the runtime."""
        if not self.is_confined:
            self.check(runtime, sandbox)
        self.interpreter, info, spent = load_interpreter(model, runtime, threads, kernels)
        self.names, self.shapes = (self._named("inputs"), self._named("outputs")), {}
        return {"init_ms": spent, "runtime": info}

    def _named(self, side: str) -> Dict[str, Any]:
        """Signature name to tensor detail, the tensor's own name where there is no signature."""
        if side == "inputs":
            details = self.interpreter.get_input_details()
        else:
            details = self.interpreter.get_output_details()
        known = {index: name for name, index in self._signature().get(side, {}).items()}
        return {known.get(detail["index"], detail["name"]): detail for detail in details}

    def _signature(self) -> Dict[str, Dict[str, int]]:
        """The first signature of the main subgraph; others count other subgraphs' tensors."""
        inner = getattr(self.interpreter, "_interpreter", None)
        subgraph = getattr(inner, "GetSubgraphIndexFromSignature", None)
        listed: Dict[str, Any] = getattr(self.interpreter, "_get_full_signature_list", dict)()
        for key, signature in listed.items():
            if subgraph is None or subgraph(key) == 0:
                return dict(signature)
        return {}

    # -- bench

    def feed(self, arrays: Dict[str, str], seed: int) -> None:
        """Set the inputs once: given .npy files by name, random values for the others."""
        import numpy

        random = numpy.random.default_rng(seed)
        values = {}
        for name, detail in self.names[0].items():
            if name in arrays:
                values[name] = numpy.load(arrays[name], allow_pickle=False)
            else:
                values[name] = draw(random, detail)
        self._set(values)

    def _set(self, values: Dict[str, Any]) -> None:
        """Copy all inputs in, resizing those of dynamic shape."""
        shapes = {name: value.shape for name, value in values.items()}
        if shapes != self.shapes:
            for name, detail in self.names[0].items():
                if tuple(detail["shape"]) != shapes[name]:
                    self.interpreter.resize_tensor_input(detail["index"], shapes[name])
                    detail["shape"] = shapes[name]
            self.interpreter.allocate_tensors()
            self.shapes = shapes
        for name, detail in self.names[0].items():
            self.interpreter.set_tensor(detail["index"], values[name])

    def burst(self, count: int, time_s: Optional[float] = None) -> List[int]:
        """Times of `count` inferences in a row, in ns; ends early after `time_s`."""
        inner = getattr(self.interpreter, "_interpreter", None)
        # The bare call: the public one first looks for live views, which costs microseconds.
        invoke = inner.Invoke if inner is not None else self.interpreter.invoke
        clock = time.perf_counter_ns
        times = []
        end = None if time_s is None else clock() + int(time_s * 1e9)
        gc.disable()
        try:
            for _ in range(count):
                began = clock()
                invoke()
                done = clock()
                times.append(done - began)
                if end is not None and done >= end:
                    break
        finally:
            gc.enable()
        return times

    def memory(self) -> int:
        """Largest resident size of this process so far, in bytes."""
        with contextlib.suppress(OSError):
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def arena(self) -> Optional[int]:
        """Bytes from the first activation to the end of the planner's arena.

        Constants lie in the model, not in the arena. Scratch tensors of the kernels come after the
        model's own; those that stay from run to run are elsewhere, and count only in the arena.
        None when activations are scattered, as those of dynamic shape are.
        """
        own = {detail["index"] for detail in self.interpreter.get_input_details()}
        named = set(own)
        for operator in self.interpreter._get_ops_details():
            own.update(int(index) for index in operator["outputs"])
            named.update(int(index) for index in operator["inputs"])
        last = max(own | named)
        listed = {detail["index"] for detail in self.interpreter.get_tensor_details()}
        spans = sorted(filter(None, map(self._span, own)))
        begin, end = spans[0][0], max(span[1] for span in spans)
        if end - begin > 4 * sum(span[1] - span[0] + ALIGNMENT for span in spans):
            return None
        scratch = filter(None, map(self._span, (index for index in listed if index > last)))
        for start, stop_at in sorted(scratch):
            if begin <= start <= end + ALIGNMENT:
                end = max(end, stop_at)
        return end - begin

    def _span(self, index: int) -> Optional[Tuple[int, int]]:
        """First and last address of a tensor, None for one that nothing reads."""
        try:
            view = self.interpreter.tensor(index)()
        except ValueError:
            return None
        start = int(view.__array_interface__["data"][0])
        return start, start + int(view.nbytes)

    # -- infer

    def infer(self, inputs: Dict[str, str], outputs: Dict[str, str]) -> None:
        """Run one chunk: .npy files by input name to .npy files by output name."""
        import numpy

        arrays = self._open(inputs)
        count = len(next(iter(arrays.values())))
        batch = max(self._batch(detail) for detail in self.names[0].values())
        kept: Dict[str, List[Any]] = {name: [] for name in outputs}
        told = time.monotonic()
        for start in range(0, count, batch):
            size = min(batch, count - start)
            self._set({name: pad(array[start : start + size], batch)
                       for name, array in arrays.items()})  # fmt: skip
            self.interpreter.reset_all_variables()
            self.interpreter.invoke()
            for name in outputs:
                value = self.interpreter.get_tensor(self.names[1][name]["index"])
                kept[name].append(unbatch(name, value, batch)[:size])
            if time.monotonic() - told > BEAT_S:
                told = time.monotonic()
                self.beat()
        for name, path in outputs.items():
            save_atomically(path, numpy.concatenate(kept[name]))

    def _open(self, files: Dict[str, str]) -> Dict[str, Any]:
        """A chunk's inputs, mapped rather than read.

        Raises:
            JobError: an input is missing, or they have different numbers of samples.
        """
        import numpy

        missing = sorted(set(self.names[0]) - set(files))
        if missing:
            raise JobError("bad_input", f"no values for input {', '.join(missing)}")
        arrays = {
            name: numpy.load(files[name], mmap_mode="r", allow_pickle=False)
            for name in self.names[0]
        }
        counts = {name: len(array) for name, array in arrays.items()}
        if len(set(counts.values())) != 1:
            listed = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise JobError("bad_input", f"inputs with different numbers of samples: {listed}")
        return arrays

    def _batch(self, detail: Dict[str, Any]) -> int:
        """Samples per inference that this input is made for; 1 where it is free."""
        shape = detail.get("shape_signature", detail["shape"])
        return int(shape[0]) if len(shape) and shape[0] > 0 else 1


def unbatch(name: str, value: Any, batch: int) -> Any:
    """An output with one entry per sample, for a model whose output may have no batch dimension.

    Raises:
        JobError: several samples went in, and the output does not tell which is whose.
    """
    if value.ndim and value.shape[0] == batch:
        return value
    if batch == 1:
        return value[None]
    message = f"output {name} of shape {value.shape} does not have {batch} entries, one per sample"
    raise JobError("bad_output", message)


def pad(group: Any, batch: int) -> Any:
    """A short last group filled up with its last sample."""
    import numpy

    if len(group) >= batch:
        return numpy.ascontiguousarray(group)
    return numpy.concatenate([group, numpy.repeat(group[-1:], batch - len(group), axis=0)])


def draw(random: Any, detail: Dict[str, Any]) -> Any:
    """Random values that fit an input; integers that may be indices are zero."""
    import numpy

    shape = [max(int(size), 1) for size in detail["shape"]]
    dtype = numpy.dtype(detail["dtype"])
    if dtype.kind == "f":
        return random.random(shape).astype(dtype)
    if dtype.itemsize == 1 and dtype.kind in "iu":
        limits = numpy.iinfo(dtype)
        return random.integers(limits.min, limits.max + 1, shape).astype(dtype)
    return numpy.zeros(shape, dtype)


def save_atomically(path: str, array: Any) -> None:
    """An output is there whole or not at all, so that a resumed run can trust it."""
    import numpy

    temporary = Path(path + ".tmp")
    with temporary.open("wb") as stream:
        numpy.save(stream, array)
    temporary.replace(path)


def enter_sandbox(source: Optional[str]) -> List[str]:
    """Confine this process to the job's folder; what the sandbox lacks on this machine.

    Args:
        source: of edgeq's `sandbox.py`; None where edgeq is older than that.
    """
    if source is None:
        return ["the job brought none"]
    module: Dict[str, Any] = {"__name__": "sandbox"}
    try:
        exec(compile(source, "sandbox.py", "exec", dont_inherit=True), module)
    except ImportError as error:  # a small Python, without ctypes
        return [f"the Python there lacks what the sandbox needs ({error})"]
    return list(module["confine"]([os.getcwd()]))  # noqa: PTH109


def run_script(parent: int) -> None:
    """Another self-contained file as the main program, confined: {"source", "arguments",
    "sandbox"} as JSON from stdin. Not `python FILE`: a folder that a model could write to is
    never on the path.
    """
    die_with(parent)
    given = json.loads(sys.stdin.read())
    enter_sandbox(given["sandbox"])
    sys.argv = ["script", *given["arguments"]]
    exec(compile(given["source"], "script", "exec", dont_inherit=True), {"__name__": "__main__"})


def serve(channel: Any) -> None:
    """Answer commands from stdin on `channel` until stdin ends."""

    def tell(message: Dict[str, Any]) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    worker = Worker(lambda: tell({"alive": True}))
    for line in sys.stdin:
        command = json.loads(line)
        try:
            reply = {"ok": getattr(worker, command["call"])(**command["arguments"])}
        except JobError as error:
            reply = {"error": error.plain()}
        except MemoryError:
            full = JobError("out_of_memory", "the machine has too little memory")
            reply = {"error": full.plain()}
        except Exception as error:  # noqa: BLE001 -- the coordinator reports it; nothing is lost
            text = f"{type(error).__name__}: {error}"
            reply = {"error": JobError("failed", text.splitlines()[0], text).plain()}
        tell(reply)


def die_with(parent: int) -> None:
    """Have Linux end this process with its parent, even in the middle of an inference.

    Elsewhere, the end of stdin does it after the inference.
    """
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        sys.exit(1)  # it ended before that


# ---------------------------------------------------------------- the coordinator

DOING = {
    "check": "importing the runtime",
    "pin": "choosing its cores",
    "load": "loading the model",
    "feed": "setting the inputs",
    "burst": "running the model",
    "infer": "running the model",
}


class Child:
    """A worker process seen from the coordinator.

    Args:
        deadline: of the job, on the monotonic clock.
        patience_s: without a sign of life.
    """

    alive: ClassVar[List[Child]] = []
    sandbox: ClassVar[Optional[str]] = None  # the source, of the job

    def __init__(self, deadline: Optional[float], patience_s: float = PATIENCE_S):
        self.deadline, self.patience_s = deadline, patience_s
        self.doing, self.heard = "starting", time.monotonic()
        # In the job's folder: looking for a temporary one, a killed agent could leave a probe.
        self.log = tempfile.TemporaryFile(dir=".")  # noqa: SIM115 -- lives as long as the worker
        replies, theirs = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, str(AGENT), "worker", str(theirs), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=self.log,
            pass_fds=(theirs,),
            # A library's threads are older than the sandbox, and would not be confined.
            env=dict(os.environ, **SINGLE_THREADED),
        )
        os.close(theirs)
        self.replies = os.fdopen(replies, "rb", buffering=0)
        self.buffer = b""
        Child.alive.append(self)

    def send(self, call: str, **arguments: Any) -> None:
        """Start a call; `receive` gets its result."""
        if call in ("check", "load"):
            arguments["sandbox"] = Child.sandbox
        line = json.dumps({"call": call, "arguments": arguments}) + "\n"
        self.doing, self.heard = DOING.get(call, "measuring memory"), time.monotonic()
        assert self.process.stdin is not None
        # Of a dead worker, receive finds the body and says how it died.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(line.encode())
            self.process.stdin.flush()

    def receive(self) -> Any:
        """The result of the call that was sent.

        Raises:
            JobError: the call failed, the worker died or hangs, or the deadline passed.
        """
        while True:
            reply = self.poll(1.0)
            if reply is not None:
                return reply["ok"]

    def poll(self, patience_s: float) -> Optional[Dict[str, Any]]:
        """{"ok": result} if it comes within `patience_s`, else None; raises as `receive` does."""
        now = time.monotonic()
        left = min(patience_s, math.inf if self.deadline is None else self.deadline - now)
        ready, _, _ = select.select([self.replies], [], [], max(0.0, left))
        if ready:
            chunk = os.read(self.replies.fileno(), 65536)
            if not chunk:
                raise self.post_mortem()
            self.buffer += chunk
            self.heard = time.monotonic()
        while b"\n" in self.buffer:
            line, _, self.buffer = self.buffer.partition(b"\n")
            reply: Dict[str, Any] = json.loads(line)
            if "error" in reply:
                error = reply["error"]
                raise JobError(error["code"], error["message"], error["details"] or self.tail())
            if "ok" in reply:
                return reply
        self.check_time()
        return None

    def check_time(self) -> None:
        """Raise JobError, with the worker killed, when its time is over."""
        now, tail = time.monotonic(), self.tail()
        if self.deadline is not None and now >= self.deadline:
            self.kill()
            raise JobError("timeout", "the model did not finish before the deadline", tail)
        if now - self.heard >= self.patience_s:
            self.kill()
            message = f"it hung: no sign of life for {self.patience_s:g} s while {self.doing}"
            raise JobError("hung", message, tail)

    def has_answered(self) -> bool:
        """Whether a reply, or the worker's end, waits to be received."""
        return bool(select.select([self.replies], [], [], 0.0)[0])

    def call(self, name: str, **arguments: Any) -> Any:
        """Send and receive."""
        self.send(name, **arguments)
        return self.receive()

    def post_mortem(self) -> JobError:
        """How a worker died, from its status."""
        try:
            status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        if status >= 0:
            how = f"the worker ended with status {status} while {self.doing}"
            return JobError("crashed", how, self.tail())
        how = f"the worker was killed by {signal_name(-status)} while {self.doing}"
        extra = ", probably out of memory" if -status == signal.SIGKILL else ""
        return JobError("crashed", how + extra, self.tail())

    def tail(self) -> str:
        """The last lines that native code printed."""
        if self.log.closed:
            return ""
        # pread: the worker writes through the same file offset.
        begin = max(0, os.fstat(self.log.fileno()).st_size - 4096)
        return os.pread(self.log.fileno(), 4096, begin).decode("utf-8", "replace").strip()

    def kill(self) -> None:
        """End the worker, whatever it does."""
        self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        self.replies.close()
        self.log.close()
        if self in Child.alive:
            Child.alive.remove(self)


def signal_name(number: int) -> str:
    """Such as SIGSEGV; real-time signals have no names."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def emit(event: str, **fields: Any) -> None:
    """One event line."""
    print(json.dumps(dict(fields, event=event)), flush=True)


def run_job(folder: str) -> None:
    """Do a job and write its result.

    The result is there even when every model failed: {"facts", "models": [{...} or {"error"}]}.
    """
    os.chdir(folder)
    job = json.loads(Path("job.json").read_text("utf-8"))
    if job["protocol"] != PROTOCOL:
        raise SystemExit(f"this agent speaks protocol {PROTOCOL}, the job {job['protocol']}")
    Child.sandbox = job.get("sandbox")
    limit = job.get("deadline_s")
    deadline = None if limit is None else time.monotonic() + limit
    tasks = {"bench": run_bench, "infer": run_infer, "check": run_check, "profile": run_profile}
    task = tasks[job["task"]]
    result = {"protocol": PROTOCOL, "facts": machine_facts()}
    result.update(task(job, deadline))
    Path("result.json.tmp").write_text(json.dumps(result), "utf-8")
    Path("result.json.tmp").replace("result.json")
    emit("end", result="result.json")


def run_check(job: Dict[str, Any], deadline: Optional[float]) -> Dict[str, Any]:
    """Import a runtime in a process of its own, where it may crash."""
    child = Child(deadline)
    try:
        gaps = child.call("check", runtime=job["runtime"])
    except JobError as error:
        return {"error": error.plain(), "sandbox": None}
    finally:
        child.kill()
    return {"error": None, "sandbox": gaps}


# ---------------------------------------------------------------- the coordinator: bench


def run_bench(job: Dict[str, Any], deadline: Optional[float]) -> Dict[str, Any]:
    """Measure models in turns, in several rounds; one that fails does not stop the others.

    Where a process lies in memory decides over some per cent of its latency, all its life long. So
    each round measures every model in a fresh process, and what counts are the rounds.
    """
    pause_s = max(SAMPLE_S, (job.get("sustained_s") or 0) / MAX_LOOKS)
    watch = Watch(job.get("cores") or own_cores(), pause_s)
    runs = [Bench(index, entry, job, deadline, watch) for index, entry in enumerate(job["models"])]
    # Before the workers start: a worker's processor time is counted when it has ended, all of it.
    watch.look()
    number, rounds = 0, int(job.get("rounds", 1))
    while number < rounds and any(run.error is None for run in runs):
        costs = run_round(runs, number, rounds - number, watch)
        number += 1
        if number == 1 and job.get("spare_s") is not None:
            rounds = min(rounds, affordable_rounds(job, len(runs), *costs))
    watch.look()  # while the clock is still what it was
    for run in runs:
        run.guarded(run.finish)
    watch.look()
    return {"models": [run.plain() for run in runs], "health": watch.looks}


def run_round(
    runs: Sequence[Bench], number: int, left: int, watch: Watch
) -> Tuple[float, float, float]:
    """Measure each model in a fresh process, in bursts that take turns.

    Args:
        left: rounds, with this one.

    Returns:
        Seconds of loading all models, of warming them up, and of all inferences in a second.
    """
    order = [*runs[number % len(runs) :], *runs[: number % len(runs)]]
    began = time.monotonic()
    for run in order:
        run.guarded(run.prepare)
    loaded = time.monotonic()
    for run in order:
        run.guarded(run.warm_up)
    warm = time.monotonic()
    if number == 0:
        watch.look()
    for run in runs:
        run.begin(left)
    while any(run.wants_more() for run in runs):
        for run in order:
            # A model that is done goes on as long as another is not: bursts stay paired.
            run.guarded(run.measure)
        order = [*order[1:], order[0]]
        if watch.is_due():
            seen = next((run for run in order if run.error is None), order[0])
            seen.guarded(seen.observe)
            emit("progress", step="measure", done=min(run.count for run in runs))
    for run in runs:
        run.guarded(run.end)
    return loaded - began, warm - loaded, sum(run.typical_s for run in runs)


def affordable_rounds(
    job: Dict[str, Any], models: int, load_s: float, warm_s: float, typical_s: float
) -> int:
    """Rounds that take at most twice as long as one round with all of the measuring in it.

    Args:
        load_s, warm_s: of the first round; later ones warm up for one window only.
        typical_s: of an inference of each model.
    """
    if job.get("runs") is not None:
        measure_s = job["runs"] * typical_s
    else:
        measure_s = max(models * float(job["min_time_s"]), MIN_RUNS * typical_s)
        measure_s = min(measure_s, models * float(job["max_time_s"]))
    once = 2 * load_s + warm_s + measure_s  # the arena is looked up in another process
    # Each round has one inference of each model at least.
    later = load_s + min(warm_s, max(models * WINDOW_S, typical_s))
    later += max(0.0, typical_s - measure_s / job["rounds"])
    return max(FEWEST_ROUNDS, 1 + int((once + job["spare_s"]) / later))


class Watch:
    """Looks at the machine during a job.

    Args:
        cores: whose clock counts.
        pause_s: between two looks, at least.
    """

    def __init__(self, cores: Sequence[int], pause_s: float):
        self.cores, self.pause_s = cores, pause_s
        self.meter = Meter()
        self.looks: List[Dict[str, Any]] = []
        self.next_s = 0.0

    def look(self) -> None:
        """One more; the next is due later the longer this one took."""
        began = time.monotonic()
        self.looks.append(health(self.cores))
        self.next_s = time.monotonic() + max(self.pause_s, 5 * (time.monotonic() - began))

    def is_due(self) -> bool:
        """Whether it is time for another look."""
        return time.monotonic() >= self.next_s


class Window:
    """Times of one stretch of a sustained run: all are counted, a uniform sample of them is kept.

    Algorithm R (Vitter, "Random sampling with a reservoir", 1985), with a fixed seed.
    """

    def __init__(self, size: int) -> None:
        self.size, self.count = size, 0
        self.kept: List[int] = []
        self.random = random.Random(0)

    def add(self, times: Sequence[int]) -> None:
        """Take in a burst."""
        for value in times:
            self.count += 1
            if len(self.kept) < self.size:
                self.kept.append(value)
                continue
            place = int(self.random.random() * self.count)
            if place < self.size:
                self.kept[place] = value


class Bench:
    """One model's measurement, step by step."""

    def __init__(
        self,
        index: int,
        entry: Dict[str, Any],
        job: Dict[str, Any],
        deadline: Optional[float],
        watch: Watch,
    ):
        self.index, self.entry, self.job, self.deadline = index, entry, job, deadline
        self.watch = watch
        self.child: Any = None
        self.error: Optional[Dict[str, Any]] = None
        self.facts: Dict[str, Any] = {}
        self.warmup: List[int] = []
        self.starts: List[Dict[str, float]] = []  # of each round, as is the next
        self.rounds: List[List[int]] = []
        self.times: List[int] = []
        self.count = 0
        self.size = 1
        self.typical_s = 0.0
        self.limits = {"runs": 0.0, "min_s": 0.0, "max_s": 0.0, "enough": 0.0, "most": 0.0}
        self.sustained_s: Optional[float] = job.get("sustained_s")
        self.began = 0.0  # of a sustained run
        self.windows = make_windows(job)
        self.energy = {"joules": 0.0, "seconds": 0.0, "inferences": 0}
        self.watts: List[float] = []

    def guarded(self, step: Callable[[], None]) -> None:
        """Run a step; an error ends this model's part."""
        if self.error is not None:
            return
        try:
            step()
        except JobError as error:
            self.error = error.plain()
        if self.error is not None and self.child is not None:
            self.child.kill()

    def prepare(self) -> None:
        """Load, set the inputs, and run once."""
        if not self.starts:
            emit("progress", step="load", done=self.index)
        self.child = self.start_worker()
        if self.job.get("cores"):
            self.child.call("pin", cores=self.job["cores"])
        options = {"runtime": self.job.get("runtime"), "threads": self.job["threads"]}
        found = self.child.call("load", model=self.entry["path"], **options)
        self.child.call("feed", arrays=self.entry.get("inputs", {}), seed=0)
        first_ms = self.child.call("burst", count=1)[0] / 1e6
        self.starts.append({"init_ms": found["init_ms"], "first_ms": first_ms})
        self.facts["runtime"] = found["runtime"]

    def start_worker(self) -> Child:
        """A process of its own."""
        return Child(self.deadline, self.job.get("patience_s", PATIENCE_S))

    def warm_up(self) -> None:
        """Run until two windows in a row have the same median within 5 %, or time is up.

        In later rounds, the first window is held against those of the round before.
        """
        if not self.warmup:
            emit("progress", step="warm up", done=self.index)
        began = time.monotonic()
        last, spent = self.typical_s * 1e9, []
        while True:
            times = self.child.call("burst", count=1000, time_s=WINDOW_S)
            spent += times
            median = median_interval(times)[1]
            is_steady = last > 0 and abs(median - last) <= STEADY * last
            if is_steady or (len(spent) >= 3 and time.monotonic() - began > WARMUP_S):
                break
            last = median
        self.typical_s = median / 1e9
        self.size = min(max(1, round(BURST_S * 1e9 / max(median, 1))), MAX_BURST)
        if not self.warmup:
            self.warmup = spent
        self.began = time.monotonic()

    def begin(self, left: int) -> None:
        """Divide what is to be measured among the rounds that are left."""
        job, spent, done = self.job, sum(self.times) / 1e9, len(self.times)
        self.rounds.append([])
        self.limits = {
            "runs": math.ceil((int(job.get("runs") or 0) - done) / left),
            "min_s": (float(job.get("min_time_s") or 0) - spent) / left,
            "max_s": (float(job.get("max_time_s") or 0) - spent) / left,
            "enough": (MAX_RUNS - done) / left,
            "most": (MOST_RUNS - done) / left,
        }

    def wants_more(self) -> bool:
        """Whether this model needs another burst in this round."""
        if self.error is not None:
            return False
        if self.sustained_s is not None:
            return time.monotonic() - self.began < self.sustained_s
        own, limits = self.rounds[-1], self.limits
        if self.job.get("runs") is not None:
            return len(own) < limits["runs"]
        return not own or self.is_open(sum(own) / 1e9, len(own))

    def is_open(self, spent: float, count: int) -> bool:
        """Whether a round that has so much needs more."""
        if spent >= self.limits["max_s"] or count >= self.limits["most"]:
            return False
        if spent < self.limits["min_s"]:
            return True
        return count < self.limits["enough"] and not is_tight(self.times)

    def measure(self) -> None:
        """One round's burst."""
        size = self.size
        if self.job.get("runs") is not None:
            size = min(size, int(self.limits["runs"]) - len(self.rounds[-1]))
        if size <= 0:
            return
        before, began = self.watch.meter.counters(), time.monotonic()
        times = self.child.call("burst", count=size)
        spent, after = time.monotonic() - began, self.watch.meter.counters()
        if before is not None and after is not None:
            self.energy["joules"] += self.watch.meter.joules(before, after)
            self.energy["seconds"] += spent
            self.energy["inferences"] += len(times)
        self.count += len(times)
        if self.sustained_s is None:
            self.rounds[-1] += times
            self.times += times
        else:
            place = int((began - self.began) / self.job["window_s"])
            self.windows[min(place, len(self.windows) - 1)].add(times)

    def observe(self) -> None:
        """Look at the machine while the model runs; looking slows it: these runs do not count."""
        self.child.send("burst", count=MOST_RUNS, time_s=LOOK_S)
        watts = self.watch.meter.watts() if self.watch.meter.kind == "PMIC" else None
        if watts is not None and not self.child.has_answered():
            self.watts.append(watts)
        self.watch.look()
        self.child.receive()

    def end(self) -> None:
        """A round's process ends; the memory is that of the largest."""
        peak = self.child.call("memory")
        self.facts["peak_rss_bytes"] = max(peak, self.facts.get("peak_rss_bytes", 0))
        self.child.kill()

    def finish(self) -> None:
        """The arena, from a process of its own."""
        probe = self.start_worker()
        try:
            probe.call("load", model=self.entry["path"], runtime=self.job.get("runtime"),
                       threads=1, kernels="builtin")  # fmt: skip
            probe.call("feed", arrays=self.entry.get("inputs", {}), seed=0)
            self.facts["arena_bytes"] = probe.call("arena")
        except JobError:
            self.facts["arena_bytes"] = None  # this runtime does not let us look
        finally:
            probe.kill()

    def plain(self) -> Dict[str, Any]:
        """As JSON: facts and raw times in ns, or the error."""
        if self.error is not None:
            return {"error": self.error}
        energy: Optional[Dict[str, Any]] = None
        if self.watts:
            energy = {"meter": "PMIC", "watts": self.watts}
        elif self.energy["seconds"] >= METERED_S:
            energy = dict(self.energy, meter="RAPL")
        found = dict(self.facts, starts=self.starts, energy=energy)
        found.update(warmup_ns=self.warmup, rounds_ns=self.rounds)
        if self.sustained_s is not None:
            found["rounds_ns"] = [window.kept for window in self.windows]
            found["counts"] = [window.count for window in self.windows]
            found["began_s"] = self.began
        return found


def make_windows(job: Dict[str, Any]) -> List[Window]:
    """The stretches of a sustained run, none of another."""
    if job.get("sustained_s") is None:
        return []
    count = max(1, round(job["sustained_s"] / job["window_s"]))
    return [Window(max(MIN_RUNS, MAX_RUNS // count)) for _ in range(count)]


# ---------------------------------------------------------------- the coordinator: infer


def run_infer(job: Dict[str, Any], deadline: Optional[float]) -> Dict[str, Any]:
    """Run chunks of samples on several workers at once; finished chunks are not run again.

    The models of a job run side by side, so that comparing two takes no longer than the slower.
    """
    inference = Inference(job, deadline)
    try:
        inference.run()
    except JobError as error:
        return {"error": error.plain(), "model": inference.failing}
    return {"runtime": inference.runtime}


class Inference:
    """Workers that take chunk after chunk until none is left."""

    def __init__(self, job: Dict[str, Any], deadline: Optional[float]):
        self.job, self.deadline = job, deadline
        left = [chunk for chunk in job["chunks"] if not is_finished(chunk)]
        self.todo: List[List[Any]] = [[] for _ in job["models"]]
        for chunk in left:
            self.todo[chunk["model"]].append(chunk)
        self.done = len(job["chunks"]) - len(left)
        self.workers: Dict[Child, int] = {}  # and the model that each has loaded
        self.runtime: Optional[Dict[str, str]] = None
        self.failing = 0

    def run(self) -> None:
        """Do all chunks.

        Raises:
            JobError: of the first worker that fails; `main` ends the others.
        """
        busy = [number for number, chunks in enumerate(self.todo) if chunks]
        wanted = min(max(self.job["workers"], len(busy)), sum(map(len, self.todo)))
        for place in range(wanted):
            child = Child(self.deadline, self.job.get("patience_s", PATIENCE_S))
            self.load(child, busy[place % len(busy)])
        while self.workers:
            ready, _, _ = select.select([child.replies for child in self.workers], [], [], 1.0)
            for child in list(self.workers):
                self.failing = self.workers[child]
                child.check_time()
                reply = child.poll(0.0) if child.replies in ready else None
                if reply is not None:
                    self.go_on(child, reply["ok"])

    def load(self, child: Child, number: int) -> None:
        """Let a worker turn to a model."""
        self.workers[child] = number
        options = {
            "runtime": self.job.get("runtime"),
            "threads": self.job["threads"],
            "kernels": self.job.get("kernels", "xnnpack"),
        }
        child.send("load", model=self.job["models"][number], **options)

    def go_on(self, child: Child, result: Optional[Dict[str, Any]]) -> None:
        """After a load or a chunk: the next chunk, another model's, or the end of this worker."""
        if result is not None:
            self.runtime = result["runtime"]
        else:
            self.done += 1
            emit("progress", step="run", done=self.done, total=len(self.job["chunks"]))
        own = self.todo[self.workers[child]]
        fullest = max(range(len(self.todo)), key=lambda number: len(self.todo[number]))
        if own:
            chunk = own.pop(0)
            child.send("infer", inputs=chunk["inputs"], outputs=chunk["outputs"])
        elif len(self.todo[fullest]) > 1:  # a single chunk is sooner done than a model loaded
            self.load(child, fullest)
        else:
            del self.workers[child]
            child.kill()


def run_profile(job: Dict[str, Any], deadline: Optional[float]) -> Dict[str, Any]:
    """Time each operator of the models in turns, with the source of `profiler.py` from the job."""
    found: List[Dict[str, Any]] = [{"turns": []} for _ in job["models"]]
    turns = min(PROFILE_TURNS, job["runs"])
    for number in range(turns):
        size = job["runs"] // turns + (number < job["runs"] % turns)
        for index, model in enumerate(job["models"]):
            done = number * len(found) + index
            emit("progress", step="profile", done=done, total=turns * len(found))
            if "error" not in found[index]:
                try:
                    turn = profile_once(job["profiler"], model, job["threads"], size, deadline)
                    found[index]["runtime"] = turn.pop("runtime")
                    found[index]["turns"].append(turn)
                except JobError as error:
                    found[index] = {"error": error.plain()}
    return {"models": found}


def profile_once(
    profiler: str, model: str, threads: int, runs: int, deadline: Optional[float]
) -> Dict[str, Any]:
    """One process of the profiler, whose source is given.

    Raises:
        JobError: it reports an error, crashes, or does not end before the deadline.
    """
    result = Path("profile.json")
    with contextlib.suppress(FileNotFoundError):
        result.unlink()
    arguments = [model, str(result), str(threads), str(runs)]
    given = {"source": profiler, "arguments": arguments, "sandbox": Child.sandbox}
    left = None if deadline is None else max(0.0, deadline - time.monotonic())
    with tempfile.TemporaryFile(dir=".") as log:
        try:
            done = subprocess.run(
                [sys.executable, str(AGENT), "script", str(os.getpid())],
                input=json.dumps(given).encode(),
                stdout=log,
                stderr=log,
                timeout=left,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            message = "the profiler did not finish before the deadline"
            raise JobError("timeout", message) from error
        log.seek(max(0, log.tell() - 4096))
        tail = log.read().decode("utf-8", "replace").strip()
    if done.returncode < 0:
        raise JobError(
            "crashed", f"the profiler was killed by {signal_name(-done.returncode)}", tail
        )
    if done.returncode > 0 or not result.exists():
        raise JobError("crashed", f"the profiler ended with status {done.returncode}", tail)
    found: Dict[str, Any] = json.loads(result.read_text("utf-8"))
    if "error" in found:
        told = found["error"]
        raise JobError(told["code"], told["message"], told["details"] or tail)
    return found


def is_finished(chunk: Dict[str, Any]) -> bool:
    """Whether an earlier run of this job left all outputs of a chunk."""
    return all(Path(path).exists() for path in chunk["outputs"].values())


def stop(number: int, frame: Any) -> None:
    """Ended by a signal: take the workers along."""
    sys.exit(128 + number)


def main() -> None:
    """Entry point."""
    # The agent's neighbours, wherever it lies, are not modules to import.
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != AGENT.parent]
    if sys.argv[1:2] == ["worker"]:
        die_with(int(sys.argv[3]))
        with os.fdopen(int(sys.argv[2]), "w", encoding="utf-8") as channel:
            serve(channel)
        return
    if sys.argv[1:2] == ["script"]:
        run_script(int(sys.argv[2]))
        return
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        signal.signal(getattr(signal, name), stop)
    try:
        if sys.argv[1:2] == ["facts"]:
            print(json.dumps(machine_facts()))
        else:
            run_job(sys.argv[2])
    finally:
        for child in list(Child.alive):
            child.kill()


if __name__ == "__main__":
    main()
