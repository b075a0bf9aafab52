"""Intervals and what they prove."""

from __future__ import annotations

import math

import pytest

from edgeq.gating.intervals import (
    Estimate,
    growth_percent,
    growth_since_percent,
    increase,
    judge_estimate,
    lost_db,
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
    assert judge_estimate(figure, 2.0, is_upper=is_upper, proof="proven") == proven
    assert judge_estimate(figure, 2.0, is_upper=is_upper, proof="not-disproven") == not_disproven


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


def test_two_runs_apart_differ_by_2_per_cent_more() -> None:
    now, before = Estimate(11, 10.5, 11.5), Estimate(10, 9.5, 10.4)
    found = growth_since_percent(now, before)
    assert (found.value, found.low, found.high) == pytest.approx(
        (10, 100 * (10.5 / 10.4 / 1.02 - 1), 100 * (11.5 / 9.5 * 1.02 - 1))
    )
    assert growth_since_percent(Estimate(11), before).interval is None


def test_identical_outputs_have_lost_nothing() -> None:
    assert lost_db(Estimate(math.inf), Estimate(math.inf)).value == 0
    assert lost_db(Estimate(30), Estimate(math.inf)).value == math.inf
    assert lost_db(Estimate(30), Estimate(32)).value == 2
