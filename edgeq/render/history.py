"""A history as terminal text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import click
import msgspec
from rich.console import RenderableType
from rich.text import Text

from edgeq.escaping import json_text, printable
from edgeq.files import storage
from edgeq.history.reading import collector_at_rest
from edgeq.history.values import (
    METRICS,
    Addition,
    Check,
    Entry,
    Listing,
    Place,
    RecordDifference,
    Trend,
    TrendPoint,
    TrendSeries,
)
from edgeq.render.parts import grid, harmless, heading, render
from edgeq.render.tables import FittingTable
from edgeq.wording import file_name, plural, show_bytes, show_change, show_figure, signed

SCHEMA = "edgeq.history/1"
_SPARKS = "▁▂▃▄▅▆▇█"
_MOST_POINTS = 20  # rows of a series; the sparkline has four times as many
_STYLES = {"degraded": "yellow", "invalid": "red"}


def show_value(metric: str, value: float | None) -> str:
    """A figure with its unit, "-" when there is none."""
    return show_figure(value, METRICS[metric].unit)


def show_moment(moment: str) -> str:
    """UTC to the minute."""
    return moment[:16].replace("T", " ")


# ---------------------------------------------------------------- add, list


@harmless
def show_addition(addition: Addition) -> str:
    """One line for one file."""
    word = "added" if addition.is_new else "known"
    return (
        f"{word}  {addition.number:>5}  {(addition.sha256 or '')[:7]}  {addition.kind:<13}  "
        f"{addition.file}"
    )


@harmless
def show_additions(additions: Sequence[Addition], place: Place) -> str:
    """How many records were added, known already and refused."""
    new = sum(item.is_new for item in additions)
    refused = sum(item.number is None for item in additions)
    parts = [f"{new} added"]
    if known := len(additions) - new - refused:
        parts.append(f"{known} known already")
    if refused:
        parts.append(f"{refused} refused")
    return f"{', '.join(parts)}: {show_place(place)}"


def show_place(place: Place) -> str:
    """The place of the history, and the reason for it."""
    return f"{place.path} ({place.reason})"


# Lists have the same names and sizes over and over.
_remember = lru_cache(maxsize=4096)


@_remember
def _counted(name: str | None, count: int = 1) -> str:
    return "" if name is None else printable(name) + (f" +{count - 1}" if count > 1 else "")


@_remember
def _cell(metric: str, value: float | None) -> str:
    if value is None:
        return ""
    return signed(value) if metric == "accuracy-drop" else show_value(metric, value)


# Columns of a list: title, cell, whether it is aligned to the right.
_COLUMNS: tuple[tuple[str, Callable[[Entry], str], bool], ...] = (
    ("no.", lambda item: str(item.number), True),
    ("id", lambda item: item.sha256[:7], False),
    ("made (UTC)", lambda item: printable(show_moment(item.moment)), False),
    ("kind", lambda item: printable(item.kind), False),
    ("model", lambda item: _counted(item.model and file_name(item.model)), False),
    ("device", lambda item: _counted(item.device, item.device_count), False),
    ("drop", lambda item: _cell("accuracy-drop", item.accuracy_drop_points), True),
    ("accuracy", lambda item: _cell("accuracy", item.accuracy_percent), True),
    ("SQNR", lambda item: _cell("sqnr", item.sqnr_db), True),
    ("size", lambda item: _cell("size", item.size_bytes), True),
    ("p50", lambda item: _cell("p50", item.latency_p50_ms), True),
    ("speed-up", lambda item: _cell("speed-up", item.speedup), True),
    ("", lambda item: "" if item.validity == "valid" else item.validity, False),
    ("commit", lambda item: printable((item.git_commit or "")[:7]), False),
    ("tags", lambda item: printable(item.tags), False),
)


def show_listing(listing: Listing, place: Place) -> str:
    """The place of the history, then a line for each record, without empty columns.

    Plain text instead of a rich table, which takes seconds for 100,000 rows.
    """
    head = f"{printable(show_place(place))}: {plural(listing.total, 'record')}"
    if not listing.entries:
        return f"{head}, none of them matches" if listing.total else head
    titles, columns, forms = [], [], []
    with collector_at_rest():
        for title, cell, is_right in _COLUMNS:
            cells = list(map(cell, listing.entries))
            if width := max(map(len, cells)):
                titles.append(title)
                columns.append(cells)
                forms.append(f"{{:{'>' if is_right else '<'}{max(width, len(title))}}}")
        form = "  ".join(forms).format
        rows = [row.rstrip() for row in map(form, *columns)]
    lines = [click.style(head, dim=True), "", click.style(form(*titles).rstrip(), dim=True), *rows]
    if listing.matching > len(listing.entries):
        shown = f"the newest {len(listing.entries)} of {listing.matching}; --all shows them"
        lines += ["", click.style(shown, dim=True)]
    return "\n".join(lines)


def listing_json(listing: Listing, place: Place) -> bytes:
    """A listing as JSON, a record in each line."""
    head = {
        "schema": SCHEMA,
        "database": str(place.path),
        "total": listing.total,
        "matching": listing.matching,
    }
    with collector_at_rest():
        encode = msgspec.json.Encoder().encode
        lines = b",\n".join(encode(_plain_entry(item)) for item in listing.entries)
    return encode(head)[:-1] + b',"records":[\n' + lines + b"\n]}\n"


def _plain_entry(item: Entry) -> dict[str, Any]:
    plain: dict[str, Any] = dict(zip(Entry._fields, item, strict=True))
    plain["tags"] = item.tags.split(",") if item.tags else []
    if item.sqnr_db == math.inf:
        plain["sqnr_db"] = "inf"  # JSON has none
    return plain


def history_json(name: str, value: Any, place: Place) -> str:
    """An answer of a history as JSON."""
    plain = storage.to_plain(value)
    if isinstance(value, RecordDifference):
        plain |= {"before": _plain_entry(value.before), "after": _plain_entry(value.after)}
    return json_text({"schema": SCHEMA, "database": str(place.path), name: plain}) + "\n"


# ---------------------------------------------------------------- trend


@harmless
def show_trend(trend: Trend) -> str:
    """Each series: a line of sparks, then its newest points."""
    direction = "higher is better" if trend.is_higher_better else "lower is better"
    parts: list[RenderableType] = [Text(f"{trend.title}, {direction}", "dim")]
    for series in trend.series:
        parts += ["", *_series_parts(trend.metric, series)]
    return render(*parts)


def _series_parts(metric: str, series: TrendSeries) -> list[RenderableType]:
    title = heading(series.model)
    if series.role == "baseline":
        title.append(" (the baseline of its records)", "dim")
    conditions = ", ".join(f"{item.name} {item.shown}" for item in series.conditions)
    table = FittingTable(
        ">no.", "<made (UTC)", ">value", ">95 % interval", ">change", "", "<commit", "<tags"
    )
    rows = [_point_cells(metric, point) for point in series.points[-_MOST_POINTS:]]
    for row in rows:
        table.add_row(*row)
    parts: list[RenderableType] = [title]
    if conditions:
        parts.append(Text(conditions, "dim"))
    parts.append(Text(show_sparks(series.points[-4 * _MOST_POINTS :]), "cyan"))
    parts.append(table)
    if len(series.points) > len(rows):
        parts.append(Text(f"the newest {len(rows)} of {len(series.points)}", "dim"))
    return parts


def _point_cells(metric: str, point: TrendPoint) -> tuple[Text, ...]:
    interval = ""
    if point.low is not None and point.high is not None:
        interval = f"{show_value(metric, point.low)} to {show_value(metric, point.high)}"
    mark = "" if point.validity == "valid" else point.validity
    return (
        Text(str(point.number)),
        Text(show_moment(point.moment)),
        Text(show_value(metric, point.value)),
        Text(interval, "dim"),
        Text(show_change(point.change, METRICS[metric].unit)),
        Text(mark, _STYLES.get(mark, "")),
        Text((point.git_commit or "")[:7]),
        Text(", ".join(point.tags)),
    )


def show_sparks(points: Sequence[TrendPoint]) -> str:
    """Values as heights between the least and the largest; a gap where a point is invalid."""
    shown = [p.value for p in points if p.validity != "invalid" and math.isfinite(p.value)]
    low, high = (min(shown), max(shown)) if shown else (0.0, 0.0)
    marks = []
    for point in points:
        if point.validity == "invalid":
            marks.append(" ")
        elif not math.isfinite(point.value):
            # Identical to the float model, or nothing like it.
            marks.append(_SPARKS[-1] if point.value > 0 else _SPARKS[0])
        elif high == low:
            marks.append(_SPARKS[3])
        else:
            share = (point.value - low) / (high - low)
            marks.append(_SPARKS[round(share * (len(_SPARKS) - 1))])
    return "".join(marks)


# ---------------------------------------------------------------- check


@harmless
def show_check(check: Check, place: Place) -> str:
    """The history that was checked, and its problems."""
    rows = [
        ("history", show_place(place)),
        ("version", str(check.version)),
        ("records", str(check.record_count)),
        ("size", show_bytes(check.size_bytes)),
    ]
    whole = Text("whole: every record has the digest it was added with", "green")
    verdict = [Text(f"  - {problem}", "red") for problem in check.problems] or [whole]
    return render(grid(rows), "", *verdict)
