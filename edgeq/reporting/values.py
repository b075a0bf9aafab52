"""The parts of a report: sections of blocks, each a frozen value that any renderer can show.

Text is finished here (units, digits, signs); beside it, `value` keeps the number for sorting and
for readers of the JSON form. Nothing in a block is markup.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeq.values.showing import Shown, bounded

SCHEMA = "edgeq.report/1"

# ---------------------------------------------------------------- tables and text


@bounded
@dataclass(frozen=True)
class Spark:
    """A small histogram in a cell.

    Attributes:
        low, high: where the bins begin and end.
        clip_low, clip_high: the range that was chosen.
    """

    low: float
    high: float
    counts: tuple[int, ...]
    clip_low: float
    clip_high: float
    kind: str = "spark"


@bounded
@dataclass(frozen=True)
class Share:
    """A bar in a cell, 0 to 1."""

    value: float
    kind: str = "share"


@bounded
@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: as shown.
        value: the number behind it, None for text.
        tone: "good", "doubt" or "bad"; the text says the same.
        figure: drawn beside the text.
    """

    text: str
    value: float | None = None
    tone: str = ""
    figure: Spark | Share | None = None


@bounded
@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        meaning: a sentence that explains it.
    """

    title: str
    is_number: bool = False
    meaning: str = ""


@bounded
@dataclass(frozen=True)
class Table:
    """Rows of cells; the first cell of each names the row.

    Attributes:
        note: below the table.
        by_layer: rows are layers or tensors, which a reader filters by name.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    by_layer: bool = False
    kind: str = "table"


@bounded
@dataclass(frozen=True)
class Facts:
    """Labels with their values."""

    caption: str
    rows: tuple[tuple[str, Cell], ...]
    kind: str = "facts"


@bounded
@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    text: str
    tone: str = ""
    kind: str = "prose"


@bounded
@dataclass(frozen=True)
class Doubt:
    """An issue, and the records that have it."""

    severity: str
    code: str
    message: str
    records: tuple[str, ...]


@bounded
@dataclass(frozen=True)
class Culprit:
    """A layer that costs much.

    Attributes:
        figures: what it costs.
        remedy: what to type.
    """

    name: str
    operator: str
    figures: str
    cause: str
    remedy: str


# ---------------------------------------------------------------- plots


@bounded
@dataclass(frozen=True)
class IntervalRow:
    """A figure with its 95 % interval."""

    label: str
    text: str
    value: float
    low: float
    high: float


@bounded
@dataclass(frozen=True)
class IntervalPlot:
    """Figures with their intervals on one axis.

    Attributes:
        limit: where a line is drawn.
        limit_label: beside it.
        zero: of the axis' values, the one that means "no difference".
    """

    title: str
    description: str
    axis: str
    rows: tuple[IntervalRow, ...]
    zero: float
    limit: float | None = None
    limit_label: str = ""
    kind: str = "intervals"


@bounded
@dataclass(frozen=True)
class DistributionRow:
    """How often one model took how long.

    Attributes:
        role: "baseline" or "candidate".
        counts: in the plot's bins.
        p50, p90: None when not known.
    """

    label: str
    role: str
    counts: tuple[int, ...]
    p50: float | None
    p90: float | None


@bounded
@dataclass(frozen=True)
class DistributionPlot:
    """Histograms one below the other; the bins are equally wide on a logarithmic axis.

    Attributes:
        low, high: where the first bin begins and the last ends.
    """

    title: str
    description: str
    axis: str
    low: float
    high: float
    rows: tuple[DistributionRow, ...]
    kind: str = "distributions"


@bounded
@dataclass(frozen=True)
class Bar:
    """One bar of a group; `role` as in `DistributionRow`."""

    role: str
    value: float
    text: str


@bounded
@dataclass(frozen=True)
class BarGroup:
    """Bars that belong together."""

    label: str
    bars: tuple[Bar, ...]


@bounded
@dataclass(frozen=True)
class BarPlot:
    """Horizontal bars in groups, longest group first."""

    title: str
    description: str
    axis: str
    legend: tuple[tuple[str, str], ...]
    groups: tuple[BarGroup, ...]
    kind: str = "bars"


@bounded
@dataclass(frozen=True)
class Point:
    """A point of a line or a scatter plot; `tip` says what it is."""

    x: float
    y: float
    tip: str


@bounded
@dataclass(frozen=True)
class Series:
    """Points of one kind.

    Attributes:
        role: "candidate", "baseline", "accent" or "other", for the colour.
        shape: "line", "dots", "diamonds" or "rings".
    """

    name: str
    role: str
    shape: str
    points: tuple[Point, ...]


@bounded
@dataclass(frozen=True)
class Panel:
    """One vertical axis; panels of a plot share the horizontal one.

    Attributes:
        limit: where a horizontal line is drawn.
        limit_label: beside it.
        is_stretched: around zero, where values of unlike size lie.
        tips: what all points at 0, 1, 2... of the horizontal axis say together, instead of each
            its own.
    """

    axis: str
    series: tuple[Series, ...]
    limit: float | None = None
    limit_label: str = ""
    is_stretched: bool = False
    tips: tuple[str, ...] = ()


@bounded
@dataclass(frozen=True)
class XYPlot:
    """Lines or points in one or several panels, one below the other."""

    title: str
    description: str
    axis: str
    panels: tuple[Panel, ...]
    kind: str = "xy"


Block = Table | Facts | Prose | IntervalPlot | DistributionPlot | BarPlot | XYPlot

# ---------------------------------------------------------------- the whole


@bounded
@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        id: stable, for links.
        lead: what to take from it, in a sentence.
    """

    id: str
    title: str
    lead: str
    blocks: tuple[Block, ...]


@bounded
@dataclass(frozen=True)
class Card:
    """One of the figures that decide.

    Attributes:
        tone: "good", "doubt", "bad" or "".
    """

    label: str
    figure: str
    detail: str
    tone: str = ""


@bounded
@dataclass(frozen=True)
class Verdict:
    """A verdict on shipping the model.

    Attributes:
        word: "ship", "check", "no", or "open" when nothing in the records judges accuracy.
        headline: in a sentence.
        reasons: behind it.
        source: whose verdict it is.
    """

    word: str
    headline: str
    reasons: tuple[str, ...]
    source: str


@bounded
@dataclass(frozen=True)
class Report(Shown):
    """Everything on the page.

    Attributes:
        title: of the page.
        candidate: path of the model that is reported on, "" without one.
        baseline: path of the float model it was compared with, "" when no record names one.
        comparison: rows of (label, FP32, candidate, difference), the gist of the comparison.
        distrust: a sentence when records are degraded or invalid, "" when all are valid.
        edgeq: version that made it.
    """

    title: str
    candidate: str
    baseline: str
    verdict: Verdict
    distrust: str
    cards: tuple[Card, ...]
    comparison: Table
    culprits: tuple[Culprit, ...]
    doubts: tuple[Doubt, ...]
    sections: tuple[Section, ...]
    edgeq: str
    schema: str = SCHEMA
