"""The interval of a median: the agent measures until it is narrow, edgeq reports it."""

from __future__ import annotations

import math
from collections.abc import Sequence

MIN_RUNS = 30  # below this an interval of the median says little
TIGHT = 0.01  # half-width of the interval, relative to the median, that is enough


def median_interval(times: Sequence[float]) -> tuple[float, float, float]:
    """95 % interval of the median from order statistics; assumes no distribution.

    The number of values below the true median is binomial with p = 1/2, so the values of the
    ranks l and n + 1 - l enclose it with P(l <= B < n + 1 - l) (Conover, "Practical Nonparametric
    Statistics", section 3.2). l is the binomial's 2.5 % quantile in the normal approximation with
    continuity correction: the exact rank or, for 1 % of all n, the next wider one.

    Args:
        times: at least one number, in any order.

    Returns:
        (low, median, high); with fewer than six numbers no interval has 95 %, and low and high are
        the extremes.
    """
    ordered = sorted(times)
    count = len(ordered)
    middle = count // 2
    median = ordered[middle] if count % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    rank = max(1, math.floor((count + 1 - 1.959964 * math.sqrt(count)) / 2))
    return ordered[rank - 1], median, ordered[count - rank]


def is_tight(times: Sequence[float]) -> bool:
    """Whether the median is known well enough to stop."""
    low, median, high = median_interval(times)
    return len(times) >= MIN_RUNS and max(high - median, median - low) <= TIGHT * median
