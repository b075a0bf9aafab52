"""Names and numbers as a report shows them."""

from __future__ import annotations

from edgeq.accuracy.verdict import SMALL_DROP_POINTS
from edgeq.render.parts import first_name, show_bytes, show_db, show_ms
from edgeq.reporting.values import Cell
from edgeq.timing import direction, show_ends
from edgeq.values import Interval, Ratio

_LONGEST = 160
_HEAD, _TAIL = 100, 50


def base(path: str) -> str:
    """A path's last part."""
    return path.rstrip("/").rsplit("/", 1)[-1]


def short(name: str, prefix: str = "") -> str:
    """A layer's first name without what all begin with; a very long one without its middle."""
    own = first_name(name).removeprefix(prefix) or name
    return own if len(own) <= _LONGEST else f"{own[:_HEAD]} ... {own[-_TAIL:]}"


def left_out(prefix: str) -> str:
    """A sentence about what `short` leaves out of all names."""
    return f"Names begin with {prefix}, which is left out." if prefix else ""


def db(value: float | None) -> Cell:
    """An SQNR."""
    return Cell("-") if value is None else Cell(show_db(value).removesuffix(" dB"), value)


def ms(value: float | None) -> Cell:
    """A latency."""
    return Cell(show_ms(value), value)


def size(count: int | None) -> Cell:
    """A number of bytes."""
    return Cell(show_bytes(count), count)


def number(value: float | None, pattern: str = "{:.3g}") -> Cell:
    """Any number; "-" when it was not measured."""
    if value is None:
        return Cell("-")
    return Cell(pattern.format(value), value)


def times(value: float) -> str:
    """A ratio; slow ones keep two digits that mean something."""
    return f"{value:.2f}x" if value >= 0.1 else f"{value:.2g}x"


def percent(value: float | None) -> Cell:
    """An accuracy or another share in per cent."""
    return Cell("-") if value is None else Cell(f"{value:.2f} %", value)


def points(drop: Interval | None, limit: float = SMALL_DROP_POINTS) -> Cell:
    """Lost accuracy with its interval; `limit` is what may be lost."""
    if drop is None:
        return Cell("-")
    tone = "bad" if drop.low > limit else ""
    tone = "good" if drop.high <= limit else tone or "doubt"
    return Cell(f"{drop.value:+.2f} points ({drop.low:+.2f} to {drop.high:+.2f})", drop.value, tone)


def speedup(ratio: Ratio | None) -> Cell:
    """A ratio of latencies with its interval; slower is said."""
    if ratio is None:
        return Cell("-")
    way = direction(ratio)
    tone = {1: "good", 0: "", -1: "bad"}[way]
    word = {1: " faster", 0: ", no difference", -1: ", SLOWER"}[way]
    value, low, high = show_ends(ratio)
    return Cell(f"{value}x{word} ({low}x to {high}x)", ratio.value, tone)
