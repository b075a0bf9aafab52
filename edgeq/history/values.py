"""The contents and answers of a history, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from edgeq.values import Issue
from edgeq.values.showing import Shown, bounded


@bounded
@dataclass(frozen=True)
class Metric:
    """A figure that can be followed through records.

    Attributes:
        title: in words.
        unit: "points", "percent", "dB", "bytes", "ms" or "x".
        is_higher_better: its direction.
        column: its name with the unit, in JSON, in the database and on a tracking server.
    """

    title: str
    unit: str
    is_higher_better: bool
    column: str


# By the name that `edgeq history trend` takes.
METRICS: dict[str, Metric] = {
    "accuracy-drop": Metric("accuracy drop", "points", False, "accuracy_drop_points"),
    "accuracy": Metric("accuracy", "percent", True, "accuracy_percent"),
    "sqnr": Metric("SQNR of the outputs' worst part", "dB", True, "sqnr_db"),
    "size": Metric("size", "bytes", False, "size_bytes"),
    "p50": Metric("latency p50", "ms", False, "latency_p50_ms"),
    "p90": Metric("latency p90", "ms", False, "latency_p90_ms"),
    "speed-up": Metric("speed-up", "x", True, "speedup"),
    "peak-memory": Metric("peak memory", "bytes", False, "peak_rss_bytes"),
}


@bounded
@dataclass(frozen=True)
class Condition:
    """Something that must be the same for two figures to be compared.

    Attributes:
        name: e.g. "device", "threads", "data".
        value: that decides, e.g. a data set's digest.
        shown: how a reader knows it.
    """

    name: str
    value: str
    shown: str = field(compare=False)


@bounded
@dataclass(frozen=True)
class Figure:
    """One number of a record.

    Attributes:
        metric: a key of `METRICS`.
        role: "baseline" for the model that others in the record are compared with, or "model".
        model: path as the record has it.
        model_sha256: of that file.
        device: None where the record does not have it.
        value: in the metric's unit.
        low, high: its 95 % interval, None where the record has none.
        validity: "valid", "degraded" or "invalid".
        conditions: under which it was measured.
    """

    metric: str
    role: str
    model: str
    model_sha256: str
    device: str | None
    value: float
    low: float | None
    high: float | None
    validity: str
    conditions: tuple[Condition, ...]


@bounded
@dataclass(frozen=True)
class Summary:
    """The columns that a history keeps of a record, beside its bytes.

    Attributes:
        model: (path, sha256) of the model it is about; None without one.
        device: the first one.
        models: (path, sha256) of every model it names.
        devices: every device it names.
        figures: all of them; those of `model` on `device` are shown in lists.
    """

    model: tuple[str, str] | None
    device: str | None
    models: tuple[tuple[str, str], ...]
    devices: tuple[str, ...]
    figures: tuple[Figure, ...]


class Entry(NamedTuple):
    """A record in a list; a tuple, since lists have 100,000 of them.

    Attributes:
        number: in this history, never given twice.
        sha256: of the record's bytes.
        moment: UTC, when it was made; for records from before 0.1.0, when it was added.
        added: UTC.
        file: that it was read from.
        model: path of the model it is about.
        model_sha256: of that model.
        model_count: how many models it names.
        device_count: how many devices.
        git_commit: None unless it was given.
        tags: separated by commas, "" without any.
    """

    number: int
    sha256: str
    kind: str
    moment: str
    added: str
    validity: str
    file: str
    model: str | None
    model_sha256: str | None
    device: str | None
    git_commit: str | None
    accuracy_drop_points: float | None
    accuracy_percent: float | None
    sqnr_db: float | None
    size_bytes: float | None
    latency_p50_ms: float | None
    latency_p90_ms: float | None
    speedup: float | None
    peak_rss_bytes: float | None
    model_count: int
    device_count: int
    tags: str


@bounded
@dataclass(frozen=True)
class Filter:
    """A selection of records; None does not restrict.

    Attributes:
        model: file name, path (with a /), or the first 7 or more characters of a digest.
        device: as the user names it.
        kind: of the record.
        tag: that it carries.
        since: UTC, e.g. "2026-11-01T00:00:00Z".
        last: number of newest entries.
    """

    model: str | None = None
    device: str | None = None
    kind: str | None = None
    tag: str | None = None
    since: str | None = None
    last: int | None = None


@bounded
@dataclass(frozen=True)
class Place:
    """The place of a history.

    Attributes:
        reason: why there, e.g. "of this project".
    """

    path: Path
    reason: str


@bounded
@dataclass(frozen=True)
class Listing:
    """Records of a history, the newest first.

    Attributes:
        total: in the history.
        matching: that the filter lets through, without its `last`.
    """

    total: int
    matching: int
    entries: tuple[Entry, ...]


@bounded
@dataclass(frozen=True)
class Addition:
    """The outcome of adding one file.

    Attributes:
        file: as it was named.
        number: in the history; None when it was refused.
        sha256: of its bytes; None when it could not be read.
        kind: None when it was refused.
        is_new: False when the history had it already.
        error: why it was refused.
    """

    file: str
    number: int | None
    sha256: str | None
    kind: str | None
    is_new: bool
    error: str | None = None


@bounded
@dataclass(frozen=True)
class TrendPoint:
    """One record's figure.

    Attributes:
        number: of the record in this history.
        sha256: of the record.
        moment: UTC, when it was made.
        change: to the point before it that is not invalid, in the metric's unit; None for the
            first one and for an invalid one.
    """

    number: int
    sha256: str
    moment: str
    git_commit: str | None
    tags: tuple[str, ...]
    model_sha256: str
    validity: str
    value: float
    low: float | None
    high: float | None
    change: float | None


@bounded
@dataclass(frozen=True)
class TrendSeries:
    """Points that can be compared with each other, oldest first.

    Attributes:
        model: path, or the file name of the filter.
        role: see `Figure`.
        conditions: shared by all points.
    """

    model: str
    role: str
    conditions: tuple[Condition, ...]
    points: tuple[TrendPoint, ...]


@bounded
@dataclass(frozen=True)
class Trend(Shown):
    """One metric over time; figures that cannot be compared are in separate series."""

    metric: str
    title: str
    unit: str
    is_higher_better: bool
    series: tuple[TrendSeries, ...]


@bounded
@dataclass(frozen=True)
class FigureChange:
    """A figure of one record beside the same of another.

    Attributes:
        metric: a key of `METRICS`.
        before, after: None where a record does not have it.
        obstacle: why the two cannot be compared, None when they can.
        change: in the metric's unit.
        change_percent: relative to `before`; None for drops and decibels, which are differences
            themselves, and for a `before` of zero.
        is_better: None if nothing has changed.
        is_clear: whether their 95 % intervals do not touch, for latencies with
            `timing.BETWEEN_RUNS` in addition; None where one has no interval.
    """

    metric: str
    before: Figure | None
    after: Figure | None
    obstacle: str | None
    change: float | None
    change_percent: float | None
    is_better: bool | None
    is_clear: bool | None


@bounded
@dataclass(frozen=True)
class RecordDifference:
    """Two records side by side.

    Attributes:
        doubts_before, doubts_after: warnings and errors in either record.
    """

    before: Entry
    after: Entry
    changes: tuple[FigureChange, ...]
    doubts_before: tuple[Issue, ...] = ()
    doubts_after: tuple[Issue, ...] = ()


@bounded
@dataclass(frozen=True)
class Check:
    """A history read through.

    Attributes:
        version: of its database.
        record_count: records in it.
        problems: a sentence each, empty when it is whole.
    """

    version: int
    record_count: int
    size_bytes: int
    problems: tuple[str, ...]
