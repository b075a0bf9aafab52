"""Throttling, supply and emulation; what raw times alone tell is in tests/test_timing.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeq import timing
from edgeq.device_runners import health
from edgeq.issues import judge
from edgeq.values import BenchRun, FileRef, Latency, RuntimeInfo, Sustained

ROUNDS = tuple((1.0, 1.01, 0.99, 1.0) for _ in range(12))
STEADY = BenchRun(
    FileRef("m.tflite", "", 1), RuntimeInfo("ai-edge-litert", "2.3.0"), 1, 1.0, 1.0, (), ROUNDS,
    timing.summarize([time for times in ROUNDS for time in times]), None, None, 0.0, "valid", (),
)  # fmt: skip


def looks(
    *now: list[str] | None, before: list[str] | None = None, clock: float | None = None
) -> list[dict[str, Any]]:
    """Looks with these states, the last of which is kept by the firmware."""
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
    (issue,) = health.find_issues(STEADY, looks([], [], []), "QEMU user mode")
    assert (issue.code, judge([issue])) == ("bench.emulated", "invalid")
    assert issue.message == ("This device is emulated (QEMU user mode): its latency means nothing.")


def test_heat_is_the_result_of_a_sustained_run() -> None:
    latency: Latency = STEADY.latency
    sustained = Sustained(600, 60, (), latency, latency, 1.0, None, ())
    seen = looks([], ["throttled"], [])
    assert health.find_issues(replace(STEADY, sustained=sustained), seen) == ()
    assert len(health.find_issues(STEADY, seen)) == 1
