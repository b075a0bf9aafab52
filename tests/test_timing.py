from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from edgeq import timing
from edgeq.device_runners.measuring import health
from edgeq.device_runners.on_board.agent.statistics import median_interval
from edgeq.values import (
    BenchOptions,
    BenchResult,
    BenchRun,
    DeviceFacts,
    FileRef,
    Interval,
    Latency,
    Ratio,
    Round,
    RuntimeInfo,
)
from edgeq.wording import show_db, show_ratio, show_sizes, signed


@pytest.mark.parametrize(
    ("ratio", "direction", "shown"),
    [
        (Ratio(1.33, 1.2, 1.4), 1, "1.33x faster (ratio 1.33, 95 % interval 1.20 to 1.40)"),
        (Ratio(1.1, 0.9, 1.2), 0, "no difference (ratio 1.10, 95 % interval 0.90 to 1.20)"),
        (Ratio(0.998, 0.997, 0.999), 0,
         "no difference (ratio 0.998, 95 % interval 0.997 to 0.999)"),
        # The ends are told apart, where four decimals tell them apart.
        (Ratio(0.6712, 0.6711, 0.6714), -1,
         "1.49x SLOWER (ratio 0.6712, 95 % interval 0.6711 to 0.6714)"),
        (Ratio(2.0, 2.0, 2.0), 1, "2.00x faster (ratio 2.00, 95 % interval 2.00 to 2.00)"),
        (Ratio(0.0213, 0.0211, 0.0215), -1,
         "46.95x SLOWER (ratio 0.0213, 95 % interval 0.0211 to 0.0215)"),
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
    shown = [show_sizes(ratio) for ratio in (1.8, 1.0, 1.01, 0.99, 0.5, 59.1 / 56.8, 1 / 1.034)]
    same = "no difference"
    assert shown == [
        "1.8x smaller", same, same, same, "2.0x LARGER", "4 % smaller", "3 % LARGER"
    ]  # fmt: skip


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
    # p50 and p90 are the medians of the rounds' own, the rest is from all: 0, 1, 4, 9... 400.
    squares = [float(root**2) for root in range(20, -1, -1)]
    found = timing.summarize([squares])
    assert found == Latency(
        count=21, min_ms=0.0, p50_ms=100.0, p50_low_ms=pytest.approx(100 / 1.1),
        p50_high_ms=pytest.approx(110.0), p90_ms=324.0,
        p99_ms=pytest.approx(361 + 0.8 * 39), mean_ms=pytest.approx(2870 / 21),
        stddev_ms=pytest.approx(((722666 - 2870**2 / 21) / 20) ** 0.5), max_ms=400.0, p5_ms=1.0,
        p95_ms=361.0, p90_low_ms=pytest.approx(324 / 1.1), p90_high_ms=pytest.approx(356.4),
    )  # fmt: skip
    # Six rounds of other lengths: medians 1 to 6, nine tenths 10 times as long.
    rounds = [[float(n)] * (9 + n) + [10.0 * n] * 3 for n in (4, 2, 6, 1, 3, 5)]
    found = timing.summarize(rounds)
    assert (found.p50_low_ms, found.p50_ms, found.p50_high_ms) == (1.0, 3.5, 6.0)
    assert (found.p90_low_ms, found.p90_ms, found.p90_high_ms) == (10.0, 35.0, 60.0)
    assert found.count == sum(map(len, rounds))
    assert timing.summarize([[4.0]]).stddev_ms == 0.0
    assert timing.summarize([[1.0], [3.0]]).stddev_ms == pytest.approx(2**0.5)  # by n - 1


@pytest.mark.parametrize(
    ("figures", "low", "value", "high"),
    [
        ([5.0], 5 / 1.1, 5.0, 5.5),  # one process: 10 % either way
        ([1.0, 4.0], 2 / 2**12.706, 2.5, 2 * 2**12.706),  # t of log2: 0 and 2, their error 1
        # log2 0, 1, 2 have a deviation of 1; and so on, with t of 2, 3 and 4 degrees of freedom
        ([4.0, 1.0, 2.0], 2 / 2 ** (4.303 / 3**0.5), 2.0, 2 * 2 ** (4.303 / 3**0.5)),
        ([1.0, 1.0, 4.0, 4.0], 2 / 2 ** (3.182 / 3**0.5), 2.5, 2 * 2 ** (3.182 / 3**0.5)),
        ([1.0, 2.0, 2.0, 2.0, 4.0], 2 / 2 ** (2.776 / 10**0.5), 2.0, 2 * 2 ** (2.776 / 10**0.5)),
        ([6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 1.0, 3.5, 6.0),
        ([8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 1.0, 4.5, 8.0),
        # From nine on, a slow process at either side does not matter.
        ([99.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 0.1], 2.0, 5.0, 8.0),
        ([0.0, 0.0, 2.0], 0.0, 0.0, 0.0),  # a clock of whole units
    ],
)  # fmt: skip
def test_the_middle_of_rounds(figures: list[float], low: float, value: float, high: float) -> None:
    found = timing.middle_of_rounds(figures)
    assert (found.low, found.value, found.high) == pytest.approx((low, value, high))


def simulate(random: np.random.Generator, runs: int, rounds: int, count: int) -> np.ndarray:
    """Times as processes give them: [run, round, inference].

    Each process has its own shift (0.4 %, and 5 % more for one in twenty), and its inferences
    follow each other: a change of 1 % lasts for about 20 of them.
    """
    shape = (runs, rounds, 1)
    shifts = random.normal(0, 0.004, shape) + 0.05 * (random.random(shape) < 0.05)
    noise, keep = random.normal(size=(runs, rounds, count)), 0.95
    for place in range(1, count):
        noise[..., place] *= (1 - keep**2) ** 0.5
        noise[..., place] += keep * noise[..., place - 1]
    return np.exp(shifts + 0.01 * noise)


@pytest.mark.parametrize("rounds", [3, 5, 6, 9, 30])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_interval_of_rounds_holds_the_true_figure_as_often_as_it_says(
    rounds: int, share: float
) -> None:
    random, runs = np.random.default_rng(rounds), 400
    true = np.median(np.quantile(simulate(random, 1, 5000, 100), share, axis=2))
    held, by_inferences = 0, 0
    for times in simulate(random, runs, rounds, 100):
        found = timing.middle_of_rounds(np.quantile(times, share, axis=1).tolist())
        held += found.low <= true <= found.high
        naive = timing.quantile_interval(times.ravel().tolist(), share)
        by_inferences += naive.low <= true <= naive.high
    # 400 draws of a share of 0.95 have a standard deviation of 0.011.
    assert held / runs >= 0.925
    assert by_inferences / runs < 0.6  # what edgeq 0.1 called 95 %


@pytest.mark.parametrize("rounds", [3, 9])
def test_two_files_of_equal_speed_are_told_apart_as_seldom_as_it_says(rounds: int) -> None:
    """Alternating, on a machine that slows down and speeds up by 10 % between the rounds."""
    random, runs = np.random.default_rng(rounds), 600
    slower = 0
    for one, other in zip(
        simulate(random, runs, rounds, 60), simulate(random, runs, rounds, 60), strict=True
    ):
        machine = np.exp(random.normal(0, 0.1, (rounds, 1)))
        medians = (np.median(times * machine, axis=1).tolist() for times in (one, other))
        slower += timing.ratio_of_rounds(*medians).low > 1
    # 600 draws of a share of 0.025 have a standard deviation of 0.006.
    assert slower / runs <= 0.04


def test_a_ratio_is_not_fooled_by_a_machine_that_slows_down() -> None:
    slow = (1, 1, 2, 4, 4, 4)
    ratio = timing.ratio_of_rounds([10.0 * by for by in slow], [5.0 * by for by in slow])
    assert ratio == Ratio(2.0, 2.0, 2.0)


def test_a_ratio_is_the_middle_of_the_rounds() -> None:
    found = timing.ratio_of_rounds([8.0, 2.0, 6.0, 4.0, 10.0, 12.0], [4.0] * 6)
    assert found == Ratio(1.75, 0.5, 3.0)
    assert timing.ratio_of_rounds([4.0], [2.0]) == Ratio(2.0, 2 / 1.1, 2.2)
    with pytest.raises(ValueError, match="shorter"):
        timing.ratio_of_rounds([4.0, 4.0], [2.0])


@pytest.mark.parametrize("count", [6, 7, 40, 41, 1000])
def test_the_quantile_of_one_half_is_the_median_of_the_agent(count: int) -> None:
    times = list(np.random.default_rng(count).gamma(2, size=count))
    low, value, high = median_interval(times)
    found = timing.quantile_interval(times, 0.5)
    assert (found.low, found.high) == (low, high)
    assert found.value == pytest.approx(value)


@pytest.mark.parametrize("count", [60, 200, 1000])
def test_the_interval_of_p90_holds_the_true_one_as_often_as_it_says(count: int) -> None:
    random = np.random.default_rng(count)
    true = -math.log(0.1)
    held = 0
    for times in random.exponential(size=(2000, count)):
        found = timing.quantile_interval(times.tolist(), 0.9)
        held += found.low <= true <= found.high
    # 2000 draws of a share of 0.95 have a standard deviation of 0.005.
    assert 0.935 <= held / 2000 <= 0.99


def test_too_few_runs_give_p90_no_upper_end() -> None:
    found = timing.quantile_interval([float(time) for time in range(1, 31)], 0.9)
    assert (found.value, found.low, found.high) == (pytest.approx(27.1), 24.0, math.inf)


@pytest.mark.parametrize(
    ("count", "share", "ranks"),
    [
        # count * share + 0.5 -/+ 1.959964 * sqrt(count * share * (1 - share))
        (5, 0.5, (None, None)),  # 0.81 down to rank 0, 5.19 up to rank 6 of 5
        (6, 0.5, (1, 6)),  # 1.10 and 5.90
        (20, 0.9, (15, None)),  # 15.87 and 21.13
        (20, 0.1, (None, 6)),  # -0.13 and 5.13
        (100, 0.9, (84, 97)),  # 84.62 and 96.38
    ],
)
def test_a_quantile_lies_between_values_of_these_ranks(
    count: int, share: float, ranks: tuple[int | None, int | None]
) -> None:
    found = timing.quantile_interval([10.0 * rank for rank in range(count, 0, -1)], share)
    low, high = ranks
    assert found.low == (0.0 if low is None else 10.0 * low)
    assert found.high == (math.inf if high is None else 10.0 * high)
    assert found.value == pytest.approx(10 * (1 + share * (count - 1)))


def make_run(rounds: list[list[float]]) -> BenchRun:
    return BenchRun(
        model=FileRef("m.tflite", "", 1),
        runtime=RuntimeInfo("ai-edge-litert", "2.3.0"),
        threads=1,
        init_ms=1.0,
        first_ms=1.0,
        warmup_ms=(),
        latencies_ms=tuple(map(tuple, rounds)),
        latency=timing.summarize(rounds),
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


@pytest.mark.parametrize(("count", "expected"), [(2, True), (29, True), (30, False)])
def test_few_runs(count: int, expected: bool) -> None:
    found = codes(make_run([[1.0] * (count - count // 2), [1.0] * (count // 2)]), QUIET)
    assert found == (["bench.few_runs"] if expected else [])


def test_one_process_does_not_tell_how_far_others_lie() -> None:
    assert codes(make_run([[1.0] * 30]), QUIET) == ["bench.noisy"]


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
            f"m.tflite: the median is known only to ±{half_width:.1f} %; half of the runs differ "
            f"from it by more than {off:.1f} %{'; pass more --rounds' if half_width > 2 else ''}."
        )


@pytest.mark.parametrize(
    ("last", "change"),
    [(200.0, "+100.0"), (115.0, "+15.0"), (85.0, "-15.0"), (105.1, "+5.1"), (94.9, "-5.1"),
     (104.9, None), (95.1, None), (100.0, None)],
)  # fmt: skip
def test_getting_faster_is_drift_as_getting_slower_is(last: float, change: str | None) -> None:
    run = make_run([[100.0] * 10] * 3 + [[300.0] * 2] * 3 + [[last] * 10] * 3)
    found = [i.message for i in health.find_issues(run, QUIET) if i.code == "bench.drift"]
    said = (
        "m.tflite: from the first to the last third of the rounds, the latency changed by "
        f"{change} %."
    )
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
        "m.tflite: from the first to the last third of the rounds, the latency changed by +15.5 %."
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


def test_a_record_of_one_process_is_known_to_10_per_cent_more() -> None:
    old = replace(
        STEADY, latency=replace(STEADY.latency, p50_ms=2.0, p50_low_ms=1.9, p50_high_ms=2.1,
                                p90_ms=4.0, p90_low_ms=None, p90_high_ms=None),
        latencies_ms=(tuple(float(time) for time in range(1, 101)),),
    )  # fmt: skip
    assert timing.p50_interval(old) == Interval(2.0, 1.9 / 1.1, 2.1 * 1.1)
    # The 84th and the 97th of 100 values enclose the 90th.
    assert timing.p90_interval(old) == Interval(4.0, 84 / 1.1, 97 * 1.1)
    told = replace(old, latencies_ms=(), latency=replace(old.latency, p50_low_ms=None,
                                                         p50_high_ms=None))  # fmt: skip
    assert timing.p50_interval(told) == Interval(2.0, 2.0 / 1.1, 2.0 * 1.1)
    assert timing.p90_interval(told) == Interval(4.0, 4.0 / 1.1, 4.0 * 1.1)
    untold = replace(told, latency=replace(told.latency, p50_ms=None, p90_ms=None))
    assert timing.p50_interval(untold) is timing.p90_interval(untold) is None


@pytest.mark.parametrize(("validity", "ends"), [("valid", (85.0, 95.0)), ("degraded", (50.0, 99.0)),
    ("invalid", (50.0, 99.0))])  # fmt: skip
def test_p90_of_another_run_lies_where_other_programs_put_it(
    validity: str, ends: tuple[float, float]
) -> None:
    latency = replace(STEADY.latency, p90_ms=90.0, p90_low_ms=89.0, p90_high_ms=91.0)
    times = tuple(map(float, range(51))), tuple(map(float, range(51, 101)))
    rounds = (Round(101, 50.0, 90.0, 1.0, 1.0),)
    run = replace(
        STEADY, latency=latency, latencies_ms=times, rounds=rounds, validity=validity
    )  # fmt: skip
    assert timing.p90_of_another_run(run) == Interval(90.0, *ends)
    wide = replace(run, latency=replace(latency, p90_low_ms=20.0, p90_high_ms=200.0))
    assert timing.p90_of_another_run(wide) == Interval(90.0, 20.0, 200.0)
    untold = replace(run, latencies_ms=())
    assert timing.p90_of_another_run(untold) == Interval(90.0, 89.0, 91.0)
    assert timing.p90_of_another_run(replace(run, latency=replace(latency, p90_ms=None))) is None


def test_a_record_of_rounds_is_taken_as_it_stands() -> None:
    latency = replace(STEADY.latency, p50_ms=2.0, p50_low_ms=1.9, p50_high_ms=2.1,
                      p90_ms=4.0, p90_low_ms=3.9, p90_high_ms=4.1)  # fmt: skip
    new = replace(STEADY, latency=latency, rounds=(Round(4, 2.0, 4.0, 1.0, 1.0),))
    assert timing.p50_interval(new) == Interval(2.0, 1.9, 2.1)
    assert timing.p90_interval(new) == Interval(4.0, 3.9, 4.1)


def test_a_speed_up_of_one_process_is_known_to_10_per_cent_more() -> None:
    facts = DeviceFacts("local", "Linux", "x86_64", "Xeon", 8, None, None, "3.11", ())
    new = replace(STEADY, rounds=(Round(4, 2.0, 4.0, 1.0, 1.0),))
    ratios = Ratio(2.0, 1.9, 2.1), Ratio(3.0, 2.2, 3.3)
    bench = BenchResult(facts, BenchOptions(), (STEADY, new, STEADY), ratios)
    assert timing.speedup_interval(bench, 0) == ratios[0]
    assert timing.speedup_interval(bench, 1) == Ratio(3.0, 2.2 / 1.1, 3.3 * 1.1)


def test_what_cannot_be_read_is_not_an_issue() -> None:
    blind = [{**entry, "busy_s": None} for entry in QUIET]
    assert codes(replace(STEADY), blind) == []


@pytest.mark.parametrize(
    ("value", "shown"), [(-0.004, "+0.00"), (0.004, "+0.00"), (-0.005001, "-0.01"), (2.5, "+2.50")]
)
def test_what_rounds_to_zero_has_no_minus(value: float, shown: str) -> None:
    assert signed(value) == shown


@pytest.mark.parametrize(
    ("value", "text"),
    [(31.26, "31.3 dB"), (100.0, "100.0 dB"), (695.9, "the same (over 100 dB)"),
     (math.inf, "identical"), (-math.inf, "-inf dB")],
)  # fmt: skip
def test_an_sqnr_beyond_float32_is_the_same(value: float, text: str) -> None:
    assert show_db(value) == text
