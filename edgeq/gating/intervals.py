"""Figures with intervals compared with limits: pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeq.gating.policy import PROVEN
from edgeq.timing import BETWEEN_RUNS


@dataclass(frozen=True)
class Estimate:
    """A figure; `low` and `high` are its 95 % interval, None without one."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends, None without them."""
        return None if self.low is None or self.high is None else (self.low, self.high)


def judge_estimate(
    figure: Estimate, limit: float, *, is_upper: bool, proof: str
) -> tuple[str, str]:
    """Compare a figure with a limit.

    Both ends of a 95 % interval count, so a figure is wrongly passed as proven, or wrongly
    failed, in at most 2.5 % of cases each.

    Args:
        is_upper: whether the limit is the most that is allowed, or the least.
        proof: "proven": the whole interval must be within the limit; "not-disproven": a part of it.

    Returns:
        "pass", "fail" or "cannot-tell", and why.
    """
    sign = 1 if is_upper else -1
    ends = figure.interval
    nearest, farthest = sorted(sign * end for end in ends or (figure.value, figure.value))
    whole = "the whole interval is " if ends else ""
    if farthest <= sign * limit:
        return "pass", f"{whole}within the limit"
    if nearest > sign * limit:
        return "fail", f"{whole}beyond the limit"
    if proof == PROVEN:
        return "cannot-tell", "the interval reaches from within the limit to beyond it"
    return "pass", "not proven to be beyond the limit"


def growth_percent(now: Estimate, before: Estimate) -> Estimate:
    """The growth of a positive figure in per cent.

    The interval is the ratio of the far ends of both intervals: where both hold the true values,
    it holds their ratio. That is wider than 95 % requires (compare Zou and Donner, "Construction
    of confidence limits about effect measures", Statistics in Medicine, 2008, whose limits lie
    inside), and it assumes nothing about how the two depend on each other.
    """
    value = 100 * (now.value / before.value - 1)
    if now.interval is None or before.interval is None:
        return Estimate(value)
    (low, high), (low_before, high_before) = now.interval, before.interval
    return Estimate(
        value,
        100 * (low / high_before - 1),
        100 * (high / low_before - 1) if low_before > 0 else math.inf,
    )


def growth_since_percent(now: Estimate, before: Estimate) -> Estimate:
    """The growth of a latency in per cent since another run, which may be hours ago.

    Two runs of one file differ by more than their rounds show: the machine itself has changed.
    """
    found = growth_percent(now, before)
    if found.interval is None:
        return found
    low, high = (1 + end / 100 for end in found.interval)
    change = 1 + BETWEEN_RUNS
    return Estimate(found.value, 100 * (low / change - 1), 100 * (high * change - 1))


def increase(now: Estimate, before: Estimate) -> Estimate:
    """The growth of a figure, with the far ends of both intervals as in `growth_percent`.

    For normal estimates that holds 95 % whatever their correlation: the standard deviation of a
    difference is at most the sum of the two.
    """
    value = now.value - before.value
    if now.interval is None or before.interval is None:
        return Estimate(value)
    (low, high), (low_before, high_before) = now.interval, before.interval
    return Estimate(value, low - high_before, high - low_before)


def lost_db(now: Estimate, before: Estimate) -> Estimate:
    """The loss of SQNR; two infinities have no difference."""
    return Estimate(0.0 if now.value == before.value else before.value - now.value)
