"""Statistics of latencies: pure functions of raw times."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np

from edgeq.device_runners.agent import median_interval
from edgeq.values import Latency, Ratio

_RESAMPLES = 2000
_MIN_ROUNDS = 6  # below this, resampling rounds says nothing about their spread


def percentile(ordered: Sequence[float], share: float) -> float:
    """Linear interpolation between the closest ranks (Hyndman and Fan 1996, type 7).

    Args:
        ordered: at least one number, ascending.
        share: 0 to 1.
    """
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def summarize(times_ms: Sequence[float]) -> Latency:
    """All statistics of one model's measured inferences.

    Args:
        times_ms: at least one.
    """
    ordered = sorted(times_ms)
    low, median, high = median_interval(ordered)
    return Latency(
        count=len(ordered),
        min_ms=ordered[0],
        p50_ms=median,
        p50_low_ms=low,
        p50_high_ms=high,
        p90_ms=percentile(ordered, 0.90),
        p99_ms=percentile(ordered, 0.99),
        mean_ms=statistics.fmean(ordered),
        stddev_ms=statistics.stdev(ordered) if len(ordered) > 1 else 0.0,
        max_ms=ordered[-1],
        p5_ms=percentile(ordered, 0.05),
        p95_ms=percentile(ordered, 0.95),
    )


def ratio_of_medians(
    baseline: Sequence[Sequence[float]], candidate: Sequence[Sequence[float]]
) -> Ratio:
    """How many times faster the candidate is, with a 95 % interval.

    Rounds are measured in turns, so whatever slows the machine for a while slows both: each
    round gives one ratio of medians, the value is the median of those, and the interval comes
    from a percentile bootstrap over rounds (Efron 1979) with a fixed seed. Below six rounds, it
    is the ratio of the two medians, and of the far ends of their intervals, which is wider.

    Args:
        baseline: times per round; the unit cancels.
        candidate: times of the same rounds; rounds beyond the shorter of the two are left out.
    """
    if min(len(baseline), len(candidate)) < _MIN_ROUNDS:
        ours, theirs = (
            median_interval([time for times in rounds for time in times])
            for rounds in (baseline, candidate)
        )
        return Ratio(ours[1] / theirs[1], ours[0] / theirs[2], ours[2] / theirs[0])
    ratios = np.array(
        [
            statistics.median(one) / statistics.median(other)
            for one, other in zip(baseline, candidate, strict=False)
        ]
    )
    random = np.random.default_rng(0)
    drawn = random.integers(0, len(ratios), (_RESAMPLES, len(ratios)))
    medians = np.median(ratios[drawn], axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return Ratio(float(np.median(ratios)), float(low), float(high))


def direction(ratio: Ratio) -> int:
    """1 for a speed-up, -1 for a slow-down, 0 where the interval shows neither in two decimals."""
    if round(ratio.low, 2) <= 1 <= round(ratio.high, 2):
        return 0
    return 1 if ratio.value > 1 else -1
