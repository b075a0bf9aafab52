"""Was the run sound? Pure functions of raw times and of looks at the machine; see `issues.py`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from edgeq.device_runners.on_board.agent.statistics import MIN_RUNS, TIGHT
from edgeq.issues import make_issue
from edgeq.values import BenchRun, DeviceFacts, Issue

_LOOSE = 2 * TIGHT  # half-width of the median's interval that calls a run noisy
_SCATTER = 0.10  # median absolute deviation, relative to the median
_DRIFT = 0.05  # between the first and the last third of the rounds
_OTHERS = 0.2  # cores that other processes may use
SLOWED = 0.90  # clock at the end, relative to the start
_LOW_VOLTAGE = "under-voltage"  # as the agent's THROTTLE_BITS call it

Look = Mapping[str, Any]


def find_issues(
    run: BenchRun, looks: Sequence[Look], facts: DeviceFacts | None = None
) -> tuple[Issue, ...]:
    """Everything that makes a run's figures less trustworthy, with the numbers.

    What heat does to a sustained run is its result, not a doubt about it.

    Args:
        looks: at clock, temperature and processor time: before the models are loaded, after
            warming up, now and then while measuring, after the last round, and at the end.
        facts: of the device, None where they are not known.
    """
    is_burst = run.sustained is None
    found = (
        None if facts is None else emulated_issue(facts.emulator),
        None if facts is None else _threads(run, facts),
        _undervoltage(looks),
        _few_runs(run),
        _no_raw_times(run),
        _coarse_clock(run),
        _noisy(run) if is_burst else None,
        _drift(run) if is_burst else None,
        _load(looks),
        _throttled(looks) if is_burst else None,
    )
    return tuple(issue for issue in found if issue is not None)


def emulated_issue(emulator: str | None) -> Issue | None:
    """That no time measured on an emulated processor means anything."""
    if emulator is None:
        return None
    return make_issue(
        "bench.emulated", f"This device is emulated ({emulator}): its latency means nothing."
    )


def _threads(run: BenchRun, facts: DeviceFacts) -> Issue | None:
    """Threads of one inference wait for each other, so one without a core delays all."""
    if run.threads <= facts.core_count:
        return None
    cores = f"{facts.core_count} core{'' if facts.core_count == 1 else 's'}"
    return make_issue(
        "bench.threads",
        f"{run.model.path}: {run.threads} threads on the {cores} of {facts.device} wait for each "
        f"other; pass --threads {facts.core_count} at most.",
    )


def _states(looks: Sequence[Look]) -> list[str]:
    """What slowed the processor: at some look, or between two of them, which the firmware keeps."""
    seen = [state for look in looks[1:-1] for state in look["throttling"] or ()]
    before = looks[0]["throttled_before"]
    return list(dict.fromkeys(seen + [s for s in looks[-1]["throttled_before"] if s not in before]))


def _undervoltage(looks: Sequence[Look]) -> Issue | None:
    if _LOW_VOLTAGE not in _states(looks):
        return None
    return make_issue(
        "bench.undervoltage",
        "The supply voltage was too low during the measurement, so the firmware lowered the "
        "clock; use a stronger power supply and a shorter cable.",
    )


def _few_runs(run: BenchRun) -> Issue | None:
    count = run.latency.count
    if count >= MIN_RUNS:
        return None
    return make_issue(
        "bench.few_runs",
        f"{run.model.path}: {count} runs, at least {MIN_RUNS} make a sound median; "
        "raise --runs or --max-time.",
    )


def _no_raw_times(run: BenchRun) -> Issue | None:
    if run.latencies_ms:
        return None
    return make_issue(
        "bench.no_raw_times",
        f"{run.model.path}: {run.runtime.name} does not tell the single runs, so that neither the "
        "median's interval nor noise, drift and a speed-up are known.",
    )


def _coarse_clock(run: BenchRun) -> Issue | None:
    """benchmark_model counts whole microseconds, cut off."""
    mean_us = 1e3 * run.latency.mean_ms
    if run.latencies_ms or mean_us >= 1 / _LOOSE:
        return None
    return make_issue(
        "bench.coarse_clock",
        f"{run.model.path}: {run.runtime.name} counts in whole microseconds, of an inference of "
        f"{mean_us:.2g}.",
    )


def _noisy(run: BenchRun) -> Issue | None:
    latency = run.latency
    if latency.p50_ms is None or latency.p50_low_ms is None or latency.p50_high_ms is None:
        return None
    width = (latency.p50_high_ms - latency.p50_low_ms) / 2 / latency.p50_ms
    times = [time for times in run.latencies_ms for time in times]
    scatter = statistics.median(abs(time - latency.p50_ms) for time in times) / latency.p50_ms
    if width <= _LOOSE and scatter <= _SCATTER:
        return None
    advice = "; pass more --rounds" if width > _LOOSE and run.latencies_ms else ""
    return make_issue(
        "bench.noisy",
        f"{run.model.path}: the median is known to {100 * width:.1f} % only, and half of the runs "
        f"lie more than {100 * scatter:.1f} % off it{advice}.",
    )


def _drift(run: BenchRun) -> Issue | None:
    third = len(run.latencies_ms) // 3
    if third < 3:
        return None
    first = statistics.median(time for times in run.latencies_ms[:third] for time in times)
    last = statistics.median(time for times in run.latencies_ms[-third:] for time in times)
    change = last / first - 1
    if abs(change) <= _DRIFT:
        return None
    return make_issue(
        "bench.drift",
        f"{run.model.path}: the last third of the rounds is {100 * change:+.1f} % against the "
        "first third.",
    )


def _load(looks: Sequence[Look]) -> Issue | None:
    first, last = looks[0], looks[-1]
    spent = last["time_s"] - first["time_s"]
    if first["busy_s"] is None or spent < 1:
        return None
    # The workers' time is counted as the agent's own when they have ended: they start after the
    # first look and end before the last.
    others = (last["busy_s"] - first["busy_s"] - (last["own_s"] - first["own_s"])) / spent
    if others <= _OTHERS:
        return None
    return make_issue(
        "bench.load",
        f"Other processes used {others:.1f} cores during the measurement; stop them and repeat.",
    )


def _throttled(looks: Sequence[Look]) -> Issue | None:
    states = [state for state in _states(looks) if state != _LOW_VOLTAGE]
    if states:
        return make_issue(
            "bench.throttled",
            f"The processor was slowed down during the measurement ({', '.join(states)})"
            f"{_warmth(looks)}.",
        )
    # At both ends the machine is idle, and its clock may be low for that reason.
    looks = looks[1:-1]
    counts = [look["throttle_count"] for look in looks if look["throttle_count"] is not None]
    if counts and max(counts) > min(counts):
        heat = _warmth(looks)
        return make_issue(
            "bench.throttled",
            f"The processor slowed itself down during the measurement{heat}.",
        )
    clocks = [look["clock_mhz"] for look in looks if look["clock_mhz"]]
    third = len(clocks) // 3
    if third < 1:
        return None
    first, last = statistics.median(clocks[:third]), statistics.median(clocks[-third:])
    if last >= SLOWED * first:
        return None
    heat = _warmth(looks)
    return make_issue(
        "bench.throttled",
        f"The clock fell from {first:.0f} to {last:.0f} MHz during the measurement{heat}.",
    )


def _warmth(looks: Sequence[Look]) -> str:
    found = [look["temperature_celsius"] for look in looks if look["temperature_celsius"]]
    return f" at {max(found):.0f} degrees Celsius" if found else ""
