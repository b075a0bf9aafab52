"""From values to places on a plot, and the marks of an axis: pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

_STEPS = (1, 2, 5, 10)
# Values that differ by less than this share are drawn as the same, not as a steep slope.
_SAME = 0.005


@dataclass(frozen=True)
class Scale:
    """An axis.

    Attributes:
        low, high: values at its ends.
        start, end: pixels at its ends; `end` may be the smaller, as on a vertical axis.
        marks: the values of the marks, ascending.
        warp: from a value to something linear.
    """

    low: float
    high: float
    start: float
    end: float
    marks: tuple[float, ...]
    warp: Callable[[float], float] = float

    def at(self, value: float) -> float:
        """The pixel of a value; values beyond the axis are put at its end."""
        inside = min(max(value, self.low), self.high)
        first, last = self.warp(self.low), self.warp(self.high)
        share = (self.warp(inside) - first) / (last - first)
        return round(self.start + share * (self.end - self.start), 1)


def linear(
    values: Iterable[float], start: float, end: float, marks: int, *, are_whole: bool = False
) -> Scale:
    """From mark to mark around all values, which may be one alone.

    Args:
        are_whole: the values count something, so that no mark is between two of them.
    """
    found = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(found), max(found)
    if are_whole:
        low, high = (low - 1, high + 1) if low == high else (low, high)
    elif high - low <= _SAME * max(abs(low), abs(high)):
        spread = abs(low) * 0.1 or 1.0
        low, high = low - spread, high + spread
    step = _nice((high - low) / max(marks, 1))
    step = max(step, 1.0) if are_whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    places = tuple(round(n * step, 12) for n in range(first, last + 1))
    return Scale(places[0], places[-1], start, end, places)


def _nice(rough: float) -> float:
    """The smallest step of 1, 2 or 5 times a power of ten that is not below."""
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in _STEPS if factor * power >= rough * (1 - 1e-9))


def logarithmic(low: float, high: float, start: float, end: float, marks: int) -> Scale:
    """Between two positive values; marks at 1, 2 and 5 times powers of ten, fewer when crowded."""
    first = math.floor(math.log10(low))
    last = math.ceil(math.log10(high))
    for factors in ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        places = tuple(
            round(factor * 10.0**power, 12 - power)
            for power in range(first, last + 1)
            for factor in factors
            if low <= factor * 10.0**power <= high
        )
        if len(places) <= marks:
            break
    if len(places) < 2:  # a narrow range: its marks are those of a linear axis
        inner = linear((low, high), start, end, marks).marks
        places = tuple(mark for mark in inner if low <= mark <= high)
    return Scale(low, high, start, end, places, math.log)


def stretched(values: Iterable[float], start: float, end: float, limit: float | None) -> Scale:
    """Linear around zero and logarithmic beyond, so that small and large values can be seen.

    Args:
        limit: a value that must lie on the axis.
    """
    found = [*values, 0.0, *([] if limit is None else [limit])]
    low, high = min(found), max(found)
    if low == high:
        high = 1.0
    knee = max(abs(limit or 0.0), 0.5)

    def warp(value: float) -> float:
        return math.copysign(math.log1p(abs(value) / knee), value)

    candidates = [
        sign * factor * 10.0**power for power in range(-1, 4) for factor in (1, 2, 5)
        for sign in (1, -1)
    ]  # fmt: skip
    places: list[float] = [0.0]
    gap = abs(warp(high) - warp(low)) / 7
    for mark in sorted(candidates, key=abs):
        if low <= mark <= high and all(abs(warp(mark) - warp(own)) >= gap for own in places):
            places.append(round(mark, 6))
    room = 0.04 * (high - low)
    return Scale(low - room, high + room, start, end, tuple(sorted(places)), warp)


def show_mark(value: float) -> str:
    """A mark's label, with no more digits than it needs."""
    if value and (abs(value) >= 1e6 or abs(value) < 1e-4):
        return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-")
    return f"{value:.10g}"
