from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeq import timing
from edgeq.device_runners import health
from edgeq.render.parts import show_ratio, show_sizes
from edgeq.values import BenchRun, FileRef, Latency, Ratio, RuntimeInfo


@pytest.mark.parametrize(
    ("ratio", "direction", "shown"),
    [
        (Ratio(1.33, 1.2, 1.4), 1, "1.33x faster (ratio 1.33, 95 % interval 1.20 to 1.40)"),
        (Ratio(1.1, 0.9, 1.2), 0, "no difference (ratio 1.10, 95 % interval 0.90 to 1.20)"),
        (Ratio(0.998, 0.997, 0.999), 0, "no difference (ratio 1.00, 95 % interval 1.00 to 1.00)"),
        (Ratio(0.0213, 0.0211, 0.0215), -1,
         "46.95x SLOWER (ratio 0.021, 95 % interval 0.021 to 0.021)"),
    ],
)  # fmt: skip
def test_a_ratio_is_a_difference_where_it_can_be_shown(
    ratio: Ratio, direction: int, shown: str
) -> None:
    assert timing.direction(ratio) == direction
    assert show_ratio(ratio) == shown


@pytest.mark.parametrize(
    ("low", "value", "high", "direction"),
    [
        (1.006, 1.2, 1.4, 1),
        (1.004, 1.2, 1.4, 0),  # shown as 1.00
        (0.6, 0.8, 0.994, -1),
        (0.6, 0.8, 0.996, 0),
        (0.9, 0.95, 1.1, 0),
    ],
)
def test_a_direction_is_what_two_decimals_show(
    low: float, value: float, high: float, direction: int
) -> None:
    assert timing.direction(Ratio(value, low, high)) == direction


def test_sizes_are_a_difference_where_it_can_be_shown() -> None:
    shown = [show_sizes(ratio) for ratio in (1.8, 1.0, 1.01, 0.99, 0.5)]
    same = "no difference"
    assert shown == ["1.8x smaller", same, same, same, "2.0x LARGER"]


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.5, 3.0), (0.9, 4.6), (0.99, 4.96), (1.0, 5.0)]
)
def test_percentiles_interpolate(share: float, expected: float) -> None:
    assert timing.percentile([1.0, 2.0, 3.0, 4.0, 5.0], share) == pytest.approx(expected)


def test_a_percentile_lies_between_its_two_neighbours() -> None:
    # of the places 0 to 3: 0.25 is at 0.75, 0.5 at 1.5
    assert timing.percentile([0.0, 1.0, 10.0, 100.0], 0.25) == pytest.approx(0.75)
    assert timing.percentile([0.0, 1.0, 10.0, 100.0], 0.5) == pytest.approx(5.5)


def test_summary() -> None:
    # 0, 1, 4, 9... 400: the place of a share is 20 times it; the median's interval is of the
    # ranks floor((22 - 1.959964 * sqrt(21)) / 2) = 6 and 16
    found = timing.summarize([float(root**2) for root in range(20, -1, -1)])
    assert found == Latency(
        count=21, min_ms=0.0, p50_ms=100.0, p50_low_ms=25.0, p50_high_ms=225.0, p90_ms=324.0,
        p99_ms=pytest.approx(361 + 0.8 * 39), mean_ms=pytest.approx(2870 / 21),
        stddev_ms=pytest.approx(((722666 - 2870**2 / 21) / 20) ** 0.5), max_ms=400.0, p5_ms=1.0,
        p95_ms=361.0,
    )  # fmt: skip
    assert timing.summarize([4.0]).stddev_ms == 0.0
    assert timing.summarize([1.0, 3.0]).stddev_ms == pytest.approx(2**0.5)  # by n - 1


def test_a_ratio_is_not_fooled_by_a_machine_that_slows_down() -> None:
    baseline = [[10.0 * slow] * 5 for slow in (1, 1, 2, 4, 4, 4)]
    candidate = [[5.0 * slow] * 5 for slow in (1, 1, 2, 4, 4, 4)]
    ratio = timing.ratio_of_medians(baseline, candidate)
    assert (ratio.low, ratio.value, ratio.high) == (2.0, 2.0, 2.0)


def test_a_ratio_has_an_interval_and_a_fixed_seed() -> None:
    baseline = [[10.0], [11.0], [9.0], [10.5], [9.5], [10.0]]
    candidate = [[5.0]] * 6
    first = timing.ratio_of_medians(baseline, candidate)
    assert first.low < first.value < first.high
    assert first == timing.ratio_of_medians(baseline, candidate)


def bootstrap(*ratios: float) -> Ratio:
    return timing.ratio_of_medians([[one] for one in ratios], [[1.0]] * len(ratios))


def test_the_interval_of_a_ratio_is_where_medians_of_drawn_rounds_lie() -> None:
    # Of 1601 rounds with the ratios 1 to 1601, drawn with replacement, the median is normal about
    # 801 with a deviation of 1601 * sqrt(0.25 / 1601) = 20.0; 95 % is 1.96 of those either way.
    many = bootstrap(*range(1, 1602))
    assert many.value == 801
    assert (many.low, many.high) == (pytest.approx(761.8, abs=1), pytest.approx(840.2, abs=1))
    # Two of seven rounds make up the median of seven drawn in 10.9 % of cases, one in 1.0 %.
    assert bootstrap(1, 1, 2, 2, 2, 2, 2) == Ratio(2, 1, 2)
    assert bootstrap(2, 2, 2, 2, 2, 2, 1) == Ratio(2, 2, 2)
    assert bootstrap(2, 2, 1, 1, 1, 1, 1) == Ratio(1, 1, 2)


def test_the_interval_of_a_ratio_holds_the_true_one_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    draws, held = 600, 0
    for baseline, candidate in np.exp(random.normal(scale=0.1, size=(draws, 2, 25, 1))):
        found = timing.ratio_of_medians((2 * baseline).tolist(), candidate.tolist())
        held += found.low <= 2 <= found.high
    # 600 draws of a share of 0.95 have a standard deviation of 0.009; one of 0.90 would have
    # about 540 inside.
    assert 0.925 <= held / draws <= 0.975


def test_six_rounds_are_enough_for_pairs_and_five_are_not() -> None:
    slowing = [1, 2, 4, 8, 16, 32]
    baseline, candidate = ([[value * slow] for slow in slowing] for value in (10.0, 5.0))
    assert timing.ratio_of_medians(baseline, candidate) == Ratio(2.0, 2.0, 2.0)
    for short in ((baseline[:5], candidate), (baseline, candidate[:5])):
        found = timing.ratio_of_medians(*short)
        assert found.low < 1 < found.high  # of all times, without pairs


def test_rounds_beyond_the_shorter_are_left_out() -> None:
    found = timing.ratio_of_medians([[10.0]] * 6 + [[99.0]] * 9, [[5.0]] * 6)
    assert found == Ratio(2.0, 2.0, 2.0)


def make_run(rounds: list[list[float]]) -> BenchRun:
    times = [time for part in rounds for time in part]
    return BenchRun(
        model=FileRef("m.tflite", "", 1),
        runtime=RuntimeInfo("ai-edge-litert", "2.3.0"),
        threads=1,
        init_ms=1.0,
        first_ms=1.0,
        warmup_ms=(),
        latencies_ms=tuple(map(tuple, rounds)),
        latency=timing.summarize(times),
        peak_rss_bytes=None,
        arena_bytes=None,
        load_average=0.0,
        validity="valid",
        issues=(),
    )


STEADY = make_run([[1.0, 1.01, 0.99, 1.0] for _ in range(12)])


def look(at: float, busy: float = 0.0, own: float = 0.0, clock: float | None = None) -> dict:
    return {"time_s": at, "busy_s": busy, "own_s": own, "clock_mhz": clock,
            "throttle_count": None, "temperature_celsius": 81.0, "load_average": 0.0,
            "throttling": None, "throttled_before": []}  # fmt: skip


def codes(run: BenchRun, looks: list[dict]) -> list[str]:
    return [issue.code for issue in health.find_issues(run, looks)]


QUIET = [look(0.0), look(10.0, busy=10.0, own=9.9)]


def test_a_steady_run_on_a_quiet_machine_has_no_issues() -> None:
    assert codes(STEADY, QUIET) == []


def test_few_runs() -> None:
    assert codes(make_run([[1.0] * 5]), QUIET) == ["bench.few_runs"]
    assert codes(make_run([[1.0] * 29]), QUIET) == ["bench.few_runs"]
    assert codes(make_run([[1.0] * 30]), QUIET) == []


def test_noise() -> None:
    scattered = make_run([[1.0, 1.5, 0.8, 2.0] for _ in range(12)])
    assert codes(scattered, QUIET) == ["bench.noisy"]


@pytest.mark.parametrize(
    ("half_width", "off", "is_noisy"),
    [
        (2.0, 10.0, False),  # 2 and 10 %, exactly
        (2.1, 0.0, True),  # each alone is noise
        (0.0, 10.1, True),
        (20.0, 30.0, True),
        (0.0, 0.0, False),
    ],
)
def test_either_sign_of_noise_is_noise(half_width: float, off: float, is_noisy: bool) -> None:
    times = [100.0 - off, 100.0 + off] * 20
    run = make_run([times])
    known = replace(run.latency, p50_ms=100.0, p50_low_ms=100.0 - half_width,
                    p50_high_ms=100.0 + half_width)  # fmt: skip
    found = health.find_issues(replace(run, latency=known), QUIET)
    assert [issue.code for issue in found] == (["bench.noisy"] if is_noisy else [])
    if is_noisy:
        assert found[0].message == (
            f"m.tflite: the median is known to {half_width:.1f} % only, and half of the runs lie "
            f"more than {off:.1f} % off it."
        )


@pytest.mark.parametrize(
    ("last", "change"),
    [(200.0, "+100.0"), (115.0, "+15.0"), (85.0, "-15.0"), (105.1, "+5.1"), (94.9, "-5.1"),
     (104.9, None), (95.1, None), (100.0, None)],
)  # fmt: skip
def test_getting_faster_is_drift_as_getting_slower_is(last: float, change: str | None) -> None:
    run = make_run([[100.0] * 10] * 3 + [[300.0] * 2] * 3 + [[last] * 10] * 3)
    found = [i.message for i in health.find_issues(run, QUIET) if i.code == "bench.drift"]
    said = f"m.tflite: the last third of the rounds is {change} % against the first third."
    assert found == ([] if change is None else [said])


def test_eight_rounds_have_no_thirds_to_compare() -> None:
    for count, expected in ((8, []), (9, ["bench.drift"])):
        run = make_run([[100.0] * 20] * 5 + [[90.0] * 20] * (count - 5))
        found = [i.code for i in health.find_issues(run, QUIET) if i.code == "bench.drift"]
        assert found == expected


def test_drift_names_the_change() -> None:
    slowing = make_run([[1.0 + 0.02 * number] * 40 for number in range(12)])
    (issue,) = [i for i in health.find_issues(slowing, QUIET) if i.code == "bench.drift"]
    assert issue.message == (
        "m.tflite: the last third of the rounds is +15.5 % against the first third."
    )


def test_load_of_other_processes() -> None:
    busy = [look(0.0), look(10.0, busy=15.0, own=9.0)]
    (issue,) = health.find_issues(STEADY, busy)
    assert issue.message == (
        "Other processes used 0.6 cores during the measurement; stop them and repeat."
    )


@pytest.mark.parametrize(
    ("busy", "own", "seconds", "is_load"),
    [
        (12.0, 10.0, 10.0, False),  # 0.2 cores
        (12.1, 10.0, 10.0, True),
        (10.0, 10.0, 10.0, False),
        (10.0, 7.9, 10.0, True),  # it is the difference that others used
        (9.0, 0.5, 0.9, False),  # too short to tell
        (9.0, 0.5, 1.0, True),
    ],
)
def test_others_may_use_a_fifth_of_a_core(
    busy: float, own: float, seconds: float, is_load: bool
) -> None:
    looks = [
        look(100.0, busy=50.0, own=3.0),
        look(100.0 + seconds / 2, busy=50.0, own=3.0),
        look(100.0 + seconds, busy=50.0 + busy, own=3.0 + own),
    ]
    assert codes(STEADY, looks) == (["bench.load"] if is_load else [])


@pytest.mark.parametrize(("last", "is_slowed"), [(900.0, False), (899.0, True), (1000.0, False),
    (1500.0, False)])  # fmt: skip
def test_a_clock_below_nine_tenths_is_throttling(last: float, is_slowed: bool) -> None:
    clocks = [5000.0, 1000.0, 1000.0, 950.0, last, last, 100.0]
    looks = [look(float(t), busy=t, own=t, clock=c) for t, c in enumerate(clocks)]
    assert codes(STEADY, looks) == (["bench.throttled"] if is_slowed else [])


def test_a_falling_clock_is_throttling() -> None:
    clocks = [600.0, 1500.0, 1500.0, 1000.0, 600.0]  # idle at both ends
    looks = [look(float(t), busy=t, own=t, clock=c) for t, c in enumerate(clocks)]
    (issue,) = health.find_issues(STEADY, looks)
    assert issue.message == (
        "The clock fell from 1500 to 1000 MHz during the measurement at 81 degrees Celsius."
    )


def test_an_idle_clock_before_and_after_is_not_throttling() -> None:
    clocks = [1500.0, 1500.0, 1490.0, 1500.0, 600.0]
    looks = [look(float(t), busy=t, own=t, clock=c) for t, c in enumerate(clocks)]
    assert codes(STEADY, looks) == []


def test_a_processor_that_says_it_slowed_down_is_believed() -> None:
    looks = [{**look(float(t), busy=t, own=t), "throttle_count": c} for t, c in enumerate(
        [0, 0, 1, 0, 0])]  # fmt: skip
    (issue,) = health.find_issues(STEADY, looks)
    assert issue.message == (
        "The processor slowed itself down during the measurement at 81 degrees Celsius."
    )


def test_few_rounds_give_a_wider_interval_not_none() -> None:
    ratio = timing.ratio_of_medians([[10.0, 11.0, 9.0] * 10], [[5.0, 5.5, 4.5] * 10])
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((9 / 5.5, 2.0, 11 / 4.5))


def test_what_cannot_be_read_is_not_an_issue() -> None:
    blind = [{**entry, "busy_s": None} for entry in QUIET]
    assert codes(replace(STEADY), blind) == []
