"""Plots as SVG: drawn twice, for wide and for narrow screens, so that text keeps its size.

Colours are classes that the style sheet fills in for light and dark; every mark that can be
pointed at has `data-tip`, which the page's script shows for mouse, touch and keyboard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from markupsafe import Markup, escape

from edgeq.render.page import scales
from edgeq.render.page.scales import Scale, show_mark
from edgeq.reporting.values import (
    BarPlot,
    DistributionPlot,
    DistributionRow,
    IntervalPlot,
    Panel,
    Series,
    Share,
    Spark,
    XYPlot,
)

WIDE, NARROW = 958, 356
_NARROW = "fijlrtI.,:;|!'()[]/- "
_LETTER = 6.6  # a letter's mean width at the plots' 12 pixels
_EDGE = 16


def tag(name: str, *content: Any, **attributes: Any) -> Markup:
    """An element; text in it and in its attributes is escaped. `class_` and `data_tip` become
    `class` and `data-tip`.
    """
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(escape(item) for item in content)
    return Markup(f"<{name}{shown}>{inner}</{name}>")


def fit(text: str, width: float) -> str:
    """Cut a label in its middle to this width in pixels."""
    shown = text
    for room in range(min(len(text), int(width / 3)), 8, -1):  # no letter is narrower than 3
        if len(shown) <= room and _width(shown) <= width:
            break
        head = (room - 2) * 2 // 3
        shown = f"{text[:head]}…{text[len(text) - (room - 2 - head) :]}"
    return shown


def _width(text: str) -> float:
    """An estimate of its pixels in DejaVu Sans, which is wider than most fonts."""
    return sum(
        4.6
        if letter in _NARROW
        else 11.5
        if letter in "mwMW@%…"
        else 8.4
        if letter.isupper()
        else 7.5
        for letter in text
    )


def both(draw: Callable[[int], tuple[Markup, float]], description: str) -> Markup:
    """The wide and the narrow drawing; only one of them is ever displayed."""
    found = []
    for width, name in ((WIDE, "wide"), (NARROW, "narrow")):
        content, height = draw(width)
        found.append(
            tag(
                "svg", content, class_=f"plot {name}", viewBox=f"0 0 {width} {height:.0f}",
                width=width, height=f"{height:.0f}", role="img", aria_label=description,
            )
        )  # fmt: skip
    return Markup("").join(found)


def _label(text: str, x: float, y: float, **attributes: Any) -> Markup:
    return tag("text", text, x=f"{x:.1f}", y=f"{y:.1f}", **attributes)


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def _horizontal_axis(scale: Scale, top: float, bottom: float, title: str) -> list[Markup]:
    """Marks, their grid lines, and the axis' title below."""
    parts = []
    for mark in scale.marks:
        x = scale.at(mark)
        parts.append(_line(x, top, x, bottom, "grid"))
        name = show_mark(mark)
        # A mark near the edge stays inside the drawing.
        over = x + len(name) * _LETTER / 2 - (scale.end + _EDGE)
        parts.append(
            _label(name, x - max(over, 0.0), bottom + 15, text_anchor="middle", class_="mark")
        )
    middle = (scale.start + scale.end) / 2
    parts.append(_label(title, middle, bottom + 32, text_anchor="middle", class_="axis"))
    return parts


def _mark_count(width: float) -> int:
    return 9 if width > 500 else 4


# ---------------------------------------------------------------- intervals


def intervals(plot: IntervalPlot) -> Markup:
    """Dots with whiskers on one axis."""
    return both(lambda width: _intervals(plot, width), plot.description)


def _intervals(plot: IntervalPlot, width: int) -> tuple[Markup, float]:
    row_height, top = 44, 18
    bottom = top + row_height * len(plot.rows)
    ends = [end for row in plot.rows for end in (row.low, row.high)]
    limit = [] if plot.limit is None else [plot.limit]
    axis = scales.linear([*ends, plot.zero, *limit], _EDGE, width - _EDGE, _mark_count(width))
    parts = _horizontal_axis(axis, top, bottom, plot.axis)
    parts.append(_line(axis.at(plot.zero), top, axis.at(plot.zero), bottom, "zero"))
    if plot.limit is not None:
        x = axis.at(plot.limit)
        parts.append(_line(x, top, x, bottom, "limit"))
        anchor = "end" if x > width / 2 else "start"
        parts.append(_label(plot.limit_label, x, top - 5, text_anchor=anchor, class_="limit-name"))
    for number, row in enumerate(plot.rows):
        above, low, high = top + number * row_height, axis.at(row.low), axis.at(row.high)
        y = above + 30
        parts.append(
            tag(
                "g",
                _label(fit(row.label, width - 2 * _EDGE), _EDGE, above + 15, class_="row-name"),
                _line(low, y, high, y, "whisker candidate"),
                _line(low, y - 5, low, y + 5, "whisker candidate"),
                _line(high, y - 5, high, y + 5, "whisker candidate"),
                tag("circle", cx=axis.at(row.value), cy=y, r=5, class_="candidate fill"),
                class_="pt",
                data_tip=f"{row.label}: {row.text}",
            )
        )
    return Markup("").join(parts), bottom + 40


# ---------------------------------------------------------------- distributions


def distributions(plot: DistributionPlot) -> Markup:
    """Histograms one below the other."""
    return both(lambda width: _distributions(plot, width), plot.description)


def _distributions(plot: DistributionPlot, width: int) -> tuple[Markup, float]:
    row_height, top = 104, 4
    bottom = top + row_height * len(plot.rows)
    axis = scales.logarithmic(plot.low, plot.high, _EDGE, width - _EDGE, _mark_count(width))
    parts = _horizontal_axis(axis, top, bottom, plot.axis)
    for number, row in enumerate(plot.rows):
        parts += _distribution(row, axis, top + number * row_height, row_height)
    return Markup("").join(parts), bottom + 40


def _distribution(row: DistributionRow, axis: Scale, top: float, height: float) -> list[Markup]:
    floor, room = top + height - 4, height - 44
    most = max(row.counts) or 1
    width = (axis.end - axis.start) / len(row.counts)
    bars = []
    for number, count in enumerate(row.counts):
        if count:
            low = axis.low * (axis.high / axis.low) ** (number / len(row.counts))
            high = axis.low * (axis.high / axis.low) ** ((number + 1) / len(row.counts))
            tall = max(count / most * room, 1.0)
            bars.append(
                tag(
                    "rect", x=f"{axis.start + number * width:.1f}", y=f"{floor - tall:.1f}",
                    width=f"{max(width - 0.6, 0.8):.1f}", height=f"{tall:.1f}",
                    class_=f"pt {row.role} fill",
                    data_tip=f"{row.label}: {count} between {low:.4g} and {high:.4g} ms",
                )
            )  # fmt: skip
    shown = [f"p50 {row.p50:.3g}"] if row.p50 is not None else []
    shown += [f"p90 {row.p90:.3g}"] if row.p90 is not None else []
    figures = f"{', '.join(shown)} ms" if shown else ""
    across = axis.end - axis.start
    name = fit(row.label, across - _width(f"{figures}  "))
    lines = [
        _line(axis.at(value), top + 28, axis.at(value), floor, f"percentile {kind}")
        for value, kind in ((row.p50, "p50"), (row.p90, "p90"))
        if value is not None
    ]
    return [
        _label(name, axis.start, top + 18, class_="row-name"),
        _label(figures, axis.end, top + 18, text_anchor="end", class_="mark"),
        *bars,
        *lines,
        _line(axis.start, floor, axis.end, floor, "floor"),
    ]


# ---------------------------------------------------------------- bars


def bars(plot: BarPlot) -> Markup:
    """Horizontal bars in groups."""
    return both(lambda width: _bars(plot, width), plot.description)


def _bars(plot: BarPlot, width: int) -> tuple[Markup, float]:
    values = [bar.value for group in plot.groups for bar in group.bars]
    room = 76  # for the figure behind the longest bar
    axis = scales.linear([0.0, *values], _EDGE, width - room, _mark_count(width))
    parts: list[Markup] = []
    y = 4.0
    for group in plot.groups:
        name = fit(group.label, width - 2 * _EDGE)
        parts.append(_label(name, _EDGE, y + 13, class_="row-name"))
        y += 19
        for bar in group.bars:
            end = axis.at(bar.value)
            parts.append(
                tag(
                    "g",
                    tag("rect", x=axis.start, y=y, width=max(end - axis.start, 1.0), height=11,
                        class_=f"{bar.role} fill"),
                    _label(bar.text, end + 5, y + 10, class_="mark"),
                    class_="pt", data_tip=f"{group.label}: {bar.text}",
                )
            )  # fmt: skip
            y += 14
        y += 6
    return Markup("").join([*_horizontal_axis(axis, 0, y, plot.axis), *parts]), y + 40


# ---------------------------------------------------------------- lines and points


def lines(plot: XYPlot) -> Markup:
    """Panels that share the horizontal axis."""
    return both(lambda width: _lines(plot, width), plot.description)


def _lines(plot: XYPlot, width: int) -> tuple[Markup, float]:
    height = 240 if len(plot.panels) == 1 else 120
    across = [
        point.x for panel in plot.panels for series in panel.series for point in series.points
    ]
    places = [22.0 + number * (height + 34) for number in range(len(plot.panels))]
    ups = [
        _upward(panel, top, top + height) for panel, top in zip(plot.panels, places, strict=True)
    ]
    longest = max((len(show_mark(mark)) for up in ups for mark in up.marks), default=1)
    whole = bool(across) and all(float(value).is_integer() for value in across)
    left = longest * _LETTER + 14
    axis = scales.linear(across, left, width - _EDGE, _mark_count(width), are_whole=whole)
    parts: list[Markup] = []
    for panel, up in zip(plot.panels, ups, strict=True):
        parts += _panel(panel, axis, up)
    top = places[-1] + height + 34 if places else 22.0
    bottom = top - 34
    return Markup("").join([*_horizontal_axis(axis, 22, bottom, plot.axis), *parts]), bottom + 40


def _upward(panel: Panel, top: float, bottom: float) -> Scale:
    values = [point.y for series in panel.series for point in series.points]
    if panel.is_stretched:
        return scales.stretched(values, bottom, top, panel.limit)
    limit = [] if panel.limit is None else [panel.limit]
    return scales.linear([*values, *limit], bottom, top, 5 if bottom - top > 150 else 3)


def _panel(panel: Panel, axis: Scale, up: Scale) -> list[Markup]:
    parts = [_label(panel.axis, 2, up.end - 10, class_="axis")]
    for mark in up.marks:
        y = up.at(mark)
        parts.append(_line(axis.start, y, axis.end, y, "grid"))
        parts.append(
            _label(show_mark(mark), axis.start - 6, y + 4, text_anchor="end", class_="mark")
        )
    if panel.limit is not None:
        y = up.at(panel.limit)
        parts.append(_line(axis.start, y, axis.end, y, "limit"))
        parts.append(
            _label(panel.limit_label, axis.end, y - 5, text_anchor="end", class_="limit-name")
        )
    for series in panel.series:
        if series.shape == "line":
            points = " ".join(f"{axis.at(point.x)},{up.at(point.y)}" for point in series.points)
            parts.append(tag("polyline", points=points, class_=f"{series.role} stroke"))
    if panel.tips:
        return [*parts, *_joined(panel, axis, up)]
    for series in panel.series:
        parts += [_mark(series, axis.at(p.x), up.at(p.y), p.tip) for p in series.points]
    return parts


def _joined(panel: Panel, axis: Scale, up: Scale) -> Iterable[Markup]:
    """The marks of all series at one place of the axis, under one tip."""
    marks: dict[int, list[Markup]] = {}
    for series in panel.series:
        for point in series.points:
            mark = _mark(series, axis.at(point.x), up.at(point.y), None)
            marks.setdefault(int(point.x), []).append(mark)
    for place in sorted(marks):
        yield tag("g", *marks[place], class_="pt", data_tip=panel.tips[place])


def _mark(series: Series, x: float, y: float, tip: str | None) -> Markup:
    kind = "pt " if tip is not None else ""
    if series.shape == "diamonds":
        corners = f"{x},{y - 5:.1f} {x + 5:.1f},{y} {x},{y + 5:.1f} {x - 5:.1f},{y}"
        return tag("polygon", points=corners, class_=f"{kind}{series.role} fill", data_tip=tip)
    if series.shape == "rings":
        return tag("circle", cx=x, cy=y, r=8, class_=f"{kind}{series.role} ring", data_tip=tip)
    radius = 2.5 if series.shape == "line" else 3.5
    return tag("circle", cx=x, cy=y, r=radius, class_=f"{kind}{series.role} fill", data_tip=tip)


def swatch(role: str, shape: str) -> Markup:
    """A series' look, for a legend."""
    middle = {
        "diamonds": tag("polygon", points="12,1 17,6 12,11 7,6", class_=f"{role} fill"),
        "rings": tag("circle", cx=12, cy=6, r=5, class_=f"{role} ring"),
        "dots": tag("circle", cx=12, cy=6, r=4, class_=f"{role} fill"),
        "bar": tag("rect", x=2, y=1, width=20, height=10, class_=f"{role} fill"),
    }.get(shape)
    if middle is None:
        middle = tag("line", x1=1, y1=6, x2=23, y2=6, class_=f"{role} stroke")
    return tag("svg", middle, width=24, height=12, viewBox="0 0 24 12", aria_hidden="true")


# ---------------------------------------------------------------- in cells


def spark(item: Spark) -> Markup:
    """A small histogram with the chosen range; roots of the counts, or the peak hides the tails."""
    width, height = 132, 26
    low, high = min(item.low, item.clip_low), max(item.high, item.clip_high)
    span = (high - low) or 1.0

    def at(value: float) -> float:
        return (value - low) / span * width

    most = max(item.counts, default=0) ** 0.5 or 1.0
    step = (item.high - item.low) / max(len(item.counts), 1)
    path = [f"M{at(item.low):.1f} {height}"]
    for number, count in enumerate(item.counts):
        tall = max(count**0.5 / most * height, 1.0) if count else 0.0
        path.append(f"V{height - tall:.1f}H{at(item.low + (number + 1) * step):.1f}")
    path.append(f"V{height}")
    lines_ = [
        _line(round(at(end), 1), 0, round(at(end), 1), height, "clip")
        for end in (item.clip_low, item.clip_high)
    ]
    words = (
        f"values from {item.low:.4g} to {item.high:.4g}, range {item.clip_low:.4g} to "
        f"{item.clip_high:.4g}"
    )
    return tag(
        "svg", tag("path", d="".join(path), class_="candidate fill"), *lines_, class_="spark",
        viewBox=f"-1 0 {width + 2} {height}", width=width + 2, height=height, role="img",
        aria_label=words,
    )  # fmt: skip


def share(item: Share) -> Markup:
    """A bar from 0 to 1."""
    filled = round(60 * min(max(item.value, 0.0), 1.0), 1)
    parts = (
        tag("rect", x=0, y=0, width=60, height=8, class_="empty"),
        tag("rect", x=0, y=0, width=filled, height=8, class_="candidate fill"),
    )
    return tag("svg", *parts, width=60, height=8, viewBox="0 0 60 8", aria_hidden="true")


def legend_of(plot: XYPlot) -> Sequence[tuple[str, str, str]]:
    """(name, role, shape) of every series with points."""
    return [
        (series.name, series.role, series.shape)
        for panel in plot.panels
        for series in panel.series
        if series.points and len(panel.series) > 1
    ]
