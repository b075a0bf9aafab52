from __future__ import annotations

from typing import Any

import pytest

from edgeq.device_runners.measuring.sustained import read_sustained, window_length
from edgeq.values import BenchOptions, Sustained

BEGAN = 1000.0  # on the agent's clock


def look(at: float, **seen: Any) -> dict[str, Any]:
    silent = {"clock_mhz": None, "temperature_celsius": None, "throttling": None,
              "throttle_count": None}  # fmt: skip
    return {**silent, "time_s": BEGAN + at, **seen}


def read(
    looks: list[dict[str, Any]], windows: list[list[float]] | None = None, minutes: float = 6
) -> Sustained:
    windows = windows or [[1.0] * 10] * 4 + [[1.5] * 8, [1.6] * 12]
    plain = {
        "began_s": BEGAN,
        "counts": [100 * len(times) for times in windows],
        "rounds_ns": [[round(1e6 * time) for time in times] for times in windows],
    }
    return read_sustained(BenchOptions(sustained_s=60 * minutes), plain, looks)


@pytest.mark.parametrize(("minutes", "seconds"), [(10, 60), (3, 60), (1.5, 30), (0.3, 6)])
def test_a_window_is_a_minute_or_a_third(minutes: float, seconds: float) -> None:
    assert window_length(BenchOptions(sustained_s=60 * minutes)) == pytest.approx(seconds)


def test_steady_state_is_the_last_third_and_burst_the_first_window() -> None:
    found = read([])
    assert (found.burst.p50_ms, found.burst.count) == (1.0, 1000)
    assert (found.steady.p50_ms, found.steady.count) == (1.6, 2000)
    assert found.slowdown == pytest.approx(1.6)
    assert [window.began_s for window in found.windows] == [0, 60, 120, 180, 240, 300]
    assert [window.p50_ms for window in found.windows] == [1, 1, 1, 1, 1.5, 1.6]


def test_each_window_has_its_own_clock_and_heat() -> None:
    looks = [look(-5, clock_mhz=600.0), look(10, clock_mhz=1500.0, temperature_celsius=50.0),
             look(59, clock_mhz=1490.0, temperature_celsius=61.0),
             look(200, clock_mhz=1400.0), look(361, clock_mhz=1000.0)]  # fmt: skip
    found = read(looks).windows
    assert [window.clock_mhz for window in found] == [1495.0, None, None, 1400.0, None, 1000.0]
    assert [window.temperature_celsius for window in found[:2]] == [61.0, None]


def test_the_first_look_at_a_lower_clock_is_the_time_to_throttle() -> None:
    clocks = [(0, 900.0), (5, 1500.0), (50, 1400.0), (130, 1340.0), (200, 1000.0)]
    found = read([look(at, clock_mhz=clock) for at, clock in clocks])
    assert found.throttled_after_s == 130  # a clock that still rises is not throttled
    assert found.watched == ("clock",)


@pytest.mark.parametrize(
    ("clocks", "after"),
    [
        ([(0, 1500.0), (90, 1350.0)], None),  # nine tenths
        ([(0, 1500.0), (90, 1349.0)], 90),
        ([(0, 1000.0), (30, 1500.0), (90, 1400.0)], None),  # it rose before
        ([(0, 1000.0), (59, 1500.0), (60, 1300.0)], 60),
        # The fastest of the first minute counts: later ones do not.
        ([(0, 1500.0), (60, 2000.0), (120, 1500.0)], None),
        ([(61, 2000.0), (120, 1000.0)], None),  # of the first minute nothing is known
    ],
)
def test_a_clock_below_nine_tenths_of_its_first_minute_is_slowed(
    clocks: list[tuple[float, float]], after: float | None
) -> None:
    found = read([look(at, clock_mhz=clock) for at, clock in clocks])
    assert found.throttled_after_s == after


def test_looks_of_before_and_long_after_do_not_count() -> None:
    flags = ["throttled"]
    # 6 minutes, and a window more for a look that came late.
    for at, after in ((-1, None), (0, 0), (360, 360), (420, 420), (421, None)):
        found = read([look(10, throttling=[]), look(at, throttling=flags)])
        assert found.throttled_after_s == after


def test_a_window_begins_with_its_second() -> None:
    found = read([look(at, temperature_celsius=50.0 + at) for at in (0, 59.9, 60, 299.9, 300, 400)])
    heat = [window.temperature_celsius for window in found.windows]
    assert heat == [109.9, 110.0, None, None, 349.9, 450.0]


@pytest.mark.parametrize(
    ("windows", "steady"), [(1, [6]), (2, [6]), (3, [6]), (5, [6]), (6, [5, 6]), (9, [4, 5, 6])]
)
def test_the_steady_state_is_a_third_rounded_down(windows: int, steady: list[int]) -> None:
    times = [[float(max(1, 6 - windows + 1 + place))] for place in range(windows)]
    found = read([], windows=times)
    assert (found.steady.min_ms, found.steady.max_ms) == (steady[0], steady[-1])
    assert found.steady.count == 100 * len(steady)
    assert (found.burst.min_ms, found.burst.count) == (times[0][0], 100)


def test_what_firmware_tells_comes_first() -> None:
    looks = [look(0, clock_mhz=1500.0, throttling=[]),
             look(90, clock_mhz=1500.0, throttling=["soft temperature limit"]),
             look(95, clock_mhz=1500.0, throttling=["throttled"])]  # fmt: skip
    found = read(looks)
    assert found.throttled_after_s == 90
    assert found.watched == ("flags", "clock")
    assert found.windows[1].throttling == ("soft temperature limit", "throttled")


def test_a_counter_that_rises_is_throttling() -> None:
    found = read([look(at, throttle_count=count) for at, count in ((0, 7), (60, 7), (90, 8))])
    assert (found.throttled_after_s, found.watched) == (90, ("counter",))


def test_a_machine_that_tells_nothing_is_not_one_that_stayed_fast() -> None:
    found = read([look(10), look(200)])
    assert (found.throttled_after_s, found.watched) == (None, ())


def test_a_model_slower_than_a_window_leaves_windows_empty() -> None:
    found = read([], windows=[[90_000.0], [], [95_000.0], [], [], []])
    assert found.windows[1].p50_ms is None
    assert (found.burst.p50_ms, found.steady.p50_ms) == (90_000.0, 95_000.0)
