"""Measure the quality of an output part by part, so that a large part cannot hide a small one.

The SQNR of a part is 10 log10(S / E): E is the sum of squared errors, S the sum of squared
deviations of the float values from the mean of their column. A constant shift counts as an error,
and an offset of any size is not signal. An output that is constant at that mean has 0 dB.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.accuracy.columns import Columns, plain_columns
from edgeq.tflite.quantmath import difference, sqnr_db
from edgeq.values import LostColumn, PartQuality

# A part or a column below this is lost (docs/decisions/0013).
LOST_DB = 10.0
# A column is named if it is worse than the rest of its part by this many dB.
_WORSE = 10.0
# The spread of fewer values has an error of more than a quarter.
FEW_VALUES = 10
# Columns whose spreads differ by more than this are separate parts: 8 bits less 3 are 5.
_APART = 8.0
# A share of columns below this that vary little are unused features, not a separate part.
_SHARE = 1 / 16
# With more values, sums are kept per column only.
_MOST_CELLS = 1 << 20
# Kernels differ by a few units in the last place of float32, relative to the largest value.
_CONSTANT = 5e-7
_MOST_NAMED = 20

Sums = NDArray[np.float64]


class PartMeter:
    """Adds up the samples of one output, in bounded memory.

    Args:
        name: name of the output.
        columns: from `columns.find_columns`; None for columns along the last axis.
    """

    def __init__(self, name: str, columns: Columns | None):
        self._name = name
        self._columns = columns
        self._sums: _Sums | None = None

    def add(self, ours: NDArray[np.generic], theirs: NDArray[np.generic]) -> None:
        """Add a batch of the float model's values and the candidate's, [batch, ...] each."""
        if self._sums is None:
            shape = ours.shape[1:]
            if self._columns is None or self._columns.labels.shape != shape:
                self._columns = plain_columns(self._name, shape)
            self._sums = _Sums(self._columns)
        self._sums.add(ours, theirs)

    def result(self) -> tuple[PartQuality, ...]:
        """Return the parts in the order of their first values; () without samples."""
        if self._sums is None or self._columns is None:
            return ()
        by_column = self._sums.by_column()
        return tuple(
            self._judge(numbers, by_column) for numbers in _divide(self._columns, by_column)
        )

    def _judge(self, numbers: NDArray[np.intp], found: _Totals) -> PartQuality:
        assert self._sums is not None and self._columns is not None
        mask = np.isin(self._columns.labels, numbers)
        signal, error = float(found.signal[numbers].sum()), float(found.error[numbers].sum())
        count = float(found.count[numbers].sum())
        step = float(found.high[numbers].max() - found.low[numbers].min()) / 255
        varies = found.varies[numbers]
        return PartQuality(
            where=_where(self._name, mask),
            sqnr_db=sqnr_db(signal, error) if varies.any() else None,
            spread=math.sqrt(signal / count) if count else 0.0,
            step=step,
            is_known=bool(found.count[numbers].min() >= FEW_VALUES),
            lost=tuple(sorted(
                self._lost(mask, numbers, found, step), key=lambda column: column.sqnr_db
            ))[:_MOST_NAMED],
        )  # fmt: skip

    def _lost(
        self, mask: NDArray[np.bool_], numbers: NDArray[np.intp], found: _Totals, step: float
    ) -> Iterator[LostColumn]:
        """Yield the columns, and slices along other axes, that are lost."""
        assert self._sums is not None and self._columns is not None
        if len(numbers) > 1:
            for number in numbers[_are_lost(found.of(numbers), step)]:
                yield self._named(self._columns.labels == number, found, number)
        for inside, totals in self._sums.slices(mask):
            for number in np.flatnonzero(_are_lost(totals, step)):
                yield self._named(inside(number), totals, number)

    def _named(self, mask: NDArray[np.bool_], found: _Totals, number: np.intp) -> LostColumn:
        return LostColumn(
            where=_where(self._name, mask),
            sqnr_db=sqnr_db(float(found.signal[number]), float(found.error[number])),
            spread=math.sqrt(found.signal[number] / found.count[number]),
        )


# ---------------------------------------------------------------- sums


@dataclass(frozen=True)
class _Totals:
    """Sums of columns or slices, float64 [groups] each.

    Attributes:
        signal: squared deviations of the float values from their column's mean.
        varies: whether the float values vary by more than the precision of float32.
    """

    count: Sums
    signal: Sums
    error: Sums
    low: Sums
    high: Sums

    def of(self, numbers: NDArray[np.intp]) -> _Totals:
        """Return the sums of some columns or slices."""
        return _Totals(*(getattr(self, field.name)[numbers] for field in fields(self)))

    @property
    def varies(self) -> NDArray[np.bool_]:
        largest = np.maximum(np.abs(self.low), np.abs(self.high))
        limit = _CONSTANT * np.where(self.count > 0, largest, 0)  # without values it is infinite
        return self.signal > self.count * limit**2


def _are_lost(found: _Totals, step: float) -> NDArray[np.bool_]:
    """Return which are below `LOST_DB`, far below the rest of the part, and not by rounding only.

    Args:
        found: sums of the columns or slices of one part.
        step: step of an 8-bit tensor that contains only this part. A column that varies by less, or
            has a smaller error, cannot be better in 8 bits.
    """
    signal, error = found.signal, found.error
    is_finite = np.isfinite(error)
    known = np.where(is_finite, error, 0.0)
    rest = (signal.sum() - signal) * known, (known.sum() - known) * signal
    is_lost: NDArray[np.bool_] = (
        (found.count >= FEW_VALUES)
        & found.varies
        & (signal > found.count * step**2)
        & (error > found.count * step**2)
        & (signal < 10 ** (LOST_DB / 10) * error)
        & (~is_finite | (rest[0] > 10 ** (_WORSE / 10) * rest[1]) | (rest[0] == 0))
    )
    return is_lost


class _Sums:
    """Sums for each place of a value, or for each column if there are too many places."""

    def __init__(self, columns: Columns):
        self._labels = columns.labels
        self._flat = columns.labels.ravel()
        self._column_count = len(columns.heads)
        self._is_whole = self._flat.size <= _MOST_CELLS
        cells = self._flat.size if self._is_whole else self._column_count
        self._count, self._first, self._second, self._error = np.zeros((4, cells))
        self._low, self._high = np.full(cells, np.inf), np.full(cells, -np.inf)
        # Near the columns' means, because squares of offsets would cancel.
        self._pivot: Sums | None = None

    def add(self, ours: NDArray[np.generic], theirs: NDArray[np.generic]) -> None:
        rows = max(1, _MOST_CELLS // max(self._flat.size, 1))
        for start in range(0, len(ours), rows):
            part = slice(start, start + rows)
            values = ours[part].reshape(-1, self._flat.size).astype(np.float64)
            errors = difference(ours[part], theirs[part]).reshape(values.shape)
            self._add_rows(values, errors**2)

    def _add_rows(self, values: Sums, errors: Sums) -> None:
        """Add arrays [samples, places]."""
        is_finite = np.isfinite(values)
        count = is_finite.sum(axis=0)
        known = np.where(is_finite, values, 0.0)
        if self._pivot is None:
            seen = np.maximum(self._by_label(count), 1)
            self._pivot = (self._by_label(known.sum(axis=0)) / seen)[self._flat]
        centred = np.where(is_finite, known - self._pivot, 0.0)
        sums: list[Sums] = [
            count, centred.sum(axis=0), (centred**2).sum(axis=0), errors.sum(axis=0)
        ]  # fmt: skip
        low = np.where(is_finite, values, np.inf).min(axis=0)
        high = np.where(is_finite, values, -np.inf).max(axis=0)
        if self._is_whole:
            np.minimum(self._low, low, out=self._low)
            np.maximum(self._high, high, out=self._high)
        else:
            sums = [*map(self._by_label, sums)]
            np.minimum.at(self._low, self._flat, low)
            np.maximum.at(self._high, self._flat, high)
        self._count += sums[0]
        self._first += sums[1]
        self._second += sums[2]
        self._error += sums[3]

    def _by_label(self, values: NDArray[np.generic]) -> Sums:
        return _sum_up(self._flat, values, self._column_count)

    def by_column(self) -> _Totals:
        """Return the sums of each column."""
        sums = [self._count, self._first, self._second, self._error]
        low, high = self._low, self._high
        if self._is_whole:
            sums = [*map(self._by_label, sums)]
            low, high = np.full((2, self._column_count), [[np.inf], [-np.inf]])
            np.minimum.at(low, self._flat, self._low)
            np.maximum.at(high, self._flat, self._high)
        count, first, second, error = sums
        signal = np.maximum(second - first**2 / np.maximum(count, 1), 0)
        return _Totals(count, signal, error, low, high)

    def slices(self, mask: NDArray[np.bool_]) -> Iterator[tuple[_Inside, _Totals]]:
        """Yield the sums of a part's slices along each axis, unless they are its columns."""
        if not self._is_whole or mask.ndim < 2:
            return
        means = self._by_label(self._first) / np.maximum(self._by_label(self._count), 1)
        apart = means[self._flat]
        signal = self._second - 2 * apart * self._first + self._count * apart**2
        for axis, size in enumerate(mask.shape):
            along = np.broadcast_to(_along(np.arange(size), axis, mask.ndim), mask.shape)[mask]
            pairs = np.unique(along * self._column_count + self._labels[mask])
            if len(np.unique(along)) in (1, len(pairs)):
                continue

            def total(values: Sums, along: NDArray[np.int64] = along, size: int = size) -> Sums:
                return _sum_up(along, values.reshape(mask.shape)[mask], size)

            bounds = np.full((2, size), [[np.inf], [-np.inf]])
            np.minimum.at(bounds[0], along, self._low.reshape(mask.shape)[mask])
            np.maximum.at(bounds[1], along, self._high.reshape(mask.shape)[mask])
            yield (
                _Inside(mask, axis),
                _Totals(total(self._count), total(signal), total(self._error), *bounds),
            )


def _sum_up(places: NDArray[Any], values: NDArray[Any], size: int) -> Sums:
    return np.bincount(places, values.astype(np.float64), size).astype(np.float64)


@dataclass(frozen=True)
class _Inside:
    """The values of a part in one slice along an axis."""

    mask: NDArray[np.bool_]
    axis: int

    def __call__(self, number: np.intp) -> NDArray[np.bool_]:
        places = _along(np.arange(self.mask.shape[self.axis]), self.axis, self.mask.ndim)
        return np.asarray(self.mask & (places == number), bool)


def _along(values: NDArray[np.int64], axis: int, ndim: int) -> NDArray[np.int64]:
    return values.reshape([-1 if place == axis else 1 for place in range(ndim)])


# ---------------------------------------------------------------- parts and their names


def _divide(columns: Columns, found: _Totals) -> Iterator[NDArray[np.intp]]:
    """Yield the numbers of the columns of each part, in the order of the heads."""
    heads = np.array(columns.heads)
    for head in range(len(columns.names)):
        numbers = np.flatnonzero(heads == head)
        if head in columns.fixed:
            yield numbers
        else:
            yield from sorted(_alike(numbers, found), key=lambda part: part.min())


def _alike(numbers: NDArray[np.intp], found: _Totals) -> Sequence[NDArray[np.intp]]:
    """Split a head's columns where there is a gap between their spreads."""
    spread = np.sqrt(found.signal[numbers] / np.maximum(found.count[numbers], 1))
    varies = found.varies[numbers]
    order = np.argsort(-spread, kind="stable")
    order = order[varies[order]]
    parts: list[list[np.intp]] = [[*numbers[~varies]]]
    smallest = math.nan
    groups: list[list[np.intp]] = []
    for place in order:
        if not groups or spread[place] * _APART < smallest:
            groups.append([])
        groups[-1].append(numbers[place])
        smallest = spread[place]
    for group in groups:
        is_first = len(parts) == 1 and parts[0] == [*numbers[~varies]]
        if is_first or len(group) < _SHARE * len(numbers):
            parts[-1] += group
        else:
            parts.append(group)
    return [np.sort(np.array(part, np.intp)) for part in parts if part]


def _where(name: str, mask: NDArray[np.bool_]) -> str:
    """Return the place of values as a Python index with the batch first: `pred[:, 4:7]`."""
    if mask.all():
        return name
    spans = []
    for axis, size in enumerate(mask.shape):
        others = tuple(place for place in range(mask.ndim) if place != axis)
        seen = np.flatnonzero(mask.any(axis=others))
        first, last = int(seen[0]), int(seen[-1]) + 1
        spans.append(
            slice(None) if last - first == size else first if last - first == 1
            else slice(first, last)
        )  # fmt: skip
    inside = mask[tuple(spans)]
    if not inside.all():
        return f"{name}, {int(mask.sum())} values of {mask.size}"
    return f"{name}[:, {', '.join(map(_span, spans))}]"


def _span(span: slice | int) -> str:
    if isinstance(span, int):
        return str(span)
    return ":" if span.start is None else f"{span.start}:{span.stop}"
