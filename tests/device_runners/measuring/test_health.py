"""Throttling, supply and emulation; what raw times alone tell is in tests/test_timing.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeq import timing
from edgeq.device_runners.measuring import health
from edgeq.issues import judge
from edgeq.values import BenchRun, DeviceFacts, FileRef, Latency, RuntimeInfo, Sustained

ROUNDS = tuple((1.0, 1.01, 0.99, 1.0) for _ in range(12))
STEADY = BenchRun(
    FileRef("m.tflite", "", 1), RuntimeInfo("ai-edge-litert", "2.3.0"), 1, 1.0, 1.0, (), ROUNDS,
    timing.summarize(ROUNDS), None, None, 0.0, "valid", (),
)  # fmt: skip


def facts(core_count: int = 2, emulator: str | None = None) -> DeviceFacts:
    return DeviceFacts("pi4", "Linux", "aarch64", None, core_count, None, None, None, (),
                       emulator=emulator)  # fmt: skip


@pytest.mark.parametrize(("threads", "cores", "shown"), [(1, 1, None), (2, 2, None),
    (9, 2, "9 threads on the 2 cores"), (2, 1, "2 threads on the 1 core")])  # fmt: skip
def test_threads_without_cores_are_named(threads: int, cores: int, shown: str | None) -> None:
    run = replace(STEADY, threads=threads)
    found = health.find_issues(run, looks([], [], []), facts(cores))
    told = [(issue.code, issue.message) for issue in found]
    message = f"m.tflite: {shown} of pi4 wait for each other; pass --threads {cores} at most."
    assert told == ([] if shown is None else [("bench.threads", message)])


def looks(
    *now: list[str] | None, before: list[str] | None = None, clock: float | None = None
) -> list[dict[str, Any]]:
    """Looks with these states; the firmware remembers the states of `before`."""
    quiet = {"busy_s": None, "own_s": 0.0, "throttle_count": None, "load_average": 0.0,
             "temperature_celsius": 82.4, "clock_mhz": clock}  # fmt: skip
    return [{**quiet, "time_s": float(at), "throttling": states, "throttled_before": before or []}
            for at, states in enumerate(now)]  # fmt: skip


@pytest.mark.parametrize("states", [None, []])
def test_nothing_seen_is_nothing_said(states: list[str] | None) -> None:
    assert health.find_issues(STEADY, looks(states, states, states)) == ()


def test_a_capped_clock_is_named_with_the_heat() -> None:
    seen = looks([], ["clock capped"], ["throttled", "clock capped"], [])
    (issue,) = health.find_issues(STEADY, seen)
    assert (issue.code, judge([issue])) == ("bench.throttled", "degraded")
    assert issue.message == (
        "The processor was slowed down during the measurement (clock capped, throttled) at 82 "
        "degrees Celsius."
    )


def test_what_happened_between_two_looks_is_kept_by_the_firmware() -> None:
    seen = looks([], [], [], [])
    seen[-1]["throttled_before"] = ["throttled"]
    (issue,) = health.find_issues(STEADY, seen)
    assert issue.code == "bench.throttled"
    seen[1]["throttled_before"] = seen[2]["throttled_before"] = ["throttled"]  # while loading
    assert health.find_issues(STEADY, seen) == (issue,)


def test_what_happened_before_the_run_is_not_the_runs() -> None:
    assert health.find_issues(STEADY, looks([], [], [], before=["under-voltage"])) == ()


def test_too_low_a_voltage_is_invalid() -> None:
    (issue,) = health.find_issues(STEADY, looks([], ["under-voltage"], []))
    assert (issue.code, judge([issue])) == ("bench.undervoltage", "invalid")
    assert issue.message == (
        "The supply voltage was too low during the measurement, so the firmware lowered the "
        "clock; use a stronger power supply and a shorter cable."
    )


def test_an_emulated_processor_is_invalid() -> None:
    (issue,) = health.find_issues(STEADY, looks([], [], []), facts(emulator="QEMU user mode"))
    assert (issue.code, judge([issue])) == ("bench.emulated", "invalid")
    assert issue.message == (
        "This device is emulated (QEMU user mode): its latency is meaningless."
    )


def test_heat_is_the_result_of_a_sustained_run() -> None:
    latency: Latency = STEADY.latency
    sustained = Sustained(600, 60, (), latency, latency, 1.0, None, ())
    seen = looks([], ["throttled"], [])
    assert health.find_issues(replace(STEADY, sustained=sustained), seen) == ()
    assert len(health.find_issues(STEADY, seen)) == 1


# ---------------------------------------------------------------- the clock, and missing values


def said(run: BenchRun, seen: list[dict[str, Any]] | None = None) -> list[str]:
    return [issue.message for issue in health.find_issues(run, seen or looks([], [], []))]


def run_of(rounds: list[list[float]], **latency: float | None) -> BenchRun:
    summary = replace(timing.summarize(rounds), **latency)
    return replace(STEADY, latencies_ms=tuple(map(tuple, rounds)), latency=summary)


def without_raw_times(mean_ms: float, p50_ms: float | None = None) -> BenchRun:
    summary = replace(
        STEADY.latency, mean_ms=mean_ms, p50_ms=p50_ms, p50_low_ms=None, p50_high_ms=None
    )
    return replace(STEADY, latencies_ms=(), latency=summary)


@pytest.mark.parametrize("p50_ms", [None, 0.05])
def test_a_run_without_raw_times_says_what_is_not_known(p50_ms: float | None) -> None:
    untold = (
        "m.tflite: ai-edge-litert does not report single runs, so the median's interval, "
        "noise, drift and speed-up are unknown."
    )
    assert said(without_raw_times(0.05, p50_ms)) == [untold]
    # A microsecond of 49.96 is more than the 2 % that make a run noisy.
    assert said(without_raw_times(0.04996, p50_ms)) == [
        untold,
        "m.tflite: ai-edge-litert counts in whole microseconds; an inference takes only 50.",
    ]
    assert said(run_of([[0.001] * 15] * 2)) == []  # its clock is finer


def with_each(key: str, *values: float | None) -> list[dict[str, Any]]:
    seen = looks(*[[]] * len(values))
    return [{**look, key: value} for look, value in zip(seen, values, strict=True)]


@pytest.mark.parametrize("counts", [(7, 0, 0, 1, 7), (7, 0, 1, 1, 7), (7, None, 3, 2, 7)])
def test_a_count_that_moved_while_measuring_is_throttling(counts: tuple[int | None, ...]) -> None:
    seen = with_each("throttle_count", *counts)
    seen[0]["temperature_celsius"] = seen[-1]["temperature_celsius"] = 99.0
    assert said(STEADY, seen) == [
        "The processor slowed itself down during the measurement at 82 degrees Celsius."
    ]
    seen = [{**look, "temperature_celsius": None} for look in seen]
    assert said(STEADY, seen) == ["The processor slowed itself down during the measurement."]


@pytest.mark.parametrize("counts", [(0, 7, 7, 7, 9), (0, None, 7, None, 9)])
def test_a_count_that_moved_before_or_after_is_not(counts: tuple[int | None, ...]) -> None:
    assert said(STEADY, with_each("throttle_count", *counts)) == []


@pytest.mark.parametrize(
    ("clocks", "fallen"),
    [
        ((1500, 1500, 1400, 1000, 1000, 1300, 1300), "from 1500 to 1300 MHz"),
        ((1600, 1400, 1000, 1000, 1300, 1398), "from 1500 to 1349 MHz"),
        ((1500, 1000, 1000), "from 1500 to 1000 MHz"),
        ((1500, None, 0, 1000, 1000), "from 1500 to 1000 MHz"),
        ((1500, 1000), None),  # too few looks to tell
    ],
)
def test_a_clock_that_falls_by_more_than_a_tenth_is_throttling(
    clocks: tuple[float | None, ...], fallen: str | None
) -> None:
    seen = with_each("clock_mhz", 600, *clocks, 600)
    text = f"The clock fell {fallen} during the measurement at 82 degrees Celsius."
    assert said(STEADY, seen) == ([] if fallen is None else [text])


def test_noise_and_drift_are_the_result_of_a_sustained_run() -> None:
    sustained = Sustained(600, 60, (), STEADY.latency, STEADY.latency, 1.0, None, ())
    slowing = run_of([[float(number)] * 40 for number in range(1, 13)])
    assert len(said(slowing)) == 2
    assert said(replace(slowing, sustained=sustained)) == []
