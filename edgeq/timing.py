"""Statistics of latencies, and how far they are known: pure functions, the only place for it.

Single inferences of one process are not independent measurements: its place in memory, and the
core that it began on, shift all of them in the same way. So a latency is measured in several
rounds, each in a fresh process, and its interval is made from one figure for each round. The
reasons, and the sources of the two constants, are in docs/decisions/0014.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from edgeq.device_runners.on_board.agent.statistics import median_interval
from edgeq.values import BenchResult, BenchRun, Interval, Latency, Ratio

# How far the median of one process may lie from that of many, either way.
ONE_PROCESS = 0.10
# How far two medians that were measured hours apart may differ, beyond their intervals.
BETWEEN_RUNS = 0.02

# Shares of the inferences that bound another run's p90.
_QUIET, _BUSY = (0.85, 0.95), (0.5, 0.99)
_Z95 = 1.959964
# Two-sided 95 % quantiles of Student's t for 2 to 5 values.
_T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}


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


def quantile_interval(times: Sequence[float], share: float) -> Interval:
    """A quantile of independent values with its 95 % interval, from order statistics.

    The number of values below the true quantile is binomial with p = share, so values of certain
    ranks enclose it (Conover, "Practical Nonparametric Statistics", section 3.2). The ranks are
    from the normal approximation with continuity correction, as in `median_interval`, which
    this is for a share of one half. With too few values for an upper end there is none: infinity.

    Args:
        times: at least one, any order, zero or more.
        share: between 0 and 1.
    """
    ordered = sorted(times)
    count = len(ordered)
    half = _Z95 * math.sqrt(count * share * (1 - share))
    low = math.floor(count * share + 0.5 - half)
    high = math.ceil(count * share + 0.5 + half)
    return Interval(
        percentile(ordered, share),
        ordered[low - 1] if low >= 1 else 0.0,
        ordered[high - 1] if high <= count else math.inf,
    )


def middle_of_rounds(figures: Sequence[float]) -> Interval:
    """The median of one positive figure for each round, with a 95 % interval.

    With six rounds or more, the interval is from order statistics, which assume no distribution:
    one process in twenty is a few per cent slower than the others, and must not widen the interval
    as it widens a standard deviation. Two to five figures have no such interval of 95 %; theirs is
    Student's t of their logarithms. One figure has `ONE_PROCESS`.

    Args:
        figures: at least one.
    """
    count, value = len(figures), statistics.median(figures)
    if count == 1 or min(figures) <= 0:  # such a clock is too coarse to show a spread
        return Interval(value, value / (1 + ONE_PROCESS), value * (1 + ONE_PROCESS))
    if count not in _T95:
        low, value, high = median_interval(figures)
        return Interval(value, low, high)
    logarithms = [math.log(figure) for figure in figures]
    half = _T95[count] * statistics.stdev(logarithms) / math.sqrt(count)
    centre = statistics.fmean(logarithms)
    return Interval(value, math.exp(centre - half), math.exp(centre + half))


def summarize(rounds: Sequence[Sequence[float]]) -> Latency:
    """All statistics of one model's measured inferences.

    p50 and p90 are the medians of the rounds' p50 and p90; other figures use all inferences.

    Args:
        rounds: at least one inference of each.
    """
    ordered = sorted(time for times in rounds for time in times)
    p50 = middle_of_rounds([statistics.median(times) for times in rounds])
    p90 = middle_of_rounds([percentile(sorted(times), 0.90) for times in rounds])
    return Latency(
        count=len(ordered),
        min_ms=ordered[0],
        p50_ms=p50.value,
        p50_low_ms=p50.low,
        p50_high_ms=p50.high,
        p90_ms=p90.value,
        p99_ms=percentile(ordered, 0.99),
        mean_ms=statistics.fmean(ordered),
        stddev_ms=statistics.stdev(ordered) if len(ordered) > 1 else 0.0,
        max_ms=ordered[-1],
        p5_ms=percentile(ordered, 0.05),
        p95_ms=percentile(ordered, 0.95),
        p90_low_ms=p90.low,
        p90_high_ms=p90.high,
    )


def ratio_of_rounds(first: Sequence[float], second: Sequence[float]) -> Ratio:
    """How many times as large the first figure is, with a 95 % interval.

    Models take turns within a round, so whatever slows the machine for a while slows both: each
    round gives one ratio.

    Args:
        first: a figure for each round; the unit cancels.
        second: of the same rounds.
    """
    pairs = list(zip(first, second, strict=True))
    found = middle_of_rounds([one / other for one, other in pairs])
    return Ratio(found.value, found.low, found.high)


# ---------------------------------------------------------------- for records, old ones too


def medians_of_rounds(run: BenchRun) -> list[float]:
    """In ms; empty if the program printed no single times, or a record has no rounds."""
    return [own.p50_ms for own in run.rounds if own.p50_ms is not None]


def p50_interval(run: BenchRun) -> Interval | None:
    """A run's p50 with its 95 % interval; None where the record has none."""
    latency = run.latency
    return _known(run, latency.p50_ms, latency.p50_low_ms, latency.p50_high_ms)


def p90_interval(run: BenchRun) -> Interval | None:
    """A run's p90 with its 95 % interval; None where the record has none."""
    latency, low, high = run.latency, run.latency.p90_low_ms, run.latency.p90_high_ms
    times = [time for times in run.latencies_ms for time in times]
    if low is None and times:
        known = quantile_interval(times, 0.9)
        low, high = known.low, known.high
    return _known(run, latency.p90_ms, low, high)


def p90_of_another_run(run: BenchRun) -> Interval | None:
    """A run's p90, and where that of another run of the same file may lie; None without a p90.

    Other programs delay some inferences; of one in ten, p90 tells whether it was just more or just
    fewer. Their share changes from run to run, by five points on a quiet machine; on a busy one it
    may be any.
    """
    known = p90_interval(run)
    ordered = sorted(time for times in run.latencies_ms for time in times)
    if known is None or not ordered:
        return known
    shares = _QUIET if run.validity == "valid" else _BUSY
    low, high = (percentile(ordered, share) for share in shares)
    return Interval(known.value, min(known.low, low), max(known.high, high))


def speedup_interval(result: BenchResult, place: int) -> Ratio:
    """A speed-up of a result with its 95 % interval."""
    ratio = result.speedups[place]
    found = _known(result.runs[place + 1], ratio.value, ratio.low, ratio.high)
    assert found is not None
    return Ratio(found.value, found.low, found.high)


def _known(
    run: BenchRun, value: float | None, low: float | None, high: float | None
) -> Interval | None:
    """Wider where one process alone was measured, as edgeq 0.1 did."""
    if value is None:
        return None
    ends = value if low is None else low, value if high is None else high
    if run.rounds:
        return Interval(value, *ends)
    return Interval(value, ends[0] / (1 + ONE_PROCESS), ends[1] * (1 + ONE_PROCESS))


def show_ends(ratio: Ratio) -> tuple[str, str, str]:
    """A ratio and the ends of its interval, with two decimals or as many as tell the ends apart."""

    def shown(value: float, digits: int) -> str:
        return f"{value:.{digits}f}" if value >= 0.1 else f"{value:.{digits}g}"

    enough = [d for d in (2, 3, 4) if shown(ratio.low, d) != shown(ratio.high, d)]
    digits = enough[0] if enough else 2
    return shown(ratio.value, digits), shown(ratio.low, digits), shown(ratio.high, digits)


def direction(ratio: Ratio) -> int:
    """1 for a speed-up, -1 for a slow-down, 0 where the interval shows neither in two decimals."""
    if round(ratio.low, 2) <= 1 <= round(ratio.high, 2):
        return 0
    return 1 if ratio.value > 1 else -1
