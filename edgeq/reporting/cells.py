"""Cells and columns of a report's tables, from figures."""

from __future__ import annotations

from edgeq import timing
from edgeq.accuracy.verdict import SMALL_DROP_POINTS
from edgeq.reporting.values import Cell, Column, Share
from edgeq.values import Interval, Ratio
from edgeq.wording import first_name, show_bytes, show_db, show_ms, show_sizes, side_of_one

TONES = {1: "good", 0: "", -1: "bad"}  # of a figure that is better, the same, worse
VALIDITY_TONES = {"valid": "good", "degraded": "doubt", "invalid": "bad"}
_LONGEST = 160
_HEAD, _TAIL = 100, 50


def columns(*titles: str | tuple[str, str]) -> tuple[Column, ...]:
    """Columns of a table.

    Args:
        titles: alone or with a sentence about the meaning; those of numbers begin with ">".
    """
    pairs = [(title, "") if isinstance(title, str) else title for title in titles]
    return tuple(
        Column(title.removeprefix(">"), title.startswith(">"), meaning) for title, meaning in pairs
    )


def short(name: str, prefix: str = "") -> str:
    """A layer's first name without the prefix of all; a very long one without its middle."""
    own = first_name(name).removeprefix(prefix) or name
    return own if len(own) <= _LONGEST else f"{own[:_HEAD]} ... {own[-_TAIL:]}"


def number(value: float | None, pattern: str = "{:.3g}") -> Cell:
    """Any number; "-" when it was not measured."""
    return Cell("-") if value is None else Cell(pattern.format(value), value)


def count(value: float | None) -> Cell:
    """A whole number."""
    return number(value, "{}")


def percent(share: float | None, digits: int = 1, figure: Share | None = None) -> Cell:
    """A share from 0 to 1."""
    return Cell("-") if share is None else Cell(f"{100 * share:.{digits}f} %", share, "", figure)


def db(value: float | None) -> Cell:
    """An SQNR, for a column whose title has the unit."""
    return Cell("-") if value is None else Cell(show_db(value).removesuffix(" dB"), value)


def ms(value: float | None) -> Cell:
    """A latency."""
    return Cell(show_ms(value), value)


def bare_ms(value: float | None) -> Cell:
    """A latency, for a column whose title has the unit."""
    return Cell(show_ms(value).removesuffix(" ms"), value)


def size(value: int | None) -> Cell:
    """A number of bytes."""
    return Cell(show_bytes(value), value)


def times(value: float | None, tone: str = "") -> Cell:
    """A ratio; small ones keep two significant digits."""
    if value is None:
        return Cell("-")
    return Cell(f"{value:.2f}x" if value >= 0.1 else f"{value:.2g}x", value, tone)


def times_smaller(ratio: float) -> Cell:
    """How many times smaller a file or a memory is."""
    return Cell(show_sizes(ratio), ratio, TONES[side_of_one(ratio)])


def points(drop: Interval | None, limit: float = SMALL_DROP_POINTS) -> Cell:
    """Lost accuracy with its interval; `limit` is the most that may be lost."""
    if drop is None:
        return Cell("-")
    tone = "good" if drop.high <= limit else "bad" if drop.low > limit else "doubt"
    return Cell(f"{drop.value:+.2f} points ({drop.low:+.2f} to {drop.high:+.2f})", drop.value, tone)


def speedup(ratio: Ratio | None) -> Cell:
    """A ratio of latencies with its interval; "SLOWER" rather than a number below one."""
    if ratio is None:
        return Cell("-")
    side = timing.direction(ratio)
    word = {1: " faster", 0: ", no difference", -1: ", SLOWER"}[side]
    value, low, high = timing.show_ends(ratio)
    return Cell(f"{value}x{word} ({low}x to {high}x)", ratio.value, TONES[side])
