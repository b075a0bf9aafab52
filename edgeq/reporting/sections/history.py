"""How the model's figures changed through the records of a history."""

from __future__ import annotations

from pathlib import Path

from edgeq.errors import UsageError
from edgeq.history import Filter, open_history
from edgeq.history.values import Trend, TrendPoint, TrendSeries
from edgeq.reporting.gathered import Gathered
from edgeq.reporting.values import Block, Panel, Point, Prose, Section, Series, XYPlot
from edgeq.wording import file_name, show_figure

_SHOWN = ("accuracy-drop", "sqnr", "size", "p50")
_LAST = 60
_ROLES = ("candidate", "baseline", "accent", "other")


def section(gathered: Gathered, history: Path | None) -> Section | None:
    """Trends of every model of this file name, wherever it lay.

    Args:
        history: the database; None for the one that `edgeq history` uses.

    Raises:
        HistoryError: it does not exist, or cannot be read.
    """
    candidate = gathered.subject.candidate
    if candidate is None:
        return None
    name = file_name(candidate.path)
    blocks: list[Block] = []
    with open_history(history, make=False) as opened:
        for metric in _SHOWN:
            try:
                trend = opened.trend(metric, Filter(model=name, last=_LAST))
            except UsageError as error:  # no such model is in it
                blocks = [Prose(error.message)]
                break
            plot = _plot(trend)
            if plot is not None:
                blocks.append(plot)
        where = opened.path
    lead = f"Records of {name} in {where}; records that cannot be compared are separate lines."
    return Section("history", "Over time", lead, tuple(blocks))


def _plot(trend: Trend) -> XYPlot | None:
    found = [item for item in trend.series if item.role == "model"]
    found.sort(key=lambda item: -len(item.points))
    chosen = found[: len(_ROLES)]
    if not chosen:
        return None
    # By the moment of the measurement: records may be added later, in any order.
    moments = sorted({(point.moment, point.number) for item in chosen for point in item.points})
    places = {number: place for place, (_, number) in enumerate(moments, 1)}
    series = tuple(
        _series(item, role, places, trend) for item, role in zip(chosen, _ROLES, strict=False)
    )
    newest = max(
        (item.points[-1] for item in chosen), key=lambda point: (point.moment, point.number)
    )
    better = "higher" if trend.is_higher_better else "lower"
    unit = {"bytes": "kB"}.get(trend.unit, trend.unit)
    left = len(found) - len(chosen)
    more = f" {left} more series are not shown." if left else ""
    return XYPlot(
        trend.title[0].upper() + trend.title[1:],
        f"Newest: {show_figure(newest.value, trend.unit)} at {newest.moment}; {better} is better."
        f"{more}",
        "records, oldest first",
        (Panel(f"{trend.title}, {unit}", series),),
    )


def _series(item: TrendSeries, role: str, places: dict[int, int], trend: Trend) -> Series:
    name = ", ".join(f"{entry.name} {entry.shown}" for entry in item.conditions) or item.model
    factor = 1000.0 if trend.unit == "bytes" else 1.0
    points = tuple(
        Point(places[point.number], point.value / factor, _tip(point, trend.unit))
        for point in item.points
        if point.validity != "invalid"
    )
    return Series(name, role, "line", points)


def _tip(point: TrendPoint, unit: str) -> str:
    parts = [show_figure(point.value, unit), point.moment]
    parts += [point.git_commit[:12]] if point.git_commit else []
    parts += [] if point.validity == "valid" else [point.validity]
    return ", ".join([*parts, *point.tags])
