"""Machines, and measurements on them: latency, memory, energy, health."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edgeq.values.bounds import SOME, Milliseconds, Validity
from edgeq.values.files import FileRef, Issue
from edgeq.values.showing import Shown, bounded


@bounded
@dataclass(frozen=True)
class RuntimeInfo:
    """A TensorFlow Lite runtime: name "ai-edge-litert", "tflite-runtime" or "tensorflow"."""

    name: str
    version: str


@bounded
@dataclass(frozen=True)
class CoreKind:
    """Cores of one kind.

    Attributes:
        numbers: of the cores, as the kernel counts them.
        capacity: relative to the machine's fastest core at its highest clock, which has 1024.
        max_mhz: highest clock.
    """

    numbers: tuple[int, ...]
    capacity: int | None
    max_mhz: float | None


_DOT_PRODUCT = {"asimddp", "i8mm", "avx512_vnni", "avx_vnni", "amx_int8"}


@bounded
@dataclass(frozen=True)
class DeviceFacts:
    """Facts that the agent found on the machine it ran on; None for unknown ones.

    Attributes:
        device: the name the user gave, e.g. "local".
        system: e.g. "Linux 6.1.0".
        machine: e.g. "x86_64", "aarch64".
        cpu_model: e.g. "Cortex-A72".
        core_count: cores this process may use.
        memory_bytes: physical memory.
        governor: CPU frequency governor of core 0.
        python: version of the interpreter that ran the agent; None for a phone without one, whose
            facts come from its shell.
        runtimes: those importable there.
        release: name and release of the operating system, e.g. "Debian GNU/Linux 12 (bookworm)".
        emulator: the program that emulates the processor, None when none was found.
        cpu_features: those that make inference faster, as the kernel names them.
        core_kinds: the cores this process may use, the slowest kind first.
        available_bytes: memory that a new process can have without swapping.
        scratch_folder: folder for temporary files.
        scratch_bytes: free space there.
        energy_meter: "RAPL" or "PMIC", None without one.
        energy_refusal: why there is no meter.
        python_path: the interpreter that ran the agent.
        numpy: its version.
        temperature_celsius: of the hottest sensor of the processor.
        throttling: reasons why the processor is slowed now; None when this is unknown.
        throttled_before: reasons why it was slowed since it was started.
        benchmark_model: path of TensorFlow's program `benchmark_model` on a phone without Python.
    """

    device: str
    system: str
    machine: str
    cpu_model: str | None
    core_count: int
    memory_bytes: int | None
    governor: str | None
    python: str | None
    runtimes: tuple[RuntimeInfo, ...]
    release: str | None = None
    emulator: str | None = None
    cpu_features: tuple[str, ...] = ()
    core_kinds: tuple[CoreKind, ...] = ()
    available_bytes: int | None = None
    scratch_folder: str | None = None
    scratch_bytes: int | None = None
    energy_meter: str | None = None
    energy_refusal: str | None = None
    python_path: str | None = None
    numpy: str | None = None
    temperature_celsius: float | None = None
    throttling: tuple[str, ...] | None = None
    throttled_before: tuple[str, ...] = ()
    benchmark_model: str | None = None

    @property
    def processor(self) -> str:
        """Its model, or the kind of machine if the model is unknown."""
        return self.cpu_model or self.machine

    @property
    def has_dot_product(self) -> bool | None:
        """Whether the processor has the instructions that make INT8 fast; None if not known."""
        return bool(_DOT_PRODUCT & set(self.cpu_features)) if self.cpu_features else None


@bounded
@dataclass(frozen=True)
class BenchOptions:
    """How to measure latency.

    Attributes:
        threads: interpreter threads.
        runs: fixed number of measured inferences per model, or None to run until the interval
            of the median is tight.
        min_time_s: measure each model at least this long (ignored with `runs`).
        max_time_s: stop after this time per model, however wide the interval is (ignored with
            `runs`).
        runtime: force one of the runtime names, or None for the first importable.
        cores: "big", "little", "all", or numbers such as "0-3" or "0,2", to bind the model's
            threads to; None leaves them to the scheduler.
        sustained_s: run one model for this time, and report how its latency changes; `runs`,
            `min_time_s` and `max_time_s` are ignored then.
        window_s: length of the windows of a sustained run, each with its figures; a third of the
            run at most.
        rounds: fresh processes per model, alternating between the models; None for
            `DEFAULT_ROUNDS`, or as many as take at most twice the time of one. A sustained run
            has one.
        benchmark_model: TensorFlow's program to measure with on an adb device, a file here or an
            absolute path there; None uses the agent, or if the device has no Python, the program
            that is already on it.
    """

    threads: int = 1
    runs: int | None = None
    min_time_s: float = 1.0
    max_time_s: float = 10.0
    runtime: str | None = None
    cores: str | None = None
    sustained_s: float | None = None
    window_s: float = 60.0
    benchmark_model: str | None = None
    rounds: int | None = None


@bounded
@dataclass(frozen=True)
class Latency:
    """Statistics of measured inferences in milliseconds, computed from the raw times, or printed
    by a program that does not give them; None when it does not print a figure.

    Attributes:
        p50_ms, p90_ms: medians of the rounds' percentiles.
        p50_low_ms, p50_high_ms, p90_low_ms, p90_high_ms: 95 % intervals from the rounds; in a
            record of edgeq 0.1, without rounds, from the inferences of one process as if they were
            independent, which gives intervals that are too narrow.
    """

    count: int
    min_ms: float
    p50_ms: float | None
    p50_low_ms: float | None
    p50_high_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    mean_ms: float
    stddev_ms: float
    max_ms: float | None = None
    p5_ms: float | None = None
    p95_ms: float | None = None
    p90_low_ms: float | None = None
    p90_high_ms: float | None = None


@bounded
@dataclass(frozen=True)
class Round:
    """The figures of one process of a measurement.

    Attributes:
        count: inferences.
        p50_ms, p90_ms: of these inferences; None when the program does not print them.
        init_ms, first_ms: as in `BenchRun`.
    """

    count: int
    p50_ms: Milliseconds | None
    p90_ms: Milliseconds | None
    init_ms: float
    first_ms: float


@bounded
@dataclass(frozen=True)
class Energy:
    """Energy that the board's meter counted while a model ran, including idle parts of the board.

    Attributes:
        meter: "RAPL" (the processor packages) or "PMIC" (all metered rails of a Raspberry Pi 5).
        mean_power_w: during the measured inferences.
        per_inference_mj: millijoules.
    """

    meter: str
    mean_power_w: float
    per_inference_mj: float


@bounded
@dataclass(frozen=True)
class MachineLook:
    """The machine at one moment of a measurement; None for facts that it does not report.

    Attributes:
        elapsed_s: since the first look, before the models were loaded.
        clock_mhz: of the fastest core in use.
        temperature_celsius: of the hottest sensor.
        throttling: reasons why the processor is slowed at this moment.
    """

    elapsed_s: float
    clock_mhz: float | None
    temperature_celsius: float | None
    throttling: tuple[str, ...] | None


@bounded
@dataclass(frozen=True)
class SustainedWindow:
    """A window of a sustained run.

    Attributes:
        began_s: since the run began.
        count: inferences.
        p50_ms, p90_ms: None when no inference began in it.
        clock_mhz: median of the looks at the machine in it.
        temperature_celsius: the highest.
        throttling: all reasons why the processor was slowed.
    """

    began_s: float
    count: int
    p50_ms: float | None
    p90_ms: float | None
    clock_mhz: float | None
    temperature_celsius: float | None
    throttling: tuple[str, ...]


@bounded
@dataclass(frozen=True)
class Sustained:
    """Latency of a model that runs without pauses for a long time.

    Attributes:
        duration_s: as requested.
        window_s: length of a window.
        burst: the first window.
        steady: the last third of the windows.
        slowdown: median of the steady state divided by that of the burst (above 1: slower).
        throttled_after_s: time of the first look that found the processor slowed; None without one.
        watched: the sources that report throttling: "flags", "counter", "clock"; empty when the
            machine has none.
    """

    duration_s: float
    window_s: float
    windows: tuple[SustainedWindow, ...]
    burst: Latency
    steady: Latency
    slowdown: float
    throttled_after_s: float | None
    watched: tuple[str, ...]


@bounded
@dataclass(frozen=True)
class BenchRun:
    """One model measured on one device.

    Attributes:
        model: the file.
        runtime: the runtime that executed it.
        threads: interpreter threads.
        init_ms: load and allocate, median of the rounds.
        first_ms: first inference, median of the rounds.
        warmup_ms: raw warm-up inferences of the first round, which no statistic contains.
        latencies_ms: raw measured inferences, one tuple per round; in a sustained run one per
            window, a uniform sample of the window's inferences.
        latency: statistics of `latencies_ms`.
        peak_rss_bytes: peak memory of the processes that ran only this model.
        arena_bytes: activation memory that TFLite's planner needs without delegates.
        load_average: one-minute load just before the run.
        validity: "valid", "degraded" or "invalid".
        issues: reasons for the validity.
        cores: numbers of the cores that its threads were bound to; empty when the scheduler chose.
        energy: None without a meter, or when the run was too short for it.
        sustained: None for a run without `--sustained`.
        rounds: the fresh processes that it was measured in, alternating with the other models;
            empty in records of edgeq 0.1, which measured in one process.
    """

    model: FileRef
    runtime: RuntimeInfo
    threads: int
    init_ms: float
    first_ms: float
    warmup_ms: tuple[float, ...]
    latencies_ms: tuple[tuple[Milliseconds, ...], ...]
    latency: Latency
    peak_rss_bytes: int | None
    arena_bytes: int | None
    load_average: float | None
    validity: Validity
    issues: tuple[Issue, ...]
    cores: tuple[int, ...] = ()
    energy: Energy | None = None
    sustained: Sustained | None = None
    rounds: tuple[Round, ...] = ()


@bounded
@dataclass(frozen=True)
class Ratio:
    """A ratio with its 95 % interval, from rounds that alternate between the models."""

    value: float
    low: float
    high: float


@bounded
@dataclass(frozen=True)
class BenchResult(Shown):
    """Several models, measured alternately on one device.

    Attributes:
        speedups: latency of the first model divided by that of each later one (above 1: faster);
            empty when a run is invalid.
        looks: states of the machine, from before the models were loaded to after the last
            inference.
    """

    facts: DeviceFacts
    options: BenchOptions
    runs: Annotated[tuple[BenchRun, ...], SOME]
    speedups: tuple[Ratio, ...]
    looks: tuple[MachineLook, ...] = ()
