"""Was the run sound? Pure functions of raw times and of looks at the machine; see `issues.py`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from edgeq.device_runners.agent import MIN_RUNS, TIGHT
from edgeq.issues import make_issue
from edgeq.values import BenchRun, Issue

_LOOSE = 2 * TIGHT  # half-width of the median's interval that calls a run noisy
_SCATTER = 0.10  # median absolute deviation, relative to the median
_DRIFT = 0.05  # between the first and the last third of the rounds
_OTHERS = 0.2  # cores that other processes may use
_SLOWED = 0.90  # clock at the end, relative to the start

Look = Mapping[str, Any]


def find_issues(run: BenchRun, looks: Sequence[Look]) -> tuple[Issue, ...]:
    """Everything that makes a run's figures less trustworthy, with the numbers.

    Args:
        looks: at clock, temperature and processor time: before the models are loaded, after
            warming up, now and then while measuring, after the last round, and at the end.
    """
    found = (
        _few_runs(run),
        _noisy(run),
        _drift(run),
        _load(looks),
        _throttled(looks),
    )
    return tuple(issue for issue in found if issue is not None)


def _few_runs(run: BenchRun) -> Issue | None:
    count = run.latency.count
    if count >= MIN_RUNS:
        return None
    return make_issue(
        "bench.few_runs",
        f"{run.model.path}: {count} runs, at least {MIN_RUNS} make a sound median; "
        "raise --runs or --max-time.",
    )


def _noisy(run: BenchRun) -> Issue | None:
    latency = run.latency
    width = (latency.p50_high_ms - latency.p50_low_ms) / 2 / latency.p50_ms
    times = [time for times in run.latencies_ms for time in times]
    scatter = statistics.median(abs(time - latency.p50_ms) for time in times) / latency.p50_ms
    if width <= _LOOSE and scatter <= _SCATTER:
        return None
    return make_issue(
        "bench.noisy",
        f"{run.model.path}: the median is known to {100 * width:.1f} % only, and half of the runs "
        f"lie more than {100 * scatter:.1f} % off it.",
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
    if last >= _SLOWED * first:
        return None
    heat = _warmth(looks)
    return make_issue(
        "bench.throttled",
        f"The clock fell from {first:.0f} to {last:.0f} MHz during the measurement{heat}.",
    )


def _warmth(looks: Sequence[Look]) -> str:
    found = [look["temperature_celsius"] for look in looks if look["temperature_celsius"]]
    return f" at {max(found):.0f} degrees Celsius" if found else ""
