"""From the calibration pass's fine histograms to small ones that a record can carry.

The pass counts in bins that are 1.6 % wide (`statistics.bin_numbers`), 8,192 of them for each
tensor. A reader needs the shape, and where the chosen range cuts it: about fifty equal bins between
the extremes are enough.
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
        below, up_to = _running(row, np.array([item.minimum, item.maximum]))
        cut = 1.0 - float((up_to - below) / row.sum())
        counts: tuple[int, ...] = (int(row.sum()),)
        if low < high:
            running = _running(row, np.linspace(low, high, BINS + 1))
            # All values are between the extremes, though a fine bin may reach beyond them.
            running[0], running[-1] = 0, row.sum()
            counts = tuple(int(count) for count in np.diff(np.rint(running)))
        found.append((-cut, position, Histogram(item.index, low, high, counts)))
    chosen = sorted(found, key=lambda entry: entry[:2])[:MOST]
    return tuple(item for _, _, item in sorted(chosen, key=lambda entry: entry[1]))


def _running(row: Counts, edges: Floats) -> Floats:
    """How many values are below each edge; a fine bin across an edge counts in proportion."""
    total = np.concatenate([[0.0], np.cumsum(row)])
    return np.asarray(np.interp(edges, _EDGES, total))
