"""From what calibration saw of each tensor to its range: min-max, mean, percentile, MSE, entropy.

The pass over the samples keeps, for every tensor, its extremes, exact sums of each sample's
extremes, and a histogram whose bins are the leading bits of the float32 format. All three merge
exactly, so neither the order of the samples nor the number of lanes changes a result, and memory
does not grow with the number of samples.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import DataError, unknown_name
from edgeq.values import Ranges, TensorRange

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

# ---------------------------------------------------------------- histograms

# A bin is a sign, one of 64 exponents from 2^-32 on, and 6 bits of mantissa: 1.6 % wide. Smaller
# values count as zero, larger ones go to the last bin.
_MANTISSA_BITS = 6
_EXPONENTS = 64
_LOWEST_EXPONENT = -32
HALF_BINS = _EXPONENTS << _MANTISSA_BITS
BINS = 2 * HALF_BINS
_DROPPED_BITS = 23 - _MANTISSA_BITS
_FIRST = (127 + _LOWEST_EXPONENT) << _MANTISSA_BITS


def bin_numbers(values: NDArray[np.float32]) -> NDArray[np.int32]:
    """The histogram bin of each value.

    Args:
        values: one-dimensional, contiguous.

    Returns:
        Bin numbers from 0 to `BINS` - 1; those of negative values begin at `HALF_BINS`.
    """
    bits = values.view(np.int32)
    # In place and without `np.clip` and `np.where`: a fifth of the time.
    magnitude = bits & 0x7FFFFFFF
    magnitude >>= _DROPPED_BITS
    magnitude -= _FIRST
    np.maximum(magnitude, 0, out=magnitude)
    np.minimum(magnitude, HALF_BINS - 1, out=magnitude)
    magnitude += (bits >> 31) & HALF_BINS
    return magnitude


def _bin_centres() -> Floats:
    """The middle of each bin in real units, in the bins' own order."""
    steps = np.arange(HALF_BINS)
    exponent = (steps >> _MANTISSA_BITS) + _LOWEST_EXPONENT
    fraction = (steps & ((1 << _MANTISSA_BITS) - 1)) + 0.5
    positive = np.ldexp(1.0 + fraction / (1 << _MANTISSA_BITS), exponent)
    positive[0] = 0.0
    return np.concatenate([positive, -positive])


_CENTRES = _bin_centres()
_ASCENDING = np.argsort(_CENTRES, kind="stable")


def in_ascending_order(row: Counts) -> Counts:
    """A tensor's counts by rising value."""
    return np.concatenate([row[: HALF_BINS - 1 : -1], row[:HALF_BINS]])


def ascending_edges() -> Floats:
    """The borders of the bins of `in_ascending_order`, one more than there are bins."""
    steps = np.arange(1, HALF_BINS + 1)
    exponent = (steps >> _MANTISSA_BITS) + _LOWEST_EXPONENT
    fraction = (steps & ((1 << _MANTISSA_BITS) - 1)) / (1 << _MANTISSA_BITS)
    positive = np.ldexp(1.0 + fraction, exponent)
    return np.concatenate([-positive[::-1], [0.0], positive])


class ExactSum:
    """Sums of float32 values that do not depend on the order of the terms.

    The integer mantissas are added up apart for each exponent, and rounded once at the end.

    Args:
        count: number of sums kept side by side.
    """

    def __init__(self, count: int):
        self.mantissas = np.zeros((278, count), np.int64)

    def add(self, values: NDArray[np.float32]) -> None:
        """Add one finite value to each sum."""
        fraction, exponent = np.frexp(values.astype(np.float64))
        place = exponent + 149, np.arange(len(values))
        self.mantissas[place] += np.ldexp(fraction, 24).astype(np.int64)

    def totals(self) -> Floats:
        """The sums, correctly rounded."""
        powers = np.arange(278) - 149 - 24
        return np.array(
            [math.fsum(np.ldexp(column.astype(np.float64), powers)) for column in self.mantissas.T]
        )


# ---------------------------------------------------------------- what the pass gives


@dataclass(frozen=True)
class Statistics:
    """Figures of the T observed tensors over all calibration samples.

    Attributes:
        sample_count: inferences run.
        indices: tensor indices in the float flatbuffer.
        names: theirs.
        minimum, maximum: [T] over all samples, real units.
        mean_minimum, mean_maximum: [T] means of each sample's extremes.
        histogram: [T, BINS] counts, see `bin_numbers`; of large tensors a regular subset of
            values. None when only extremes were collected.
        channels: tensor index to [2, C]: minimum and maximum of each channel (last axis).
        needed: tensor index to the range that the softmax behind it can tell apart.
    """

    sample_count: int
    indices: tuple[int, ...]
    names: tuple[str, ...]
    minimum: Floats
    maximum: Floats
    mean_minimum: Floats
    mean_maximum: Floats
    histogram: Counts | None
    channels: Mapping[int, NDArray[np.float32]]
    needed: Mapping[int, tuple[float, float]]


@dataclass(frozen=True)
class _Seen:
    """One tensor: extremes, mean extremes, and its histogram in ascending order of values."""

    low: float
    high: float
    mean_low: float
    mean_high: float
    values: Floats
    counts: Floats


# ---------------------------------------------------------------- the statistics


def choose_ranges(statistics: Statistics, statistic: str) -> Ranges:
    """The range of every tensor by one statistic.

    Args:
        statistic: "minmax", "mean-minmax", "percentile:P", "mse" or "entropy".

    Returns:
        Ranges that lie within the extremes.

    Raises:
        UsageError: an unknown statistic.
        DataError: a percentile so high that no tensor has a value beyond it.
    """
    rule = _RULES.get(statistic) or _percentile(parse_percentile(statistic), statistics, statistic)
    tensors = []
    for place, (index, name) in enumerate(zip(statistics.indices, statistics.names, strict=True)):
        seen = _seen(statistics, place)
        low, high = (seen.low, seen.high) if seen.low == seen.high else rule(seen)
        tensors.append(TensorRange(index, name, max(low, seen.low), min(high, seen.high)))
    return make_ranges(statistic, statistics.sample_count, tuple(tensors))


def make_ranges(statistic: str, count: int, tensors: tuple[TensorRange, ...]) -> Ranges:
    """Ranges with their digest."""
    edges = np.array([(item.minimum, item.maximum) for item in tensors], np.float32)
    return Ranges("edgeq", statistic, count, tensors, hashlib.sha256(edges.tobytes()).hexdigest())


def parse_percentile(text: str) -> float:
    """P of "percentile:P".

    Raises:
        UsageError: an unknown statistic, or P is not above 50 and below 100.
    """
    kind, _, number = text.partition(":")
    try:
        share = float(number) if kind == "percentile" else math.nan
    except ValueError:
        share = math.nan
    if not 50 < share < 100:
        use = (
            f"auto, {', '.join(_RULES)} or percentile:P with P between 50 and 100, such as "
            "percentile:99.99"
        )
        raise unknown_name("statistic", text, ("auto", *_RULES, "percentile:99.99"), use=use)
    return share


def check_statistic(text: str) -> None:
    """Refuse a statistic that does not exist.

    Raises:
        UsageError: listing those that do.
    """
    if text != "auto" and text not in _RULES:
        parse_percentile(text)


def _seen(statistics: Statistics, place: int) -> _Seen:
    values, counts = np.empty(0), np.empty(0)
    if statistics.histogram is not None:
        row = statistics.histogram[place][_ASCENDING]
        filled = np.flatnonzero(row)
        values, counts = _CENTRES[_ASCENDING[filled]], row[filled].astype(np.float64)
    return _Seen(
        float(statistics.minimum[place]),
        float(statistics.maximum[place]),
        float(statistics.mean_minimum[place]),
        float(statistics.mean_maximum[place]),
        values,
        counts,
    )


def mean_square(statistics: Statistics, index: int) -> float | None:
    """Mean square of a tensor's values by its histogram; None without one.

    Args:
        index: of an observed tensor.
    """
    seen = _seen(statistics, statistics.indices.index(index))
    total = float(seen.counts.sum())
    return float(seen.counts @ seen.values**2) / total if total else None


def _percentile(
    share: float, statistics: Statistics, text: str
) -> Callable[[_Seen], tuple[float, float]]:
    """Keep the central `share` per cent of the values, half of the rest cut at either end."""
    assert statistics.histogram is not None
    tail = (100.0 - share) / 200.0
    most = int(statistics.histogram.sum(axis=1).max(initial=0))
    if most * tail < 1:
        raise DataError(
            f"{text} cuts nothing with {statistics.sample_count} samples: the largest tensor has "
            f"only {most} values.",
            hint="Pass more samples, or use --statistic minmax or a lower percentile.",
        )

    def rule(seen: _Seen) -> tuple[float, float]:
        running = np.cumsum(seen.counts)
        total = running[-1]
        low = seen.values[np.searchsorted(running, total * tail, side="right")]
        high = seen.values[np.searchsorted(running, total * (1 - tail), side="left")]
        # Fewer than one value beyond it: the extreme itself.
        return (low if total * tail >= 1 else seen.low), (high if total * tail >= 1 else seen.high)

    return rule


_STEPS = 255  # of an 8-bit range


def _mse(seen: _Seen) -> tuple[float, float]:
    """The range with the least expected squared error of 8-bit quantization.

    Inside the range the error is uniform, a twelfth of a squared step; outside it is the
    distance to the nearer end. Exact zeros cost nothing: zero is always a level.
    """
    lows, highs = _edges(seen, -1), _edges(seen, 1)
    moving = np.where(seen.values == 0, 0.0, seen.counts)
    below = np.array([_excess(seen, moving, edge, -1) for edge in lows])
    above = np.array([_excess(seen, moving, edge, 1) for edge in highs])
    running = np.concatenate([[0.0], np.cumsum(moving)])
    inside = (
        running[np.searchsorted(seen.values, highs, side="right")][None, :]
        - running[np.searchsorted(seen.values, lows, side="left")][:, None]
    )
    step = (highs[None, :] - lows[:, None]) / _STEPS
    error = below[:, None] + above[None, :] + inside * step**2 / 12
    best = np.unravel_index(int(np.argmin(error)), error.shape)
    return float(lows[best[0]]), float(highs[best[1]])


def _edges(seen: _Seen, side: int) -> Floats:
    """Candidates for one end: the extreme, then every bin towards a quarter of it."""
    extreme = seen.low if side < 0 else seen.high
    if extreme * side <= 0:
        return np.array([0.0])
    reach = seen.values * side
    inner = seen.values[(reach > 0.25 * extreme * side) & (reach < extreme * side)]
    return np.concatenate([[extreme], inner])


def _excess(seen: _Seen, counts: Floats, edge: float, side: int) -> float:
    beyond = np.maximum((seen.values - edge) * side, 0.0)
    return float(np.sum(counts * beyond**2))


_LINEAR_BINS = 2048
_FEWEST_BINS = 128


def _entropy(seen: _Seen) -> tuple[float, float]:
    """The range that loses least information, by Kullback-Leibler divergence.

    Both ends are drawn in by the same factor, as in S. Migacz, "8-bit Inference with TensorRT"
    (GTC 2017), there for a symmetric range: outliers join the outermost bin of the reference, the
    kept bins are merged into 255 levels, and the factor with the least divergence wins.
    """
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    width = (high - low) / _LINEAR_BINS
    is_zero = seen.values == 0  # the pile of a ReLU's zeros says nothing about the range
    linear, _ = np.histogram(
        seen.values[~is_zero], _LINEAR_BINS, (low, high), weights=seen.counts[~is_zero]
    )
    if linear.sum() == 0:
        return seen.low, seen.high
    best, least = 1.0, math.inf
    for kept in range(_LINEAR_BINS, _FEWEST_BINS - 1, -16):
        factor = kept / _LINEAR_BINS
        first = round((low * factor - low) / width)
        divergence = _divergence(linear, first, first + kept)
        if divergence < least:
            best, least = factor, divergence
    return low * best, high * best


def _divergence(linear: Floats, first: int, end: int) -> float:
    reference = linear[first:end].astype(np.float64).copy()
    candidate = reference.copy()
    reference[0] += linear[:first].sum()
    reference[-1] += linear[end:].sum()
    level = np.arange(len(candidate)) * _STEPS // len(candidate)
    filled = candidate > 0
    mass = np.bincount(level, candidate, _STEPS)
    share = np.bincount(level, filled, _STEPS)
    candidate = np.where(filled, mass[level] / np.maximum(share[level], 1), 0.0)
    p = reference / reference.sum()
    q = candidate / max(candidate.sum(), 1e-300)
    both = (p > 0) & (q > 0)
    lost = p[(p > 0) & (q == 0)].sum()  # mass that has no level: a large, finite price
    return float(np.sum(p[both] * np.log(p[both] / q[both])) + lost * 16)


_RULES: dict[str, Callable[[_Seen], tuple[float, float]]] = {
    "minmax": lambda seen: (seen.low, seen.high),
    "mean-minmax": lambda seen: (seen.mean_low, seen.mean_high),
    "mse": _mse,
    "entropy": _entropy,
}
