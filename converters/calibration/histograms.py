"""From the calibration pass's fine histograms to small ones that a record can carry.

The pass counts in bins that are 1.6 % wide (`statistics.bin_numbers`), 8,192 of them for each
tensor. A reader wants to see the shape, and where the chosen range cuts it: some fifty equal bins
between the extremes are enough.
"""

from __future__ import annotations

import numpy as np

from edgeq.converters.calibration.statistics import (
    Counts,
    Floats,
    Statistics,
    ascending_edges,
    in_ascending_order,
)
from edgeq.values import Histogram, Ranges

BINS = 48
_EDGES = ascending_edges()
# Tensors whose histograms a record carries: 100 kB of JSON.
MOST = 128


def compact(statistics: Statistics, ranges: Ranges) -> tuple[Histogram, ...]:
    """Histograms of the tensors that the ranges cut most, in the tensors' order.

    Args:
        ranges: of the same tensors.

    Returns:
        At most `MOST`; none when the pass kept extremes only.
    """
    if statistics.histogram is None:
        return ()
    places = {index: place for place, index in enumerate(statistics.indices)}
    found = []
    for position, item in enumerate(ranges.tensors):
        place = places.get(item.index)
        if place is None:
            continue
        row = in_ascending_order(statistics.histogram[place])
        if not row.any():
            continue
        low, high = float(statistics.minimum[place]), float(statistics.maximum[place])
        counts = _rebin(row, low, high)
        cut = 1.0 - _between(row, item.minimum, item.maximum)
        found.append((-cut, position, Histogram(item.index, low, high, counts)))
    chosen = sorted(found, key=lambda entry: entry[:2])[:MOST]
    return tuple(item for _, _, item in sorted(chosen, key=lambda entry: entry[1]))


def _rebin(row: Counts, low: float, high: float) -> tuple[int, ...]:
    """Counts in equal bins; a fine bin across a border is shared out."""
    if low >= high:
        return (int(row.sum()),)
    edges = np.linspace(low, high, BINS + 1)
    running = _running(row, edges)
    # Everything lies between the extremes, though a fine bin may reach beyond them.
    running[0], running[-1] = 0, row.sum()
    return tuple(int(count) for count in np.diff(np.rint(running)))


def _between(row: Counts, low: float, high: float) -> float:
    below, up_to = _running(row, np.array([low, high]))
    return float((up_to - below) / row.sum())


def _running(row: Counts, edges: Floats) -> Floats:
    """How many values lie below each edge."""
    total = np.concatenate([[0.0], np.cumsum(row)])
    return np.asarray(np.interp(edges, _EDGES, total))
