"""Whether a run can be trusted: pure functions of its times and of looks at the machine."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
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

    The effect of heat on a sustained run is its result, so it is not an issue.

    Args:
        looks: at clock, temperature and processor time: before the models are loaded, after
            warming up, now and then while measuring, after the last round, and at the end.
        facts: of the device, None if they are not known.
    """
    is_burst = run.sustained is None
    found = [] if facts is None else [emulated_issue(facts.emulator), _threads(run, facts)]
    if _LOW_VOLTAGE in _states(looks):
        found.append(
            make_issue(
                "bench.undervoltage",
                "The supply voltage was too low during the measurement, so the firmware lowered "
                "the clock; use a stronger power supply and a shorter cable.",
            )
        )
    name, tool, count = run.model.path, run.runtime.name, run.latency.count
    if count < MIN_RUNS:
        message = f"{name}: {count} runs; a reliable median needs at least {MIN_RUNS}; "
        found.append(make_issue("bench.few_runs", f"{message}raise --runs or --max-time."))
    if not run.latencies_ms:
        message = f"{name}: {tool} does not report single runs, so the median's interval, noise, "
        found.append(make_issue("bench.no_raw_times", f"{message}drift and speed-up are unknown."))
        mean_us = 1e3 * run.latency.mean_ms
        if mean_us < 1 / _LOOSE:  # benchmark_model cuts times to whole microseconds
            message = f"{name}: {tool} counts in whole microseconds; an inference takes only "
            found.append(make_issue("bench.coarse_clock", f"{message}{mean_us:.2g}."))
    found += [_noisy(run), _drift(run)] if is_burst else []
    found.append(_load(looks))
    found += _throttled(looks) if is_burst else ()
    return tuple(issue for issue in found if issue is not None)


def emulated_issue(emulator: str | None) -> Issue | None:
    """The issue that times measured on an emulated processor are meaningless."""
    if emulator is None:
        return None
    message = f"This device is emulated ({emulator}): its latency is meaningless."
    return make_issue("bench.emulated", message)


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
    """States that slowed the processor, at a look or, as the firmware remembers, between two."""
    seen = [state for look in looks[1:-1] for state in look["throttling"] or ()]
    before = looks[0]["throttled_before"]
    return list(dict.fromkeys(seen + [s for s in looks[-1]["throttled_before"] if s not in before]))


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
        f"{run.model.path}: the median is known only to ±{100 * width:.1f} %; half of the runs "
        f"differ from it by more than {100 * scatter:.1f} %{advice}.",
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
    message = f"{run.model.path}: from the first to the last third of the rounds, the latency "
    return make_issue("bench.drift", f"{message}changed by {100 * change:+.1f} %.")


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
    message = f"Other processes used {others:.1f} cores during the measurement; stop them and "
    return make_issue("bench.load", f"{message}repeat.")


def _throttled(looks: Sequence[Look]) -> Iterator[Issue]:
    """At most one, from the best source: the firmware's states, its counter, or the clock."""
    states = [state for state in _states(looks) if state != _LOW_VOLTAGE]
    inside = looks[1:-1]  # at both ends the machine is idle, and its clock may be low
    counts = [look["throttle_count"] for look in inside if look["throttle_count"] is not None]
    clocks = [look["clock_mhz"] for look in inside if look["clock_mhz"]]
    third = len(clocks) // 3
    if states:
        inside = looks
        what = f"The processor was slowed down during the measurement ({', '.join(states)})"
    elif counts and max(counts) > min(counts):
        what = "The processor slowed itself down during the measurement"
    elif third >= 1:
        first, last = statistics.median(clocks[:third]), statistics.median(clocks[-third:])
        if last >= SLOWED * first:
            return
        what = f"The clock fell from {first:.0f} to {last:.0f} MHz during the measurement"
    else:
        return
    heat = [look["temperature_celsius"] for look in inside if look["temperature_celsius"]]
    warmth = f" at {max(heat):.0f} degrees Celsius" if heat else ""
    yield make_issue("bench.throttled", f"{what}{warmth}.")
