"""Kernel parity as terminal text."""

from __future__ import annotations

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgeq.comparison.parity import Parity, ParityRow, meaning
from edgeq.render.parts import harmless, heading, plural, render

_SHOWN_SAMPLES = 12


@harmless
def show_parity(result: Parity) -> str:
    """One row for each device and kernels, and the first operator that differs."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("device", "kernels", "", "samples the same", "values apart", "largest", "top-1"):
        table.add_column(column, overflow="fold")
    for row in result.rows:
        table.add_row(*map(Text, _cells(row, result.sample_count)))
    count = plural(result.sample_count, "sample")
    parts: list[RenderableType] = [
        heading(f"{result.model.path}: outputs against XNNPACK on this machine, {count}"), "", table
    ]  # fmt: skip
    for row, apart in zip(result.rows, result.different, strict=True):
        parts += [Text(line) for line in _lines(row, apart)]
        if (note := meaning(row, result.model.path)) is not None:
            parts.append(Padding(Text(note), (0, 0, 0, 2)))
    return render(*parts)


def _cells(row: ParityRow, count: int) -> tuple[str, ...]:
    if row.error is not None:
        return (row.device, row.kernels, "failed, see below")
    changes = "" if row.top1_changes is None else f"{row.top1_changes} changed"
    return (
        row.device,
        row.kernels,
        _verdict(row),
        f"{row.same_samples} of {count}",
        f"{100 * row.different_share:.2f} %",
        f"{row.largest:g}",
        changes,
    )


def _verdict(row: ParityRow) -> str:
    """Values of a float output have no steps to be one apart by."""
    is_float = not row.largest.is_integer()
    return "rounding" if row.verdict == "off by one" and is_float else row.verdict


def _lines(row: ParityRow, apart: tuple[int, ...]) -> list[str]:
    own = f"{row.device}, {row.kernels}"
    lines = []
    if row.error is not None:
        lines += ["", f"{own}: {row.error}"]
    if apart:
        shown = ", ".join(map(str, apart[:_SHOWN_SAMPLES]))
        more = f" and {len(apart) - _SHOWN_SAMPLES} more" if len(apart) > _SHOWN_SAMPLES else ""
        what = f"sample {shown} differs" if len(apart) == 1 else f"samples {shown}{more} differ"
        lines += ["", f"{own}: {what}"]
    if row.first is not None:
        name = row.first.name.split(";")[0]
        lines.append(f"  first at {name} ({row.first.operator}), by {row.first.largest:g}")
    return lines
