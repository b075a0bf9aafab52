"""A metric over time, and two records side by side: pure functions of rows and figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from edgeq import timing
from edgeq.history.reading import read_conditions
from edgeq.history.values import (
    METRICS,
    Condition,
    Entry,
    Figure,
    FigureChange,
    RecordDifference,
    Trend,
    TrendPoint,
    TrendSeries,
)
from edgeq.values import Issue
from edgeq.wording import file_name

_Key = tuple[str, str, tuple[Condition, ...]]


def make_trend(
    metric: str, rows: Iterable[tuple[Any, ...]], *, name: str | None = None, last: int | None
) -> Trend:
    """Points in series that each can be compared throughout, oldest first.

    Args:
        rows: of `reading.trend_rows`.
        name: treats all models of this file name as one, in whatever folder they were.
        last: number of newest points of each series.
    """
    kept = list(rows)
    series: dict[_Key, list[TrendPoint]] = {}
    keys = _series_keys(kept, name)
    for row in kept:
        number, sha256, moment, commit, tags, model, digest, role, value, low, high = row[:-2]
        validity, content = row[-2:]
        points = series.setdefault(keys[model, role, content], [])
        before = next((p.value for p in reversed(points) if p.validity != "invalid"), None)
        is_comparable = before is not None and validity != "invalid"
        points.append(
            TrendPoint(
                number, sha256, moment, commit, tuple(filter(None, tags.split(","))), digest,
                validity, value, low, high, _difference(before, value) if is_comparable else None,
            )
        )  # fmt: skip
    about = METRICS[metric]
    return Trend(
        metric,
        about.title,
        about.unit,
        about.is_higher_better,
        tuple(
            TrendSeries(model, role, conditions, tuple(points[-(last or len(points)) :]))
            for (model, role, conditions), points in series.items()
        ),
    )


def _series_keys(
    rows: Sequence[tuple[Any, ...]], name: str | None
) -> dict[tuple[str, str, str], _Key]:
    """The series of each model, role and conditions as the table has them.

    Figures without a device, as in older records, join those of the only device that the others
    have; with several devices, or none, they are a separate series.
    """
    found: dict[tuple[str, str, str], _Key] = {}
    known: dict[_Key, set[tuple[Condition, ...]]] = {}
    for row in rows:
        model, role, content = row[5], row[7], row[-1]
        if (model, role, content) not in found:
            conditions = read_conditions(content)
            found[model, role, content] = (name or model, role, conditions)
            rest = tuple(item for item in conditions if item.name != "device")
            if rest != conditions:
                known.setdefault((name or model, role, rest), set()).add(conditions)
    for place, key in found.items():
        if len(alike := known.get(key, set())) == 1:
            found[place] = (key[0], key[1], next(iter(alike)))
    return found


def _difference(before: float | None, after: float) -> float | None:
    """After less before; two that are identical to their float models differ by nothing."""
    if before is None or before == after:
        return None if before is None else 0.0
    change = after - before
    return None if math.isnan(change) else change


# ---------------------------------------------------------------- two records


def compare_records(
    before: Entry,
    after: Entry,
    ours: Sequence[Figure],
    theirs: Sequence[Figure],
    doubts: tuple[tuple[Issue, ...], tuple[Issue, ...]] = ((), ()),
) -> RecordDifference:
    """Every figure of two records side by side.

    Args:
        doubts: about the figures of either.
    """
    changes = []
    for metric in METRICS:
        for role in ("model", "baseline"):
            sides = [
                list(
                    dict.fromkeys(
                        item for item in side if (item.metric, item.role) == (metric, role)
                    )
                )
                for side in (ours, theirs)
            ]
            changes += [_change(metric, first, second) for first, second in _pair(*sides)]
    return RecordDifference(before, after, tuple(changes), *doubts)


def _pair(
    before: list[Figure], after: list[Figure]
) -> Iterable[tuple[Figure | None, Figure | None]]:
    """Pair the same model on the same device; a single rest on either side is a pair, too."""
    left, partner = list(after), {}
    for number, first in enumerate(before):
        own = next((item for item in left if _place(item) == _place(first)), None)
        if own is not None:
            left.remove(own)
            partner[number] = own
    # Only where there is no choice: nothing says which of several is meant.
    alone = [number for number in range(len(before)) if number not in partner]
    if len(alone) == len(left) == 1:
        partner[alone[0]] = left.pop()
    yield from ((first, partner.get(number)) for number, first in enumerate(before))
    yield from ((None, second) for second in left)


def _place(figure: Figure) -> tuple[str, str | None]:
    return file_name(figure.model), figure.device


def _change(metric: str, before: Figure | None, after: Figure | None) -> FigureChange:
    if before is None or after is None:
        return FigureChange(metric, before, after, "in one record only", None, None, None, None)
    obstacle = _obstacle(before, after)
    change = None if obstacle else _difference(before.value, after.value)
    about = METRICS[metric]
    relative = None
    if change is not None and about.unit in ("bytes", "ms", "x") and before.value:
        relative = 100 * change / before.value
    is_better = None if not change else (change > 0) == about.is_higher_better
    return FigureChange(
        metric, before, after, obstacle, change, relative, is_better,
        None if obstacle else _is_clear(metric, before, after),
    )  # fmt: skip


def _obstacle(before: Figure, after: Figure) -> str | None:
    """Why two figures cannot be compared."""
    for figure, which in ((before, "first"), (after, "second")):
        if figure.validity == "invalid":
            return f"the {which} is invalid"
    ours = {item.name: item for item in before.conditions}
    theirs = {item.name: item for item in after.conditions}
    found = []
    for name in dict.fromkeys((*ours, *theirs)):
        first, second = ours.get(name), theirs.get(name)
        if name == "device" and None in (first, second):
            continue  # accuracies of older records do not have it
        if first != second:
            shown = ["none" if item is None else item.shown for item in (first, second)]
            found.append(f"{name} {shown[0]} against {shown[1]}")
    return "; ".join(found) or None


def _is_clear(metric: str, before: Figure, after: Figure) -> bool | None:
    """Whether the intervals do not touch; latencies of two runs differ beyond their intervals."""
    if before.low is None or before.high is None or after.low is None or after.high is None:
        return None
    apart = 1 + (timing.BETWEEN_RUNS if METRICS[metric].unit == "ms" else 0)
    return before.high * apart < after.low or after.high * apart < before.low
