"""Kernel parity as terminal text."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from edgeq.comparison.parity import Parity, ParityRow, meaning
from edgeq.render.parts import harmless, heading, indented, render
from edgeq.render.tables import FittingTable
from edgeq.wording import first_name, plural

_SHOWN_SAMPLES = 12


@harmless
def show_parity(result: Parity) -> str:
    """One row for each device and kernels, and the first operator that differs."""
    table = FittingTable("<device", "<kernels", "", ">samples the same", ">values apart",
                         ">largest", ">top-1")  # fmt: skip
    for row in result.rows:
        cells = [row.device, row.kernels, "failed, see below"]
        if row.error is None:
            # Values of a float output have no steps to be one apart by.
            is_float = not row.largest.is_integer()
            cells = [
                row.device,
                row.kernels,
                "rounding" if row.verdict == "off by one" and is_float else row.verdict,
                f"{row.same_samples} of {result.sample_count}",
                f"{100 * row.different_share:.2f} %",
                f"{row.largest:g}",
                "" if row.top1_changes is None else f"{row.top1_changes} changed",
            ]
        table.add_row(*cells)
    count = plural(result.sample_count, "sample")
    parts: list[RenderableType] = [
        heading(f"{result.model.path}: outputs against XNNPACK on this machine, {count}"), "", table
    ]  # fmt: skip
    for row, apart in zip(result.rows, result.different, strict=True):
        parts += [Text(line) for line in _lines(row, apart)]
        if (note := meaning(row, result.model.path)) is not None:
            parts.append(indented(Text(note)))
    return render(*parts)


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
        name = first_name(row.first.name)
        lines.append(f"  first at {name} ({row.first.operator}), by {row.first.largest:g}")
    return lines
