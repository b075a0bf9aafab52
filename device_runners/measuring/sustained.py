"""A sustained run: windows, burst and steady state, time to throttle. Pure functions."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgeq import timing
from edgeq.device_runners.measuring.health import SLOWED, Look
from edgeq.values import BenchOptions, Latency, Sustained, SustainedWindow

# What shows that a processor is slowed: name in a record, key of a look.
_SOURCES = (("flags", "throttling"), ("counter", "throttle_count"), ("clock", "clock_mhz"))


def window_length(options: BenchOptions) -> float:
    """Seconds of a window; at most a third of the run, so that its last third is not the burst."""
    assert options.sustained_s is not None
    return min(options.window_s, options.sustained_s / 3)


def read_sustained(
    options: BenchOptions, plain: Mapping[str, Any], looks: Sequence[Look]
) -> Sustained:
    """The agent's windows and looks as a value.

    Args:
        plain: `began_s` on the agent's clock; per window `counts` and a sample of the times in
            `rounds_ns`.
    """
    assert options.sustained_s is not None
    length, began = window_length(options), float(plain["began_s"])
    during = [look for look in looks if 0 <= look["time_s"] - began <= options.sustained_s + length]
    windows = []
    for number, (count, times) in enumerate(zip(plain["counts"], plain["rounds_ns"], strict=True)):
        is_last = number == len(plain["counts"]) - 1
        inside = [
            look for look in during
            if number * length <= look["time_s"] - began < (number + 1) * length
            or (is_last and look["time_s"] - began >= number * length)
        ]  # fmt: skip
        windows.append(_read_window(number * length, count, times, inside))
    third = max(1, len(windows) // 3)
    burst, steady = _latency(plain, slice(0, 1)), _latency(plain, slice(-third, None))
    assert burst.p50_ms is not None and steady.p50_ms is not None
    return Sustained(
        duration_s=options.sustained_s,
        window_s=length,
        windows=tuple(windows),
        burst=burst,
        steady=steady,
        slowdown=steady.p50_ms / burst.p50_ms,
        throttled_after_s=_throttled_after(during, began, length),
        watched=tuple(
            name for name, key in _SOURCES if any(look[key] is not None for look in during)
        ),
    )


def _read_window(
    began_s: float, count: int, times: Sequence[int], looks: Sequence[Look]
) -> SustainedWindow:
    ordered = sorted(time / 1e6 for time in times)
    clocks = [look["clock_mhz"] for look in looks if look["clock_mhz"]]
    heat = [look["temperature_celsius"] for look in looks if look["temperature_celsius"]]
    states = [state for look in looks for state in look["throttling"] or ()]
    return SustainedWindow(
        began_s=began_s,
        count=count,
        p50_ms=statistics.median(ordered) if ordered else None,
        p90_ms=timing.percentile(ordered, 0.90) if ordered else None,
        clock_mhz=statistics.median(clocks) if clocks else None,
        temperature_celsius=max(heat) if heat else None,
        throttling=tuple(dict.fromkeys(states)),
    )


def _latency(plain: Mapping[str, Any], part: slice) -> Latency:
    """Latency over some windows together, or over the nearest one that has inferences."""
    times = [time / 1e6 for window in plain["rounds_ns"][part] for time in window]
    if times:
        return replace(timing.summarize([times]), count=sum(plain["counts"][part]))
    # One inference takes longer than a window.
    ordered = plain["rounds_ns"] if part.start == 0 else plain["rounds_ns"][::-1]
    nearest = next(window for window in ordered if window)
    return timing.summarize([[time / 1e6 for time in nearest]])


def _throttled_after(looks: Sequence[Look], began: float, first_s: float) -> float | None:
    """Seconds to the first look at a slowed processor.

    A clock counts as slowed against the highest one of the first window, once that was reached.
    """
    early = [look for look in looks if look["clock_mhz"] and look["time_s"] - began < first_s]
    fastest = max(early, key=lambda look: float(look["clock_mhz"]), default=None)
    for look in looks:
        is_slow = (
            fastest is not None
            and look["clock_mhz"] is not None
            and look["time_s"] > fastest["time_s"]
            and look["clock_mhz"] < SLOWED * fastest["clock_mhz"]
        )
        is_counted = (look["throttle_count"] or 0) > (looks[0]["throttle_count"] or 0)
        if is_slow or is_counted or look["throttling"]:
            return float(look["time_s"] - began)
    return None
