"""Two records of a history side by side, as terminal text."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from edgeq.history.values import METRICS, Figure, FigureChange, RecordDifference
from edgeq.render.history import show_moment, show_value
from edgeq.render.parts import harmless, heading, render
from edgeq.render.tables import FittingTable
from edgeq.wording import file_name, show_change, side_of_one

_STYLES = {"degraded": "yellow", "invalid": "red"}


@harmless
def show_difference(found: RecordDifference) -> str:
    """Two records' figures side by side; below, why some are not compared."""
    sides = [f">{entry.number} ({entry.sha256[:7]})" for entry in (found.before, found.after)]
    table = FittingTable("", *sides, ">change", "")
    notes: list[str] = []
    counts = [
        len({item.model for item in side if item is not None and item.role == "model"})
        for side in ([c.before for c in found.changes], [c.after for c in found.changes])
    ]
    for change in found.changes:
        table.add_row(*_change_cells(change, notes, max(counts) > 1))
    heads = [
        Text(f"{entry.number}  {show_moment(entry.moment)}  {entry.kind}  {entry.file}")
        for entry in (found.before, found.after)
    ]
    parts: list[RenderableType] = [*heads, "", table]
    if notes:
        parts += ["", heading("Not compared")]
        parts += [Text(f"  {number}. {note}") for number, note in enumerate(notes, 1)]
    doubts = ((found.before, found.doubts_before), (found.after, found.doubts_after))
    lines = [f"  {entry.number}: {issue.message} [{issue.code}]"
             for entry, issues in doubts for issue in issues]  # fmt: skip
    if lines:
        parts += ["", heading("Doubts"), *map(Text, lines)]
    return render(*parts)


def _change_cells(change: FigureChange, notes: list[str], has_several: bool) -> tuple[Text, ...]:
    metric = change.metric
    named = change.before or change.after
    assert named is not None
    label = METRICS[metric].title
    if named.role == "baseline":
        label += " of the baseline"
    elif has_several:
        label += f" of {file_name(named.model)}"
    values = [_marked(metric, figure) for figure in (change.before, change.after)]
    shown = show_change(change.change, METRICS[metric].unit)
    if change.change and change.change_percent is not None:
        percent = f"{change.change_percent:+.1f} %"
        is_small = float(percent.removesuffix(" %")) == 0
        shown = f"{shown} ({'below 0.1 %' if is_small else percent})"
    verdict = Text()
    if change.obstacle is not None and change.before is not None and change.after is not None:
        if change.obstacle not in notes:
            notes.append(change.obstacle)
        shown = f"not compared, {notes.index(change.obstacle) + 1}"
    elif change.is_better is not None:
        verdict = _verdict(change)
    return Text(label), *values, Text(shown), verdict


def _verdict(change: FigureChange) -> Text:
    """Whether a change is better; not for doubted figures, nor inside the intervals."""
    if any(side is not None and side.validity != "valid" for side in (change.before, change.after)):
        return Text("doubted", "yellow")
    if change.is_clear is False:
        return Text("not proven", "dim")
    if change.is_clear is None and METRICS[change.metric].unit in ("ms", "x"):
        return Text("no interval", "dim")  # two runs of one file differ as well
    ratio = 1.0 if change.change_percent is None else 1 + change.change_percent / 100
    if METRICS[change.metric].unit in ("bytes", "dB") and side_of_one(ratio) == 0:
        return Text("no difference", "dim")
    return Text("better", "green") if change.is_better else Text("worse", "red")


def _marked(metric: str, figure: Figure | None) -> Text:
    if figure is None:
        return Text("-")
    mark = "" if figure.validity == "valid" else f" {figure.validity}"
    return Text(show_value(metric, figure.value) + mark, _STYLES.get(figure.validity, ""))
