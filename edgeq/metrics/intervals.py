"""95 % intervals of metrics, alone and in pairs: formulas for shares of samples, or a bootstrap."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgeq.metrics.classification import TopK
from edgeq.metrics.metric import WeightedMetric
from edgeq.values import Interval, PairedCounts

_Z95 = 1.959964  # two-sided 95 % quantile of the normal distribution
_DRAWS = 1000
# Numbers of a block of weights: draws times samples.
_MOST_WEIGHTS = 4_000_000


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """95 % interval of a share in per cent (Wilson 1927)."""
    share, z2 = right / count, _Z95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    spread = math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) * _Z95
    half = spread / (1 + z2 / count)
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def count_pairs(baseline: NDArray[np.bool_], candidate: NDArray[np.bool_]) -> PairedCounts:
    """Count samples by which model classified them correctly; both arrays [samples]."""
    return PairedCounts(
        both_right=int(np.sum(baseline & candidate)),
        only_baseline=int(np.sum(baseline & ~candidate)),
        only_candidate=int(np.sum(~baseline & candidate)),
        both_wrong=int(np.sum(~baseline & ~candidate)),
    )


def drop_interval(pairs: PairedCounts) -> Interval:
    """Return the accuracy drop in percentage points with its 95 % interval for paired samples.

    The interval is the adjusted Wald one of Agresti and Min, "Simple improved confidence
    intervals for comparing matched proportions" (Statistics in Medicine, 2005): half a sample
    is added to each cell of the two-by-two table.
    """
    lost, won = pairs.only_baseline, pairs.only_candidate
    count = pairs.both_right + pairs.both_wrong + lost + won
    total = count + 2
    shift = (lost - won) / total
    spread = math.sqrt(lost + won + 1 - (lost - won) ** 2 / total) / total
    return Interval(
        100.0 * (lost - won) / count,
        100.0 * max(-1.0, shift - _Z95 * spread),
        100.0 * min(1.0, shift + _Z95 * spread),
    )


def interval_of(metric: WeightedMetric) -> Interval:
    """Return a metric with its interval: Wilson's for a share of samples, otherwise a bootstrap.

    The bootstrap draws samples with replacement (Efron 1979) and takes the percentiles 2.5 and 97.5
    of 1,000 draws; equal samples give an equal interval.
    """
    value = metric.value().value
    if isinstance(metric, TopK):
        return Interval(value, *wilson_interval(round(value * metric.count / 100), metric.count))
    return _percentiles(value, metric.drawn(partial(_draw, metric.count)), None)


def loss_interval(baseline: WeightedMetric, candidate: WeightedMetric) -> Interval:
    """Return how much worse the candidate is than the baseline, with its paired interval.

    Positive is worse whatever the metric's direction. For shares of samples see `drop_interval`;
    other metrics draw the same samples for both models. Where every draw gives the same loss, the
    interval covers 3.69 of the samples: if no sample of n differs, a share of up to 3.69 / n
    may, with 95 % confidence (Hanley and Lippman-Hand 1983, two-sided).

    Args:
        baseline, candidate: the same metric over the same samples in the same order.
    """
    if isinstance(baseline, TopK) and isinstance(candidate, TopK):
        return drop_interval(count_pairs(baseline.kept()[0], candidate.kept()[0]))
    sign = 1.0 if baseline.is_higher_better else -1.0
    ours, theirs = (of.drawn(partial(_draw, of.count)) for of in (baseline, candidate))
    value = sign * (baseline.value().value - candidate.value().value)
    unseen = 100.0 * min(1.0, 3.69 / baseline.count) if baseline.unit == "percent" else None
    return _percentiles(value, sign * (ours - theirs), unseen)


def _draw(count: int) -> Iterator[NDArray[np.float64]]:
    """Yield how often each sample is drawn, in blocks [draws, samples]."""
    random = np.random.default_rng(0)
    step = max(1, _MOST_WEIGHTS // count)
    for start in range(0, _DRAWS, step):
        draws = min(step, _DRAWS - start)
        chosen = random.integers(count, size=(draws, count)) + np.arange(draws)[:, None] * count
        weights = np.bincount(chosen.reshape(-1), minlength=draws * count)
        yield weights.reshape(draws, count).astype(np.float64)


def _percentiles(value: float, drawn: NDArray[np.float64], unseen: float | None) -> Interval:
    """Return the middle 95 % of the draws for which the metric is defined."""
    known = drawn[~np.isnan(drawn)]
    low, high = (float(edge) for edge in np.percentile(known, (2.5, 97.5)))
    if low == high and unseen is not None:
        low, high = value - unseen, value + unseen
    return Interval(value, min(low, value), max(high, value))
