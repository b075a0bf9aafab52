"""Intervals and what they prove."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeq.device_runners.agent import median_interval
from edgeq.gating.intervals import (
    Estimate,
    growth_percent,
    hold_against,
    increase,
    lost_db,
    quantile_interval,
)

INSIDE = "the whole interval is within the limit"
ACROSS = "the interval reaches from within the limit to beyond it"
BEYOND = "the whole interval is beyond the limit"


@pytest.mark.parametrize(
    ("figure", "is_upper", "proven", "not_disproven"),
    [
        (Estimate(1, 0.5, 2), True, ("pass", INSIDE), ("pass", INSIDE)),
        (Estimate(1, 0.5, 2.1), True, ("cannot-tell", ACROSS),
         ("pass", "not proven to be beyond the limit")),
        (Estimate(3, 2, 4), True, ("cannot-tell", ACROSS),
         ("pass", "not proven to be beyond the limit")),
        (Estimate(3, 2.1, 4), True, ("fail", BEYOND), ("fail", BEYOND)),
        (Estimate(3, 2, 4), False, ("pass", INSIDE), ("pass", INSIDE)),
        (Estimate(1, 0.5, 1.9), False, ("fail", BEYOND), ("fail", BEYOND)),
        (Estimate(2), True, ("pass", "within the limit"), ("pass", "within the limit")),
        (Estimate(2.1), True, ("fail", "beyond the limit"), ("fail", "beyond the limit")),
        (Estimate(math.inf), False, ("pass", "within the limit"), ("pass", "within the limit")),
        (Estimate(1, 0.5, math.inf), True, ("cannot-tell", ACROSS),
         ("pass", "not proven to be beyond the limit")),
    ],
)  # fmt: skip
def test_a_figure_against_a_limit_of_two(
    figure: Estimate,
    is_upper: bool,
    proven: tuple[str, str],
    not_disproven: tuple[str, str],
) -> None:
    assert hold_against(figure, 2.0, is_upper=is_upper, proof="proven") == proven
    assert hold_against(figure, 2.0, is_upper=is_upper, proof="not-disproven") == not_disproven


@pytest.mark.parametrize("count", [6, 7, 40, 41, 1000])
def test_the_quantile_of_one_half_is_the_median_of_the_agent(count: int) -> None:
    times = list(np.random.default_rng(count).gamma(2, size=count))
    low, value, high = median_interval(times)
    found = quantile_interval(times, 0.5)
    assert (found.low, found.high) == (low, high)
    assert found.value == pytest.approx(value)


@pytest.mark.parametrize("count", [60, 200, 1000])
def test_the_interval_of_p90_holds_the_true_one_as_often_as_it_says(count: int) -> None:
    random = np.random.default_rng(count)
    true = -math.log(0.1)
    held = 0
    for times in random.exponential(size=(2000, count)):
        found = quantile_interval(times.tolist(), 0.9)
        assert found.low is not None and found.high is not None
        held += found.low <= true <= found.high
    # 2000 draws of a share of 0.95 have a standard deviation of 0.005.
    assert 0.935 <= held / 2000 <= 0.99


def test_too_few_runs_give_p90_no_upper_end() -> None:
    found = quantile_interval([float(time) for time in range(1, 31)], 0.9)
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
    found = quantile_interval([10.0 * rank for rank in range(count, 0, -1)], share)
    low, high = ranks
    assert found.low == (0.0 if low is None else 10.0 * low)
    assert found.high == (math.inf if high is None else 10.0 * high)
    assert found.value == pytest.approx(10 * (1 + share * (count - 1)))


def test_changes_use_the_far_ends() -> None:
    now, before = Estimate(11, 10.5, 11.5), Estimate(10, 9.5, 10.4)
    grown = growth_percent(now, before)
    assert (grown.value, grown.low, grown.high) == pytest.approx(
        (10, 100 * (10.5 / 10.4 - 1), 100 * (11.5 / 9.5 - 1))
    )
    more = increase(now, before)
    assert (more.value, more.low, more.high) == pytest.approx((1, 0.1, 2))
    # From 10 (8 to 16) to 30 (24 to 40) it is at least half as much again, at most fivefold.
    tripled = growth_percent(Estimate(30, 24, 40), Estimate(10, 8, 16))
    assert tripled == Estimate(pytest.approx(200), pytest.approx(50), pytest.approx(400))
    # Of less than one millisecond, and falling.
    halved = growth_percent(Estimate(0.4, 0.25, 0.5), Estimate(0.8, 0.5, 1.0))
    assert halved == Estimate(pytest.approx(-50), pytest.approx(-75), pytest.approx(0))
    assert increase(Estimate(0.5, 0.25, 1), Estimate(2, 1.5, 3)) == Estimate(-1.5, -2.75, -0.5)
    assert Estimate(1, low=0.5).interval is Estimate(1, high=2).interval is None
    for one, other in ((Estimate(11), before), (now, Estimate(10))):
        assert growth_percent(one, other).interval is None
        assert increase(one, other).interval is None
        assert increase(one, other).value == 1
    assert growth_percent(now, Estimate(10, 0.0, 10.4)).high == math.inf


def test_identical_outputs_have_lost_nothing() -> None:
    assert lost_db(Estimate(math.inf), Estimate(math.inf)).value == 0
    assert lost_db(Estimate(30), Estimate(math.inf)).value == math.inf
    assert lost_db(Estimate(30), Estimate(32)).value == 2
