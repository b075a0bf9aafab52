"""Figures in the output of TensorFlow's `benchmark_model`, which prints no single runs.

Times are whole microseconds. Read from its sources and from logs that people published:

- tensorflow/lite/tools/benchmark/benchmark_model.cc, `BenchmarkModel::Run`: one line for the
  warm-up, one for the runs, from `tensorflow/core/util/stats_calculator.h` (now in tsl):
  `count=50 first=106022 curr=105780 min=105416 max=106528 avg=105784 std=260`, in newer releases
  with ` p5=105485 median=105718 p95=106281`; and `count=1 curr=1041` or
  `count=50 curr=1041(all same)` when all runs took the same time. `avg` may be `2.71985e+06`.
- `BenchmarkLoggingListener::OnBenchmarkEnd`: `Inference timings in us: Init: 6395, First inference:
  2761, Warmup (avg): 3243.58, Inference (avg): 2942.27`. Old releases: `Average inference timings
  in us: Warmup: 83235, Init: 38467, Inference: 79760.9`, or `no stats:` in place of `Inference:`.
- LiteRT's program with the same name (litert/tools/benchmark_litert_model.h): the same lines for
  each stretch, then `========== BENCHMARK RESULTS ==========` and `Model initialization: 3.65 ms`.
- With --report_peak_memory_footprint, `Overall peak memory footprint (MB) via periodic monitoring:
  93.2383`, LiteRT's `Peak memory: 427.64 MB`: of 1024 * 1024 bytes each. We do not ask for it: a
  thread that looks every 50 ms takes part in the measurement.

Lines may begin with a severity or with logcat's own columns, so they are searched, not matched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgeq.errors import DeviceError
from edgeq.values import Latency

_NUMBER = r"[-+]?[\d.]+(?:e[-+]?\d+)?"
_STRETCH = re.compile(r"\bcount=\d+ (?:first|curr)=.*")
_FIELD = re.compile(rf"\b(\w+)=({_NUMBER})")
_END = re.compile(r"nference timings in us: |= BENCHMARK RESULTS =")
_INIT_US = re.compile(rf"nference timings in us: .*\bInit: ({_NUMBER})")
_INIT_MS = re.compile(rf"Initialized session in ({_NUMBER}) ?ms")
_AVERAGE_US = re.compile(
    rf"nference timings in us: .*(?:Inference \(avg\)|Inference|no stats): ({_NUMBER})"
)
_PEAK_MB = re.compile(rf"(?:via periodic monitoring|Peak memory): +({_NUMBER})")
_IGNORED = re.compile(r"Unconsumed cmdline flags:(.*)")
_ERROR = re.compile(r"\b(?:ERROR|FATAL|error|F)\b: *(.+)")


@dataclass(frozen=True)
class ToolResult:
    """One run of the program.

    Attributes:
        init_ms: load, apply the delegate, and allocate.
        first_ms: first inference.
        latency: what it prints of the measured runs.
        peak_bytes: None unless it was requested.
    """

    init_ms: float
    first_ms: float
    latency: Latency
    peak_bytes: int | None


def command_line(
    binary: str, model: str, *, threads: int, runs: int | None, times_s: tuple[float, float],
    least_runs: int,
) -> list[str]:  # fmt: skip
    """The program with its arguments.

    Args:
        runs: the exact number; None for at least `least_runs`.
        times_s: without `runs`, at least and at most.
    """
    least_s, most_s = (0.0, 86400.0) if runs is not None else times_s
    return [
        binary,
        f"--graph={model}",
        f"--num_threads={threads}",
        f"--num_runs={least_runs if runs is None else runs}",
        f"--min_secs={least_s:g}",
        f"--max_secs={most_s:g}",
        "--warmup_runs=1",
        "--warmup_min_secs=0.5",
        "--use_xnnpack=true",  # as the agent's runtimes do
    ]


def read_output(text: str, command: Sequence[str]) -> ToolResult:
    """The figures in what it printed.

    Args:
        command: that printed it.

    Raises:
        DeviceError: it ignored an option, or the figures are missing or contradict each other.
    """
    end = _END.search(text)
    figures = "" if end is None else text[: end.start()]
    stretches = [_read_stretch(line) for line in _STRETCH.findall(figures)]
    if end is None or len(stretches) < 2:
        raise DeviceError(
            f"{command[0]} printed no result that edgeq can read.",
            hint="Is it TensorFlow's or LiteRT's benchmark_model? -v shows what it printed.",
            details=text,
        )
    _require_obeyed(text, command, is_litert="BENCHMARK RESULTS" in end[0])
    warmup, runs = stretches[-2:]
    told = _AVERAGE_US.search(text)
    if told is not None and abs(float(told[1]) - runs["avg"]) > 1 + 0.001 * runs["avg"]:
        raise DeviceError(
            f"{command[0]} contradicts itself: an average of {runs['avg']:g} us, and of {told[1]} "
            "us.",
            details=text,
        )
    peak = _PEAK_MB.search(text)
    if (in_us := _INIT_US.search(text)) is not None:
        init_ms = float(in_us[1]) / 1e3
    elif (in_ms := _INIT_MS.search(text)) is not None:
        init_ms = float(in_ms[1])
    else:
        raise DeviceError(f"{command[0]} did not print how long loading took.", details=text)

    def ms(name: str) -> float | None:
        return runs[name] / 1e3 if name in runs else None

    return ToolResult(
        init_ms=init_ms,
        first_ms=warmup["first"] / 1e3,
        latency=Latency(
            count=int(runs["count"]),
            min_ms=runs["min"] / 1e3,
            p50_ms=ms("median"),
            p50_low_ms=None,
            p50_high_ms=None,
            p90_ms=None,
            p99_ms=None,
            mean_ms=runs["avg"] / 1e3,
            stddev_ms=runs["std"] / 1e3,
            max_ms=runs["max"] / 1e3,
            p5_ms=ms("p5"),
            p95_ms=ms("p95"),
        ),
        peak_bytes=None if peak is None else round(float(peak[1]) * 1024 * 1024),
    )


def _read_stretch(line: str) -> dict[str, float]:
    """A line of figures in microseconds; equal times are printed once."""
    found = {name: float(value) for name, value in _FIELD.findall(line)}
    if "min" not in found:
        found.update(dict.fromkeys(("first", "min", "max", "avg"), found["curr"]), std=0.0)
    return found


def _require_obeyed(text: str, command: Sequence[str], *, is_litert: bool) -> None:
    """The program prints the options that it does not know, and continues without them.

    LiteRT's has no --use_xnnpack: its CPU kernels are XNNPACK's.
    """
    found = _IGNORED.search(text)
    ignored = [] if found is None else [word for word in found[1].split() if word in command]
    if is_litert:
        ignored = [word for word in ignored if not word.startswith("--use_xnnpack")]
    if ignored:
        raise DeviceError(
            f"{command[0]} does not know {ignored[0]}, so it measured something else.",
            hint="Use a newer benchmark_model.",
            details=text,
        )


def last_error(text: str) -> str:
    """The line that explains the failure, if there is one."""
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [found[1] for found in map(_ERROR.search, lines) if found is not None]
    return (errors or lines or ["it printed nothing"])[0].strip().rstrip(".")
